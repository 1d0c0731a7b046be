"""Placement: which ready jobs go where now. Cheap while nothing changes, however many wait."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Final

from mythjobs.master.catalog import JobClass
from mythjobs.master.placement import grants
from mythjobs.master.placement.cache import MOST_HEADS, Heads
from mythjobs.master.placement.grants import Chosen
from mythjobs.master.placement.running import running
from mythjobs.master.placement.sites import Spot
from mythjobs.master.state import Machine
from mythjobs.master.turn_context import Turn
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.capacity import MOST_PREFETCH, PREFETCH_S, prefetch
from mythjobs.scheduler.counts import Counts, Running
from mythjobs.scheduler.order import Key, Line
from mythjobs.store.queries import ready_jobs
from mythjobs.store.queries.ready_jobs import Candidate

# Jobs that were cancelled since they were read are found out by the lease; then it is tried again.
_MOST_TRIES: Final = 5
_FEW: Final = 8


class _Room:
    """What a machine can still take in this turn, by its ceiling and by learned durations."""

    def __init__(self, turn: Turn, machine: Machine) -> None:
        self.machine = machine
        self._turn = turn
        self._short: dict[int, float | None] = {}
        self.taken = len(machine.live)
        self._long = 0
        self._waiting: Counter[int] = Counter()  # unstarted, by priority
        for live in machine.live.values():
            self._count(live.command_id, live.priority, live.started_ms is not None)

    def _count(self, command_id: int, priority: int, started: bool) -> None:
        if self._typical_s(command_id) is None:
            self._long += 1
        if not started:
            self._waiting[priority] += 1

    def _typical_s(self, command_id: int) -> float | None:
        """The learned duration if it is short; None if it is long or not learned."""
        if command_id not in self._short:
            typical_s = self._turn.memory.typical_s(command_id, self.machine.machine_id)
            short = typical_s is not None and typical_s <= PREFETCH_S
            self._short[command_id] = typical_s if short else None
        return self._short[command_id]

    @property
    def shut(self) -> bool:
        """Nothing at all could be leased now."""
        jobs = self.machine.jobs
        if self.taken < jobs:
            return False
        return jobs <= self._long or self.taken >= jobs + 2 * MOST_PREFETCH

    def takes(self, command_id: int, priority: int) -> bool:
        """Whether one more may be leased: it can start now, or surely within PREFETCH_S."""
        jobs = self.machine.jobs
        if self.taken < jobs:
            return True
        if self.shut:
            return False
        changing = jobs - self._long  # places that only short jobs have, so that they turn over
        ahead = sum(n for other, n in self._waiting.items() if other >= priority)
        typical_s = self._typical_s(command_id)
        if typical_s is None:
            return ahead == 0
        return ahead < prefetch(changing, typical_s)

    def take(self, command_id: int, priority: int) -> None:
        self.taken += 1
        self._count(command_id, priority, False)

    def most(self) -> int:
        return max(self.machine.jobs + MOST_PREFETCH - self.taken, 1)


def place(turn: Turn) -> None:
    """Leases what can run. Afterwards every machine is full, or no class has a ready job for it."""
    memory = turn.memory
    plan = memory.plan
    plan.notice(memory.waking)
    memory.waking.clear()
    standing = turn.book.sites.begin(memory)
    changed = standing != plan.standing
    if changed:
        plan.nowhere.clear()
        plan.standing = standing
    if turn.again:
        grants.again(turn)
    if changed:
        grants.tell_terms(turn)
    leased: dict[str, bool] = {}  # subjects, and whether they may be had by two
    for _ in range(_MOST_TRIES):
        rooms = [_Room(turn, each) for each in memory.machines.values() if each.takes]
        rooms = [each for each in rooms if not each.shut]
        classes = plan.ready - plan.nowhere
        if not rooms or not classes:
            return
        walk = _Pass(turn, rooms, classes, leased)
        chosen = walk.choose()
        if not chosen:
            return
        there = grants.lease(turn, chosen)
        if not chosen.keys() - there:
            return
        # Others of their subjects are ready in the store until the end of the turn.
        leased |= walk.subjects_of(there)
        # What was read of these classes is old.
        plan.notice([each for each in plan.heads if each in classes])


class _Pass:
    """One walk through the first jobs of all classes, in order, until nothing more fits."""

    def __init__(
        self, turn: Turn, rooms: list[_Room], classes: set[int], leased: Mapping[str, bool]
    ) -> None:
        """`leased`: the subjects that this turn has leased before."""
        self._turn = turn
        self._rooms = rooms
        self._classes = classes
        self._plan = turn.memory.plan
        self._waiting: dict[int, list[Candidate]] = {}  # by class, the next one last
        self._whole: dict[int, bool] = {}
        self._spots: dict[int, list[tuple[_Room, Spot]]] = {}
        self._full: set[int] = set()
        self._subjects = dict(leased)
        self._about: dict[int, tuple[str, bool]] = {}  # what was chosen
        self._chosen: dict[int, Chosen] = {}
        self._terms: dict[tuple[int, int], Chosen] = {}  # by class and machine
        self._placed: list[Running] = []
        self._taken: Counter[int] = Counter()  # of the class, in this pass

    def choose(self) -> dict[int, Chosen]:
        line = Line(self._standing)
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
        return self._turn.book.job_class(self._turn.tx, class_id)

    def _key(self, class_id: int, head: Candidate) -> Key:
        job_class = self._class(class_id)
        submitter = job_class.ask.submitter
        return self._plan.shares.key(
            head.priority, submitter, job_class.command_id, head.job_id, head.deadline_order
        )

    def _standing(self, class_id: int) -> Key | None:
        head = self._head(class_id)
        return None if head is None else self._key(class_id, head)

    def _push(self, line: Line, class_id: int) -> None:
        key = self._standing(class_id)
        if key is not None:
            line.push(key, self._class(class_id).ask.submitter, class_id)

    def _head(self, class_id: int) -> Candidate | None:
        """The next job of a class that this pass has not chosen; None if there is none."""
        waiting = self._waiting.get(class_id)
        if waiting is None:
            known = self._plan.heads.get(class_id)
            if known is None:
                return self._read(class_id, _FEW if len(self._classes) > 1 else self._most())
            waiting = self._waiting[class_id] = list(reversed(known.jobs))
            self._whole[class_id] = known.whole
        if waiting:
            return waiting[-1]
        if self._whole[class_id]:
            return None
        return self._read(class_id, self._most())

    def _most(self) -> int:
        return min(sum(each.most() for each in self._rooms), MOST_PREFETCH)

    def _read(self, class_id: int, most: int) -> Candidate | None:
        most += self._taken[class_id]  # these are still ready in the store
        rows = ready_jobs.next_of_class(self._turn.tx, class_id, most)
        self._whole[class_id] = len(rows) < most
        fresh = [each for each in rows if each.job_id not in self._chosen]
        self._waiting[class_id] = fresh[::-1]
        return fresh[0] if fresh else None

    def _take(self, class_id: int, job: Candidate, key: Key) -> bool:
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
        placed = Running(machine_id, job_class.command_id, job_class.ask.semaphores)
        self._placed.append(placed)
        if "_counts" in self.__dict__:
            self._counts.add(placed)
        typical_s = self._turn.memory.typical_s(job_class.command_id, machine_id)
        self._plan.shares.charge(key, job_class.ask.submitter, job_class.command_id, typical_s)
        self._plan.blocked.pop(class_id, None)
        terms = self._terms.get((class_id, machine_id))
        if terms is None:
            terms = grants.chosen(self._turn, room.machine, job_class, spot.site)
            self._terms[class_id, machine_id] = terms
        self._chosen[job.job_id] = terms
        self._taken[class_id] += 1
        if job.subject is not None:
            self._subjects[job.subject] = bool(job.overlap)
            self._about[job.job_id] = (job.subject, bool(job.overlap))
        return True

    def _free(self, job: Candidate) -> bool:
        """Whether this turn leased nothing of its subject that it must not run beside."""
        if job.subject is None or job.subject not in self._subjects:
            return True
        return bool(job.overlap) and self._subjects[job.subject]

    def _where(self, job_class: JobClass, job: Candidate) -> tuple[_Room, Spot] | None:
        """The emptiest machine that takes it, of the preferred ones if they do. A machine without
        room is full for all that come after, so that what is first in order is never passed by
        something smaller."""
        memory, now = self._turn.memory, self._turn.now
        ask = asked(memory.plan.disabled, memory.put_off, job_class)
        if e.off(ask, now.wall_ms) is not None:
            return None
        best: tuple[tuple[bool, float], _Room, Spot] | None = None
        why = set()
        for room, spot in self._places(job_class):
            machine = room.machine
            if machine.machine_id in self._full:
                continue
            if not spot.plain:
                broken = self._blocked(ask, machine, spot, job)
                if broken:
                    why.add(broken)
                    continue
            if not room.takes(job_class.command_id, job.priority):
                self._full.add(machine.machine_id)
                continue
            rank = (machine.name not in ask.preferred, room.taken / max(machine.jobs, 1))
            if best is None or rank < best[0]:
                best = (rank, room, spot)
        if best is None:
            if why == {"semaphores"}:
                self._plan.block(job_class.class_id, job, now.steady_ms)
            return None
        return best[1:]

    def _places(self, job_class: JobClass) -> list[tuple[_Room, Spot]]:
        """Where all that people said lets it run; nowhere is remembered until they say more."""
        found = self._spots.get(job_class.class_id)
        if found is None:
            sites, memory = self._turn.book.sites, self._turn.memory
            spots = [
                (each, sites.spot(memory, each, job_class))
                for each in memory.machines.values()
                if each.takes
            ]
            if not any(spot.stands for _, spot in spots):
                self._plan.nowhere.add(job_class.class_id)
            rooms = {each.machine.machine_id: each for each in self._rooms}
            found = self._spots[job_class.class_id] = [
                (rooms[machine.machine_id], spot)
                for machine, spot in spots
                if spot.stands and machine.machine_id in rooms
            ]
        return found

    def _blocked(self, ask: e.Ask, machine: Machine, spot: Spot, job: Candidate) -> str:
        """The rule that keeps it from there now; what time alone changes is looked at again."""
        now_ms = self._turn.now.wall_ms
        opening = self._turn.book.sites.opening(spot.site.hours, now_ms)
        reserved = {
            name: class_id
            for name, (class_id, priority) in self._reserved.items()
            if priority >= job.priority
        }
        moment = e.Moment(
            now_ms,
            self._counts,
            self._plan.sizes,
            opening,
            self._turn.memory.typical_s(ask.command_id, machine.machine_id),
            reserved,
            self._plan.declined_ms(machine.machine_id, ask.class_id, now_ms),
        )
        broken = e.blocked(ask, machine.facts(), spot.site, moment)
        if broken == "clock":
            self._turn.memory.due(now_ms + moment.declined_ms)
        if broken and opening is not None and opening.until_ms is not None:
            self._turn.memory.due(opening.until_ms)
        return broken

    @cached_property
    def _counts(self) -> Counts:
        book, tx = self._turn.book, self._turn.tx
        live = running(self._turn.memory, lambda each: book.job_class(tx, each).ask.semaphores)
        return Counts([*live, *self._placed])

    @cached_property
    def _reserved(self) -> dict[str, tuple[int, int]]:
        """Semaphores whose units are kept for a class whose first job has waited too long."""
        found: dict[str, tuple[int, int]] = {}
        for class_id, blocked in self._plan.starving(self._turn.now.steady_ms):
            head = self._head(class_id) if class_id in self._classes else None
            if head is None or head.job_id != blocked.job_id:
                del self._plan.blocked[class_id]
                continue
            for name, _ in self._class(class_id).ask.semaphores:
                found.setdefault(name, (class_id, blocked.priority))
        return found

    def _remember(self) -> None:
        """What was read and not chosen is there for the next turn."""
        for class_id, waiting in self._waiting.items():
            whole = self._whole[class_id] and len(waiting) <= MOST_HEADS
            if not waiting and whole:
                self._plan.over(class_id)
            elif waiting:
                kept = (
                    waiting[::-1] if len(waiting) <= MOST_HEADS else waiting[: -MOST_HEADS - 1 : -1]
                )
                self._plan.heads[class_id] = Heads(tuple(kept), whole)
            else:
                self._plan.heads.pop(class_id, None)


def asked(
    disabled: frozenset[int], put_off: Mapping[int, tuple[int, str]], job_class: JobClass
) -> e.Ask:
    """What the class asks, with what is true of its command now."""
    command_id, ask = job_class.command_id, job_class.ask
    if command_id in disabled:
        ask = ask._replace(enabled=False)
    if command_id in put_off:
        until_ms, why = put_off[command_id]
        ask = ask._replace(put_off_ms=until_ms, put_off_reason=why)
    return ask
