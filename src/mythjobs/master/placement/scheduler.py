"""Placement: which ready jobs go where now. Cheap while nothing changes, however many wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Final

from mythjobs.master.catalog import JobClass
from mythjobs.master.placement import grants
from mythjobs.master.placement.cache import MAX_NEXT_JOBS, NextJobs
from mythjobs.master.placement.fit_cache import MachineFit
from mythjobs.master.placement.grants import GrantTerms
from mythjobs.master.state import Machine, MasterState
from mythjobs.master.turn_context import TurnContext
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.capacity import (
    MAX_PREFETCH,
    PREFETCH_S,
    RunningAttempt,
    Units,
    UsageCounts,
    prefetch_limit,
    units_in_use,
)
from mythjobs.scheduler.order import ClassQueue, SortKey
from mythjobs.store.queries import ready_jobs
from mythjobs.store.queries.ready_jobs import ReadyJob

# Jobs that were cancelled since they were read are found out by the lease; then it is tried again.
_MOST_TRIES: Final = 5
_FEW: Final = 8


class _Room:
    """What a machine can still take in this turn, by its ceiling and by learned durations."""

    def __init__(self, turn: TurnContext, machine: Machine) -> None:
        self.machine = machine
        self._turn = turn
        self._short: dict[int, float | None] = {}
        self.taken = len(machine.live_attempts)
        self._long = 0
        self._waiting: Counter[int] = Counter()  # unstarted, by priority
        for live in machine.live_attempts.values():
            self._count(live.command_id, live.priority, live.started_ms is not None)

    def _count(self, command_id: int, priority: int, started: bool) -> None:
        if self._typical_s(command_id) is None:
            self._long += 1
        if not started:
            self._waiting[priority] += 1

    def _typical_s(self, command_id: int) -> float | None:
        """The learned duration if it is short; None if it is long or not learned."""
        if command_id not in self._short:
            typical_s = self._turn.state.typical_s(command_id, self.machine.machine_id)
            short = typical_s is not None and typical_s <= PREFETCH_S
            self._short[command_id] = typical_s if short else None
        return self._short[command_id]

    @property
    def shut(self) -> bool:
        """Nothing at all could be leased now."""
        jobs = self.machine.max_jobs
        if self.taken < jobs:
            return False
        return jobs <= self._long or self.taken >= jobs + 2 * MAX_PREFETCH

    def takes(self, command_id: int, priority: int) -> bool:
        """Whether one more may be leased: it can start now, or surely within PREFETCH_S."""
        jobs = self.machine.max_jobs
        if self.taken < jobs:
            return True
        if self.shut:
            return False
        changing = jobs - self._long  # places that only short jobs have, so that they turn over
        ahead = sum(n for other, n in self._waiting.items() if other >= priority)
        typical_s = self._typical_s(command_id)
        if typical_s is None:
            return ahead == 0
        return ahead < prefetch_limit(changing, typical_s)

    def take(self, command_id: int, priority: int) -> None:
        self.taken += 1
        self._count(command_id, priority, False)

    def most(self) -> int:
        return max(self.machine.max_jobs + MAX_PREFETCH - self.taken, 1)


def place_ready_jobs(turn: TurnContext) -> None:
    """Leases what can run. Afterwards every machine is full, or no class has a ready job for it."""
    memory = turn.state
    plan = memory.placement
    plan.invalidate(memory.classes_to_recheck)
    memory.classes_to_recheck.clear()
    standing = turn.fits.refresh(memory)
    changed = standing != plan.policy_snapshot
    if changed:
        plan.unplaceable.clear()
        plan.policy_snapshot = standing
    if turn.regrants:
        grants.resend_grants(turn)
    if changed:
        grants.send_changed_terms(turn)
    leased: dict[str, bool] = {}  # subjects, and whether they may be had by two
    for _ in range(_MOST_TRIES):
        rooms = [_Room(turn, each) for each in memory.machines.values() if each.accepts_grants]
        rooms = [each for each in rooms if not each.shut]
        classes = plan.ready_classes - plan.unplaceable
        if not rooms or not classes:
            return
        walk = _Pass(turn, rooms, classes, leased)
        chosen = walk.choose()
        if not chosen:
            return
        there = grants.lease_jobs(turn, chosen)
        if not chosen.keys() - there:
            return
        # Others of their subjects are ready in the store until the end of the turn.
        leased |= walk.subjects_of(there)
        # What was read of these classes is old.
        plan.invalidate([each for each in plan.next_jobs if each in classes])


class _Pass:
    """One walk through the first jobs of all classes, in order, until nothing more fits."""

    def __init__(
        self, turn: TurnContext, rooms: list[_Room], classes: set[int], leased: Mapping[str, bool]
    ) -> None:
        """`leased`: the subjects that this turn has leased before."""
        self._turn = turn
        self._rooms = rooms
        self._classes = classes
        self._plan = turn.state.placement
        self._waiting: dict[int, list[ReadyJob]] = {}  # by class, the next one last
        self._whole: dict[int, bool] = {}
        self._spots: dict[int, list[tuple[_Room, MachineFit]]] = {}
        self._full: set[int] = set()
        self._subjects = dict(leased)
        self._about: dict[int, tuple[str, bool]] = {}  # what was chosen
        self._chosen: dict[int, GrantTerms] = {}
        self._terms: dict[tuple[int, int], GrantTerms] = {}  # by class and machine
        self._placed: list[RunningAttempt] = []
        self._taken: Counter[int] = Counter()  # of the class, in this pass

    def choose(self) -> dict[int, GrantTerms]:
        line = ClassQueue(self._standing)
        for class_id in self._classes:
            self._push(line, class_id)
        while len(self._full) < len(self._rooms) and (found := line.pop()) is not None:
            key, class_id = found
            head = self._head(class_id)
            assert head is not None, f"class {class_id} stands in line without a job"
            if self._take(class_id, head, key):
                self._push(line, class_id)
        self._remember()
        return self._chosen

    def subjects_of(self, job_ids: Iterable[int]) -> dict[str, bool]:
        """Of these of the jobs that were chosen, those that have one."""
        return dict(self._about[each] for each in job_ids if each in self._about)

    def _class(self, class_id: int) -> JobClass:
        return self._turn.catalog.job_class(self._turn.tx, class_id)

    def _key(self, class_id: int, head: ReadyJob) -> SortKey:
        job_class = self._class(class_id)
        submitter = job_class.requirements.submitter
        return self._plan.shares.sort_key(
            head.priority, submitter, job_class.command_id, head.job_id, head.deadline_order
        )

    def _standing(self, class_id: int) -> SortKey | None:
        head = self._head(class_id)
        return None if head is None else self._key(class_id, head)

    def _push(self, line: ClassQueue, class_id: int) -> None:
        key = self._standing(class_id)
        if key is not None:
            line.push(key, self._class(class_id).requirements.submitter, class_id)

    def _head(self, class_id: int) -> ReadyJob | None:
        """The next job of a class that this pass has not chosen; None if there is none."""
        waiting = self._waiting.get(class_id)
        if waiting is None:
            known = self._plan.next_jobs.get(class_id)
            if known is None:
                return self._read(class_id, _FEW if len(self._classes) > 1 else self._most())
            waiting = self._waiting[class_id] = list(reversed(known.jobs))
            self._whole[class_id] = known.is_complete
        if waiting:
            return waiting[-1]
        if self._whole[class_id]:
            return None
        return self._read(class_id, self._most())

    def _most(self) -> int:
        return min(sum(each.most() for each in self._rooms), MAX_PREFETCH)

    def _read(self, class_id: int, most: int) -> ReadyJob | None:
        most += self._taken[class_id]  # these are still ready in the store
        rows = ready_jobs.read_next(self._turn.tx, class_id, most)
        self._whole[class_id] = len(rows) < most
        fresh = [each for each in rows if each.job_id not in self._chosen]
        self._waiting[class_id] = fresh[::-1]
        return fresh[0] if fresh else None

    def _take(self, class_id: int, job: ReadyJob, key: SortKey) -> bool:
        """Whether the class may go on in this pass: its first job was placed, or passed over."""
        if not self._free(job):
            # The end of what was chosen makes it ready again, and wakes its class.
            self._waiting[class_id].pop()
            return True
        job_class = self._class(class_id)
        found = self._where(job_class, job)
        if found is None:
            return False
        room, spot = found
        self._waiting[class_id].pop()
        room.take(job_class.command_id, job.priority)
        machine_id = room.machine.machine_id
        placed = RunningAttempt(machine_id, job_class.command_id, job_class.requirements.semaphores)
        self._placed.append(placed)
        if "_counts" in self.__dict__:
            self._counts.add(placed)
        typical_s = self._turn.state.typical_s(job_class.command_id, machine_id)
        self._plan.shares.charge(
            key, job_class.requirements.submitter, job_class.command_id, typical_s
        )
        self._plan.blocked.pop(class_id, None)
        terms = self._terms.get((class_id, machine_id))
        if terms is None:
            terms = grants.build_terms(self._turn, room.machine, job_class, spot.settings)
            self._terms[class_id, machine_id] = terms
        self._chosen[job.job_id] = terms
        self._taken[class_id] += 1
        if job.subject is not None:
            self._subjects[job.subject] = bool(job.overlap)
            self._about[job.job_id] = (job.subject, bool(job.overlap))
        return True

    def _free(self, job: ReadyJob) -> bool:
        """Whether this turn leased nothing of its subject that it must not run beside."""
        if job.subject is None or job.subject not in self._subjects:
            return True
        return bool(job.overlap) and self._subjects[job.subject]

    def _where(self, job_class: JobClass, job: ReadyJob) -> tuple[_Room, MachineFit] | None:
        """The emptiest machine that takes it, of the preferred ones if they do. A machine without
        room is full for all that come after, so that what is first in order is never passed by
        something smaller."""
        memory, now = self._turn.state, self._turn.now
        ask = current_requirements(memory.placement.disabled, memory.deferrals, job_class)
        if e.find_command_stop(ask, now.wall_ms) is not None:
            return None
        best: tuple[tuple[bool, float], _Room, MachineFit] | None = None
        why = set()
        for room, spot in self._places(job_class):
            machine = room.machine
            if machine.machine_id in self._full:
                continue
            if not spot.unconditional:
                broken = self._blocked(ask, machine, spot, job)
                if broken:
                    why.add(broken)
                    continue
            if not room.takes(job_class.command_id, job.priority):
                self._full.add(machine.machine_id)
                continue
            rank = (machine.name not in ask.preferred, room.taken / max(machine.max_jobs, 1))
            if best is None or rank < best[0]:
                best = (rank, room, spot)
        if best is None:
            if why == {"semaphores"}:
                self._plan.record_blocked(job_class.class_id, job, now.steady_ms)
            return None
        return best[1:]

    def _places(self, job_class: JobClass) -> list[tuple[_Room, MachineFit]]:
        """Where all that people said lets it run; nowhere is remembered until they say more."""
        found = self._spots.get(job_class.class_id)
        if found is None:
            sites, memory = self._turn.fits, self._turn.state
            spots = [
                (each, sites.fit(memory, each, job_class))
                for each in memory.machines.values()
                if each.accepts_grants
            ]
            if not any(spot.permitted for _, spot in spots):
                self._plan.unplaceable.add(job_class.class_id)
            rooms = {each.machine.machine_id: each for each in self._rooms}
            found = self._spots[job_class.class_id] = [
                (rooms[machine.machine_id], spot)
                for machine, spot in spots
                if spot.permitted and machine.machine_id in rooms
            ]
        return found

    def _blocked(
        self, ask: e.Requirements, machine: Machine, spot: MachineFit, job: ReadyJob
    ) -> str:
        """The rule that keeps it from there now; what time alone changes is looked at again."""
        now_ms = self._turn.now.wall_ms
        opening = self._turn.fits.window_state(spot.settings.hours, now_ms)
        reserved = {
            name: class_id
            for name, (class_id, priority) in self._reserved.items()
            if priority >= job.priority
        }
        moment = e.Conditions(
            now_ms,
            self._counts,
            self._plan.semaphore_sizes,
            opening,
            self._turn.state.typical_s(ask.command_id, machine.machine_id),
            reserved,
            self._plan.decline_left_ms(machine.machine_id, ask.class_id, now_ms),
        )
        broken = e.find_blocking_rule(ask, machine.facts(), spot.settings, moment)
        if broken == "clock":
            self._turn.state.schedule_turn(now_ms + moment.declined_ms)
        if broken and opening is not None and opening.until_ms is not None:
            self._turn.state.schedule_turn(opening.until_ms)
        return broken

    @cached_property
    def _counts(self) -> UsageCounts:
        book, tx = self._turn.catalog, self._turn.tx
        live = list_running(
            self._turn.state, lambda each: book.job_class(tx, each).requirements.semaphores
        )
        return UsageCounts([*live, *self._placed])

    @cached_property
    def _reserved(self) -> dict[str, tuple[int, int]]:
        """Semaphores whose units are kept for a class whose first job has waited too long."""
        found: dict[str, tuple[int, int]] = {}
        for class_id, blocked in self._plan.find_starving(self._turn.now.steady_ms):
            head = self._head(class_id) if class_id in self._classes else None
            if head is None or head.job_id != blocked.job_id:
                del self._plan.blocked[class_id]
                continue
            for name, _ in self._class(class_id).requirements.semaphores:
                found.setdefault(name, (class_id, blocked.priority))
        return found

    def _remember(self) -> None:
        """What was read and not chosen is there for the next turn."""
        for class_id, waiting in self._waiting.items():
            whole = self._whole[class_id] and len(waiting) <= MAX_NEXT_JOBS
            if not waiting and whole:
                self._plan.remove_class(class_id)
            elif waiting:
                kept = (
                    waiting[::-1]
                    if len(waiting) <= MAX_NEXT_JOBS
                    else waiting[: -MAX_NEXT_JOBS - 1 : -1]
                )
                self._plan.next_jobs[class_id] = NextJobs(tuple(kept), whole)
            else:
                self._plan.next_jobs.pop(class_id, None)


def current_requirements(
    disabled: frozenset[int], put_off: Mapping[int, tuple[int, str]], job_class: JobClass
) -> e.Requirements:
    """What the class asks, with what is true of its command now."""
    command_id, ask = job_class.command_id, job_class.requirements
    if command_id in disabled:
        ask = ask._replace(enabled=False)
    if command_id in put_off:
        until_ms, why = put_off[command_id]
        ask = ask._replace(put_off_ms=until_ms, put_off_reason=why)
    return ask


def list_running(memory: MasterState, units_of: Callable[[int], Units]) -> Iterator[RunningAttempt]:
    """`units_of` says what each job of a class takes of semaphores."""
    freed = memory.placement.freed_by_freeze
    for machine in memory.machines.values():
        for live in machine.live_attempts.values():
            units = units_in_use(units_of(live.class_id), freed, frozen=machine.is_frozen(live))
            yield RunningAttempt(machine.machine_id, live.command_id, units)
