"""Placement walk: gives waiting jobs, in order, to machines. Used by placement and by `what-if`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

from mythjobs.clock import Now
from mythjobs.model.window import Hours
from mythjobs.scheduler.blocked import find_command_stop
from mythjobs.scheduler.capacity import MachineCapacity, RunningAttempt, UsageCounts
from mythjobs.scheduler.eligibility import (
    Candidate,
    Conditions,
    EffectiveSettings,
    MachineFacts,
    MachineFit,
    Requirements,
    find_blocking_rule,
)
from mythjobs.scheduler.order import BlockedJobs, ClassQueue, FairShares, ReadyJob, SortKey
from mythjobs.scheduler.window_state import WindowState

# Maximum number of jobs of a class that a walk skips because of their files.
MAX_SKIPPED: Final = 100


class PermittedMachine(NamedTuple):
    """A machine on which policy permits a job class, and which may have capacity left."""

    facts: MachineFacts
    capacity: MachineCapacity
    fit: MachineFit


class Choice(NamedTuple):
    """A job and the machine that the walk chose for it."""

    job: ReadyJob
    machine_id: int
    settings: EffectiveSettings


class WalkInput(Protocol):
    """Input of a placement walk: waiting jobs by class, machines, and running attempts."""

    def next_job(self, class_id: int, /) -> ReadyJob | None:
        """Return the first job of a class that has not been removed, or None."""

    def remove_next(self, class_id: int, /) -> None:
        """Remove the job that `next_job` returned last."""

    def requirements(self, class_id: int, /) -> Requirements: ...

    def permitted_machines(self, class_id: int, /) -> Sequence[PermittedMachine]: ...

    def running_attempts(self) -> Iterable[RunningAttempt]: ...

    def typical_s(self, job: ReadyJob, command_id: int, machine_id: int, /) -> float | None:
        """Return the usual duration of the job on the machine; None while unknown."""

    def window_state(self, hours: Hours, /) -> WindowState: ...

    def declined_ms(self, machine_id: int, class_id: int, /) -> int:
        """Return for how long the machine gets no job of the class, because it returned one."""

    def find_hidden(self, job: ReadyJob, /) -> Collection[int]:
        """Return the machines that cannot read the job's input files, as far as known."""

    def skip_hidden(self, job: ReadyJob, /) -> None:
        """Remove the job, as no machine can take it now that could read its files."""


class PlacementWalk:
    """One walk through the first jobs of all classes, in order, until no more job fits.

    Charges `shares` and records in `blocked` which jobs only semaphores keep waiting, and in
    `without_room` those that machines with automatic scaling have no room for.
    leased_subjects: subjects of jobs that this turn leased before; the value is true if these jobs
    allow overlap. The walk skips other jobs about such a subject, unless all allow overlap.
    """

    def __init__(
        self,
        source: WalkInput,
        capacities: Collection[MachineCapacity],
        class_ids: Collection[int],
        shares: FairShares,
        blocked: BlockedJobs,
        *,
        semaphore_sizes: Mapping[str, int],
        leased_subjects: Mapping[str, bool],
        now: Now,
        without_room: BlockedJobs | None = None,
    ) -> None:
        self._source = source
        self._machine_count = len(capacities)
        self._class_ids = class_ids
        self._shares = shares
        self._blocked = blocked
        self._without_room = BlockedJobs() if without_room is None else without_room
        self._semaphore_sizes = semaphore_sizes
        self._subjects = dict(leased_subjects)
        self._now = now
        # (class id, priority) for which a semaphore's free units are kept, by semaphore name;
        # None: not computed yet.
        self._reservations: dict[str, tuple[int, int]] | None = None
        self._full: set[int] = set()
        # By class id. A dict costs less than functools.cache(): making one takes 8 µs, each walk.
        self._known_requirements: dict[int, Requirements] = {}
        self._known_machines: dict[int, Sequence[PermittedMachine]] = {}
        self._choices: list[Choice] = []
        self._placed: list[RunningAttempt] = []
        # None: not counted yet. Job classes without ceilings or semaphores need no counts.
        self._counts: UsageCounts | None = None
        # By class id, number of skipped jobs.
        self._skipped: Counter[int] = Counter()
        # Wall clock time at which a refused job may be permitted merely because time has passed.
        self.retry_ms: int | None = None
        self.current_class_id = 0  # the class at fault if run() raises

    def _requirements(self, class_id: int) -> Requirements:
        found = self._known_requirements.get(class_id)
        if found is None:
            found = self._known_requirements[class_id] = self._source.requirements(class_id)
        return found

    def _permitted_machines(self, class_id: int) -> Sequence[PermittedMachine]:
        found = self._known_machines.get(class_id)
        if found is None:
            found = self._known_machines[class_id] = self._source.permitted_machines(class_id)
        return found

    def run(self) -> list[Choice]:
        queue = ClassQueue(self._sort_key)
        for class_id in self._class_ids:
            self.current_class_id = class_id
            if (first := self._sort_key(class_id)) is not None:
                queue.push(first, self._requirements(class_id).submitter, class_id)
        found = queue.pop()
        while found is not None and len(self._full) < self._machine_count:
            key, class_id = found
            self.current_class_id = class_id
            job = self._source.next_job(class_id)
            assert job is not None, f"class {class_id} is queued without a job"
            following = self._sort_key(class_id) if self._place(job, key) else None
            if following is None:
                found = queue.pop()
            else:
                submitter = self._requirements(class_id).submitter
                found = queue.push_pop(following, submitter, class_id)
        return self._choices

    def _sort_key(self, class_id: int) -> SortKey | None:
        job = self._source.next_job(class_id)
        if job is None:
            return None
        requirements = self._requirements(class_id)
        submitter, command_id = requirements.submitter, requirements.command_id
        return self._shares.sort_key(
            job.priority, submitter, command_id, job.job_id, job.deadline_order
        )

    def _place(self, job: ReadyJob, key: SortKey) -> bool:
        """Place or skip the first job of a class. Return whether the class stays in the walk."""
        if not self._is_subject_free(job):
            # Skip this job, because this turn has leased another job about its subject. The end of
            # the other job makes this one ready again.
            self._source.remove_next(job.class_id)
            return True
        requirements = self._requirements(job.class_id)
        hidden = self._source.find_hidden(job)
        found = self._find_machine(requirements, job, hidden)
        if found is None:
            return bool(hidden) and self._skip_hidden(requirements, job)
        machine, typical_s = found
        machine_id, command_id = machine.facts.machine_id, requirements.command_id
        self._source.remove_next(job.class_id)
        machine.capacity.add(typical_s, job.priority, requirements.command)
        attempt = RunningAttempt(machine_id, command_id, requirements.semaphores)
        self._placed.append(attempt)
        if self._counts is not None:
            self._counts.add(attempt)
        self._shares.charge(key, requirements.submitter, command_id, typical_s)
        self._blocked.remove(job.class_id)
        self._without_room.remove(job.class_id)
        if self._reservations:
            # Compute reservations again at next use: the leased job no longer needs one, and the
            # next job of its class has none yet.
            self._reservations = None
        if job.subject is not None:
            self._subjects[job.subject] = bool(job.overlap)
        self._choices.append(Choice(job, machine_id, machine.fit.settings))
        return True

    def _skip_hidden(self, requirements: Requirements, job: ReadyJob) -> bool:
        """Skip a job that some machine cannot start, as others of its class may start there. Return
        whether the class stays in the walk."""
        self._skipped[job.class_id] += 1
        is_stopped = find_command_stop(requirements, self._now.wall_ms) is not None
        if is_stopped or self._skipped[job.class_id] > MAX_SKIPPED:
            return False
        self._source.skip_hidden(job)
        return True

    def _is_subject_free(self, job: ReadyJob) -> bool:
        if job.subject is None or job.subject not in self._subjects:
            return True
        return bool(job.overlap) and self._subjects[job.subject]

    def _find_machine(
        self, requirements: Requirements, job: ReadyJob, hidden: Collection[int]
    ) -> tuple[PermittedMachine, float | None] | None:
        """Return the machine for a job and the job's usual duration there; None if none fits.

        Preferred machines come first, then the least loaded. A machine that lacks capacity for
        the job gets no later job in this walk either, so that no smaller job overtakes it.
        """
        if find_command_stop(requirements, self._now.wall_ms) is not None:
            return None
        best: tuple[PermittedMachine, float | None] | None = None
        best_rank = (True, 0.0)
        broken_rules, lacks_room = set(), False
        for machine in self._permitted_machines(job.class_id):
            facts, capacity, fit = machine
            if facts.machine_id in self._full or facts.machine_id in hidden:
                continue
            typical_s = self._source.typical_s(job, requirements.command_id, facts.machine_id)
            if not fit.unconditional:
                rule = self._find_blocking_rule(requirements, machine, job, typical_s)
                if rule:
                    broken_rules.add(rule)
                    continue
            if not capacity.can_take(typical_s, job.priority):
                self._full.add(facts.machine_id)
                continue
            if not capacity.has_room(requirements.command, typical_s):
                # A job of another command, which uses other resources, may fit.
                lacks_room = True
                continue
            rank = (facts.name not in requirements.preferred, capacity.leased / max(facts.jobs, 1))
            if best is None or rank < best_rank:
                best, best_rank = (machine, typical_s), rank
        # Semaphores are the last of the rules, so on one machine the job lacks only units.
        if best is None and "semaphores" in broken_rules:
            self._blocked.add(job, self._now.steady_ms)
        if lacks_room and best is None:
            self._without_room.add(job, self._now.steady_ms)
        return best

    def _find_blocking_rule(
        self,
        requirements: Requirements,
        machine: PermittedMachine,
        job: ReadyJob,
        typical_s: float | None,
    ) -> str:
        facts, _, fit = machine
        now_ms = self._now.wall_ms
        hours = fit.settings.hours
        window = None if hours is None else self._source.window_state(hours)
        conditions = Conditions(
            now_ms,
            self._find_counts(),
            self._semaphore_sizes,
            window,
            typical_s,
            # Semaphore units reserved for a job of lower priority are available to this job.
            {
                name: class_id
                for name, (class_id, priority) in self._find_reservations().items()
                if priority >= job.priority
            },
            self._source.declined_ms(facts.machine_id, requirements.class_id),
        )
        rule = find_blocking_rule(Candidate(requirements, facts, fit.settings, conditions))
        if rule == "clock":
            self._retry_at(now_ms + conditions.declined_ms)
        if rule and window is not None and window.until_ms is not None:
            self._retry_at(window.until_ms)
        return rule

    def _retry_at(self, wall_ms: int) -> None:
        self.retry_ms = wall_ms if self.retry_ms is None else min(self.retry_ms, wall_ms)

    def _find_counts(self) -> UsageCounts:
        if self._counts is None:
            self._counts = UsageCounts([*self._source.running_attempts(), *self._placed])
        return self._counts

    def _find_reservations(self) -> dict[str, tuple[int, int]]:
        """Return the (class id, priority) for which free units are kept, by semaphore name."""
        if self._reservations is not None:
            return self._reservations
        found: dict[str, tuple[int, int]] = {}
        for class_id, blocked in self._blocked.find_starving(self._now.steady_ms):
            job = self._source.next_job(class_id) if class_id in self._class_ids else None
            if job is None or job.job_id != blocked.job_id:
                self._blocked.remove(class_id)
                continue
            for name, _ in self._requirements(class_id).semaphores:
                found.setdefault(name, (class_id, blocked.priority))
        self._reservations = found
        return found
