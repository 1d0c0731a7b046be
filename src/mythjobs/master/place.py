"""Placement: which ready jobs go where now, and the grants that say so."""

from __future__ import annotations

import json
from collections import Counter

import msgspec

from mythjobs.master.memory import JobClass, Live, Machine
from mythjobs.master.turn import Turn
from mythjobs.model.arguments import fill_argv, parameter_environment
from mythjobs.model.command import RUN
from mythjobs.protocol.messages import Grant, Run
from mythjobs.protocol.requests import AdHoc
from mythjobs.scheduler.eligibility import may_run
from mythjobs.scheduler.room import MOST_PREFETCH, PREFETCH_S, prefetch
from mythjobs.store import life, placement


class _Room:
    """What a machine can still take in this turn, by its ceiling and by learned durations."""

    def __init__(self, turn: Turn, machine: Machine) -> None:
        self.machine = machine
        self._turn = turn
        self._short: dict[int, float | None] = {}
        self.taken = len(machine.live)
        self._long = 0
        self._started = 0
        self._waiting: Counter[int] = Counter()  # unstarted, by priority
        for live in machine.live.values():
            self._count(live)

    def _count(self, live: Live) -> None:
        if self._typical_s(live.command_id) is None:
            self._long += 1
        if live.started_ms is None:
            self._waiting[live.priority] += 1
        else:
            self._started += 1

    def _typical_s(self, command_id: int) -> float | None:
        """The learned duration if it is short; None if it is long or not learned."""
        if command_id not in self._short:
            typical_s = self._turn.memory.typical_s(command_id, self.machine.machine_id)
            short = typical_s is not None and typical_s <= PREFETCH_S
            self._short[command_id] = typical_s if short else None
        return self._short[command_id]

    def takes(self, command_id: int, priority: int) -> bool:
        """Whether one more may be leased: it can start now, or surely within PREFETCH_S."""
        jobs = self.machine.jobs
        if self.taken < jobs:
            return True
        changing = jobs - self._long  # places that only short jobs have, so that they turn over
        if changing <= 0 or self.taken >= jobs + 2 * MOST_PREFETCH:
            return False
        ahead = sum(n for other, n in self._waiting.items() if other >= priority)
        typical_s = self._typical_s(command_id)
        if typical_s is None:
            return ahead == 0
        return ahead < prefetch(changing, typical_s)

    def take(self, live: Live) -> None:
        self.taken += 1
        self._count(live)

    def most(self) -> int:
        return max(self.machine.jobs + MOST_PREFETCH - self.taken, 1)


def place(turn: Turn) -> None:
    """Leases what can run. Afterwards every machine is full, or no class has a ready job for it."""
    memory = turn.memory
    rooms = [_Room(turn, each) for each in memory.machines.values() if each.takes]
    if not rooms or not memory.waking:
        return
    candidates, where = _candidates(turn, rooms)
    chosen: dict[int, _Room] = {}
    subjects: dict[str, bool] = {}
    full: set[int] = set()
    for each in candidates:
        if each.subject is not None and not _free(subjects, each.subject, bool(each.overlap)):
            continue
        room = _choose(where[each.class_id], full, turn, each)
        if room is None:
            continue
        command_id = turn.book.job_class(turn.tx, each.class_id).command_id
        room.take(Live(0, each.class_id, command_id, None, each.priority, each.subject))
        chosen[each.job_id] = room
    if chosen:
        _lease(turn, chosen)


def _candidates(
    turn: Turn, rooms: list[_Room]
) -> tuple[list[placement.Candidate], dict[int, list[_Room]]]:
    """The next jobs of every class that may run somewhere, in order; and where each class may."""
    found: list[placement.Candidate] = []
    where: dict[int, list[_Room]] = {}
    for class_id in sorted(turn.memory.waking):
        command = turn.book.job_class(turn.tx, class_id).command
        places = [each for each in rooms if may_run(command.name, each.machine.facts())]
        if not places:
            continue
        most = min(sum(each.most() for each in places), MOST_PREFETCH)
        of_class = placement.next_of_class(turn.tx, class_id, most)
        if not of_class:
            turn.memory.waking.discard(class_id)
            continue
        where[class_id] = places
        found += of_class
    found.sort(key=lambda each: (-each.priority, each.job_id))
    return found, where


def _free(subjects: dict[str, bool], subject: str, overlap: bool) -> bool:
    """Whether this turn leased nothing of the subject yet that this one must not run beside."""
    if subject in subjects and not (overlap and subjects[subject]):
        return False
    subjects[subject] = overlap
    return True


def _choose(
    places: list[_Room], full: set[int], turn: Turn, job: placement.Candidate
) -> _Room | None:
    """The emptiest machine that takes it. One that does not is full for all that come after,
    so that what is first in order is never passed by something smaller."""
    best: _Room | None = None
    command_id = turn.book.job_class(turn.tx, job.class_id).command_id
    for each in places:
        if each.machine.machine_id in full:
            continue
        if not each.takes(command_id, job.priority):
            full.add(each.machine.machine_id)
        elif best is None or each.taken * best.machine.jobs < best.taken * each.machine.jobs:
            best = each
    return best


def _lease(turn: Turn, chosen: dict[int, _Room]) -> None:
    placed = [
        life.Placed(job_id, room.machine.machine_id, room.machine.boot_id, "keep")
        for job_id, room in chosen.items()
    ]
    for leased in life.lease(turn.tx, placed, at_ms=turn.now.wall_ms):
        machine = chosen[leased.job_id].machine
        assert machine.connection is not None
        machine.grants += 1
        machine.live[leased.job_id] = Live(
            leased.n,
            leased.class_id,
            leased.command_id,
            leased.batch_id,
            leased.priority,
            leased.subject,
            losses=leased.losses,
        )
        if leased.subject is not None:
            turn.subjects.add(leased.subject)
        turn.placed[leased.job_id] = machine.name
        run = run_of(turn.book.job_class(turn.tx, leased.class_id), leased.arguments)
        turn.say(
            machine.connection,
            Grant(machine.grants, machine.hb, leased.job_id, leased.n, leased.priority, run),
        )


def run_of(job_class: JobClass, arguments: str) -> Run:
    """What the machine executes: the author's command line with the arguments as data in it."""
    command = job_class.command
    if command.name == RUN:
        adhoc = msgspec.json.decode(arguments, type=AdHoc)
        return Run(
            adhoc.argv,
            adhoc.env,
            bare_env=True,
            cwd=adhoc.cwd,
            separate_stderr=True,
            wall_s=adhoc.wall_s,
        )
    values: dict[str, str] = json.loads(arguments)
    return Run(
        fill_argv(command, values),
        {**command.env, **parameter_environment(values)},
        cwd=command.cwd,
        scratch=command.scratch,
        separate_stderr=command.separate_stderr,
        progress=command.progress,
        wall_s=command.limits.wall_s,
        grace_s=command.limits.grace_s,
        keep=command.keep_bytes,
    )
