"""Placement pass: leases ready jobs to machines with capacity, reading only the next few jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from operator import attrgetter
from typing import Final

from mythjobs.master.catalog import JobClass
from mythjobs.master.isolation import Unit, describe_error, describe_set_aside
from mythjobs.master.machine import Machine
from mythjobs.master.placement import grants
from mythjobs.master.placement.cache import MAX_NEXT_JOBS, NextJobs
from mythjobs.master.placement.fit_cache import GrantTerms, MeasuredMachine
from mythjobs.master.placement.hidden_jobs import HiddenJobs
from mythjobs.master.placement.visibility import are_paths_limited
from mythjobs.master.state import MasterState
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.window import Hours
from mythjobs.scheduler.capacity import (
    MAX_PREFETCH,
    MachineCapacity,
    ReportedRoom,
    RunningAttempt,
    Units,
    is_short,
    units_in_use,
)
from mythjobs.scheduler.eligibility import Requirements
from mythjobs.scheduler.order import ReadyJob
from mythjobs.scheduler.placement_walk import Choice, PermittedMachine, PlacementWalk
from mythjobs.scheduler.window_state import WindowState
from mythjobs.store.queries import ready_jobs

# Maximum number of placement walks in a pass. A walk is repeated if a chosen job could not be
# leased, because it was cancelled after it had been read.
_MAX_TRIES: Final = 5
_FIRST_READ: Final = 8
# What an attempt's place in the capacity of its machine depends on.
_KIND_OF_ATTEMPT: Final = attrgetter("command_id", "priority", "started_ms")


def place_ready_jobs(turn: TurnContext, *, each_alone: bool = False) -> None:
    """Lease every ready job that can run now.

    Afterwards each machine is full or permits none of the jobs that are still ready.

    each_alone: place one job class after the other, so that a class that causes an internal error
    is found.
    """
    state, cache = turn.state, turn.state.placement
    cache.invalidate(state.classes_to_recheck)
    state.classes_to_recheck.clear()
    snapshot, changed = turn.fits.refresh(state)
    is_policy_changed = snapshot != cache.policy_snapshot
    if is_policy_changed:
        cache.unplaceable.clear()
        cache.policy_snapshot = snapshot
    if state.set_aside:
        turn.flush_new_jobs()
        grants.hold_failed_grants(turn)
    if turn.regrants:
        grants.resend_grants(turn)
    if is_policy_changed:
        grants.send_changed_terms(turn, changed)
    class_ids = cache.ready_classes - cache.unplaceable
    if state.set_aside:
        class_ids = {each for each in class_ids if Unit("class", each) not in state.set_aside}
    if not each_alone:
        _place(turn, class_ids)
        return
    for class_id in class_ids:
        turn.working_on = Unit("class", class_id)
        _place(turn, {class_id})
        # Jobs about the subject of a leased job are not ready any more. Update them in the store
        # before the ready jobs of the next class are read.
        turn.flush()
        cache.invalidate(state.classes_to_recheck)
        state.classes_to_recheck.clear()
    turn.working_on = None


def _place(turn: TurnContext, candidates: set[int]) -> None:
    """Lease ready jobs of the given job classes to machines with capacity."""
    state, cache = turn.state, turn.state.placement
    leased_subjects: dict[str, bool] = {}  # True: jobs about the subject may overlap
    for _ in range(_MAX_TRIES):
        class_ids = (candidates & cache.ready_classes) - cache.unplaceable
        if not class_ids:
            return
        open_machines = {
            machine_id: measured
            for machine_id, machine in state.machines.items()
            if machine.accepts_grants and not (measured := _measure(turn, machine)).capacity.is_full
        }
        if not open_machines:
            return
        choices = _choose(turn, open_machines, class_ids, leased_subjects)
        if not choices:
            return
        leased = grants.lease_jobs(turn, _find_terms(turn, choices))
        for _, machine_id, _ in choices:
            turn.fits.remove_measured(machine_id)
        if len(leased) == len(choices):
            return
        # Remember the leased subjects: other jobs about them stay ready in the store until the
        # end of the turn, and must not be chosen.
        leased_subjects |= {
            job.subject: bool(job.overlap)
            for job, *_ in choices
            if job.subject is not None and job.job_id in leased
        }
        # Read the next jobs of all classes again: the walk may have skipped a job because of the
        # subject of a chosen job that was then not leased.
        cache.invalidate(class_ids)


def _measure(turn: TurnContext, machine: Machine) -> MeasuredMachine:
    found = turn.fits.find_measured(machine)
    if found is None:
        found = MeasuredMachine(_measure_capacity(turn, machine), machine.facts())
        turn.fits.add_measured(machine, found)
    return found


def _measure_capacity(turn: TurnContext, machine: Machine) -> MachineCapacity:
    state, machine_id = turn.state, machine.machine_id
    # Hundreds of prefetched attempts of a short command are of one kind: a turn that looked at each
    # of them took a tenth of its time for it.
    kinds = Counter(map(_KIND_OF_ATTEMPT, machine.live_attempts.values()))
    typical_s = {each: state.typical_s(each, machine_id) for each, *_ in kinds}
    room = None
    if machine.has_scaling:
        long = {each for each, duration_s in typical_s.items() if not is_short(duration_s)}
        room = _find_room(turn, machine, long)
    capacity = MachineCapacity(machine_id, machine.max_jobs, (), room)
    for (command_id, priority, started_ms), count in kinds.items():
        capacity.add_live(typical_s[command_id], priority, started_ms is not None, count)
    return capacity


def _find_room(turn: TurnContext, machine: Machine, long: Collection[int]) -> ReportedRoom:
    """Return the room that a machine with automatic scaling has reported, less the attempts of long
    commands (ids) leased to it since. Before its first report the machine has no room."""
    if machine.headroom is None:
        return ReportedRoom({}, 0)
    seen = machine.headroom_seen
    leased = [
        turn.catalog.job_class(turn.tx, each.class_id).command.name
        for each in (machine.live_attempts.values() if long else ())
        if each.started_ms is None and each.grant_no > seen and each.command_id in long
    ]
    return ReportedRoom(machine.headroom.fits, machine.headroom.other, leased)


def _choose(
    turn: TurnContext,
    open_machines: Mapping[int, MeasuredMachine],
    class_ids: set[int],
    leased_subjects: Mapping[str, bool],
) -> list[Choice]:
    cache = turn.state.placement
    capacities = [each.capacity for each in open_machines.values()]
    source = _StoreInput(turn, open_machines, len(class_ids) > 1)
    walk = PlacementWalk(
        source,
        capacities,
        class_ids,
        cache.shares,
        cache.blocked,
        semaphore_sizes=cache.semaphore_sizes,
        leased_subjects=leased_subjects,
        now=turn.now,
        without_room=cache.without_room,
    )
    try:
        choices = walk.run()
    except Exception:
        turn.working_on = Unit("class", walk.current_class_id)
        raise
    if walk.retry_ms is not None:
        turn.state.schedule_turn(walk.retry_ms)
    source.save_remaining()
    return choices


def _find_terms(turn: TurnContext, choices: list[Choice]) -> dict[int, tuple[Machine, GrantTerms]]:
    """Return machine and terms of each chosen job, by job id."""
    known: dict[tuple[int, int], tuple[Machine, GrantTerms]] = {}
    found = {}
    before = turn.working_on
    for job, machine_id, settings in choices:
        terms = known.get((job.class_id, machine_id))
        if terms is None:
            turn.working_on = Unit("class", job.class_id)
            machine = turn.state.open_machine(machine_id)
            job_class = turn.catalog.job_class(turn.tx, job.class_id)
            terms = machine, grants.find_terms(turn, machine, job_class, settings)
            known[job.class_id, machine_id] = terms
        found[job.job_id] = terms
    turn.working_on = before
    return found


class _StoreInput:
    """Input of the placement walk: ready jobs from the placement cache or the store, machines."""

    def __init__(
        self,
        turn: TurnContext,
        open_machines: Mapping[int, MeasuredMachine],
        has_several_classes: bool,
    ) -> None:
        self._turn = turn
        self._cache = turn.state.placement
        self._open = open_machines
        self._has_several_classes = has_several_classes
        # By class id: ready jobs that were read, the next job last.
        self._waiting: dict[int, list[ReadyJob]] = {}
        # By class id: whether `_waiting` had all ready jobs of the class when it was read.
        self._is_complete: dict[int, bool] = {}
        # By class id: number of jobs that the walk has taken; the store still has them as ready.
        self._removed: Counter[int] = Counter()
        self._removed_ids: set[int] = set()
        self._hidden = HiddenJobs(turn)
        self._are_paths_limited: bool | None = None  # None: not computed yet

    def next_job(self, class_id: int, /) -> ReadyJob | None:
        waiting = self._waiting.get(class_id)
        if waiting is None:
            known = self._cache.next_jobs.get(class_id)
            if known is None:
                most = _FIRST_READ if self._has_several_classes else self._max_leases()
                return self._read(class_id, most)
            waiting = self._waiting[class_id] = list(reversed(known.jobs))
            self._is_complete[class_id] = known.is_complete
        if waiting:
            return waiting[-1]
        if self._is_complete[class_id]:
            return None
        return self._read(class_id, self._max_leases())

    def _max_leases(self) -> int:
        return min(sum(each.capacity.max_leases for each in self._open.values()), MAX_PREFETCH)

    def _read(self, class_id: int, most: int) -> ReadyJob | None:
        self._turn.flush_new_jobs()
        most += self._removed[class_id]  # removed jobs are still ready in the store
        rows = ready_jobs.read_next(self._turn.tx, class_id, most)
        self._is_complete[class_id] = len(rows) < most
        fresh = [each for each in rows if each.job_id not in self._removed_ids]
        self._waiting[class_id] = fresh[::-1]
        return fresh[0] if fresh else None

    def remove_next(self, class_id: int, /) -> None:
        self._removed_ids.add(self._waiting[class_id].pop().job_id)
        self._removed[class_id] += 1

    def find_hidden(self, job: ReadyJob, /) -> Collection[int]:
        if self._are_paths_limited is None:
            self._are_paths_limited = are_paths_limited(self._turn.state)
        if not self._are_paths_limited:
            return ()
        self._turn.flush_new_jobs()
        return self._hidden.find(job, self._waiting[job.class_id])

    def skip_hidden(self, job: ReadyJob, /) -> None:
        self.remove_next(job.class_id)
        self._hidden.skip(job)

    def save_remaining(self) -> None:
        """Keep the jobs that were read but not chosen in the placement cache, for the next turn."""
        for class_id, waiting in self._waiting.items():
            is_complete = self._is_complete[class_id] and len(waiting) <= MAX_NEXT_JOBS
            if waiting:
                first = tuple(waiting[: -MAX_NEXT_JOBS - 1 : -1])
                self._cache.next_jobs[class_id] = NextJobs(first, is_complete)
            elif is_complete:
                self._cache.remove_class(class_id)
            else:
                self._cache.next_jobs.pop(class_id, None)
        self._hidden.finish()

    def _job_class(self, class_id: int) -> JobClass:
        return self._turn.catalog.job_class(self._turn.tx, class_id)

    def requirements(self, class_id: int, /) -> Requirements:
        return current_requirements(self._turn.state, self._job_class(class_id))

    def permitted_machines(self, class_id: int, /) -> list[PermittedMachine]:
        """Return the machines with capacity whose policy permits a job class.

        If no machine permits the class, later passes skip it until a policy changes.
        """
        state, job_class = self._turn.state, self._job_class(class_id)
        find_fit, machines = self._turn.fits.fit, state.machines
        found = [
            PermittedMachine(facts, capacity, fit)
            for machine_id, (capacity, facts) in self._open.items()
            if (fit := find_fit(state, machines[machine_id], job_class)).permitted
        ]
        if not found and not any(
            find_fit(state, each, job_class).permitted
            for each in machines.values()
            if each.accepts_grants
        ):
            self._cache.unplaceable.add(class_id)
        return found

    def running_attempts(self) -> Iterator[RunningAttempt]:
        return list_running(
            self._turn.state, lambda class_id: self._job_class(class_id).requirements.semaphores
        )

    def typical_s(self, _: ReadyJob, command_id: int, machine_id: int, /) -> float | None:
        return self._turn.state.typical_s(command_id, machine_id)

    def window_state(self, hours: Hours, /) -> WindowState:
        return self._turn.fits.windows.find(hours, self._turn.now.wall_ms)

    def declined_ms(self, machine_id: int, class_id: int, /) -> int:
        return self._cache.decline_left_ms(machine_id, class_id, self._turn.now.wall_ms)


def current_requirements(state: MasterState, job_class: JobClass) -> Requirements:
    """Return a job class's requirements, with whether it is disabled, deferred or set aside."""
    command_id, requirements = job_class.command_id, job_class.requirements
    set_aside = state.set_aside.get(Unit("class", job_class.class_id))
    error = "" if set_aside is None else set_aside.error
    if job_class.error is not None:
        error = describe_error(job_class.error)
    if error:
        sentence = describe_set_aside(job_class.command.name, error)
        requirements = requirements._replace(set_aside=sentence)
    if command_id in state.placement.disabled:
        requirements = requirements._replace(enabled=False)
    if command_id in state.deferrals:
        until_ms, reason = state.deferrals[command_id]
        requirements = requirements._replace(put_off_ms=until_ms, put_off_reason=reason)
    return requirements


def list_running(state: MasterState, units_of: Callable[[int], Units]) -> Iterator[RunningAttempt]:
    """Yield all live attempts with the semaphore units that they use.

    units_of: function that returns the semaphore units of a job of a class, by class id.
    """
    freed = state.placement.freed_by_freeze
    for machine in state.machines.values():
        for live in machine.live_attempts.values():
            units = units_in_use(units_of(live.class_id), freed, is_frozen=machine.is_frozen(live))
            yield RunningAttempt(machine.machine_id, live.command_id, units)
