"""Replay of past jobs under other settings, for `mythjobs what-if`: when and where each runs."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.model.window import Hours
from mythjobs.model.zone import DAY_MS
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.capacity import MachineCapacity, RunningAttempt, units_in_use
from mythjobs.scheduler.order import BlockedJobs, FairShares, ReadyJob, deadline_order
from mythjobs.scheduler.placement_walk import PermittedMachine, PlacementWalk
from mythjobs.scheduler.window_state import WindowState, WindowStateCache

# A job that has not ended this long after the last submit is reported as never ending.
_MAX_REPLAY_MS: Final = 60 * DAY_MS


class PastJob(NamedTuple):
    """A finished job to replay: when it was submitted, its class, and how long it ran."""

    job_id: int
    submitted_ms: int
    class_id: int
    priority: int
    duration_s: float
    deadline_ms: int | None = None

    def as_ready(self) -> ReadyJob:
        """Return the job as a ready job without subject: the replay does not consider subjects."""
        order = deadline_order(self.deadline_ms)
        return ReadyJob(self.job_id, self.class_id, self.priority, None, 0, order)


class ReplayedJob(NamedTuple):
    """Result of a replay: when and where a job starts and ends; None: never.

    cut: the job is ended by its wall limit or by the end of a run window.
    """

    job_id: int
    machine: str | None
    started_ms: int | None
    ended_ms: int | None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """Machines, job classes and settings with which jobs are replayed.

    settings: by (class id, machine id). freed_by_freeze: semaphores that frozen jobs release.
    """

    requirements: Mapping[int, e.Requirements]
    machines: Mapping[int, e.MachineFacts]
    settings: Mapping[tuple[int, int], e.EffectiveSettings]
    semaphore_sizes: Mapping[str, int] = field(default_factory=dict)
    freed_by_freeze: frozenset[str] = frozenset()


@dataclass(slots=True)
class _LiveJob:
    job: PastJob
    machine_id: int
    settings: e.EffectiveSettings
    started_ms: int | None = None  # None: leased, waits on the machine for a slot
    left_ms: int = 0  # run time that is left at `since_ms`
    since_ms: int = 0
    is_frozen: bool = False
    cut: bool = False


def replay(scenario: Scenario, jobs: Sequence[PastJob]) -> list[ReplayedJob]:
    """Return when and where each job runs in the scenario, in order of job id.

    All machines are connected all the time and all durations are known beforehand, so that two
    replays differ only by their settings.
    """
    return _Replay(scenario, jobs).run()


class _Replay:
    """State of a replay, which is also the input of its placement walks (WalkInput)."""

    def __init__(self, scenario: Scenario, jobs: Sequence[PastJob]) -> None:
        self._scenario = scenario
        self._jobs = {each.job_id: each for each in jobs}
        self._submits = [(each.submitted_ms, each.job_id, each) for each in jobs]
        heapify(self._submits)
        # Queued jobs by class, each class a heap in order of priority, deadline and job id.
        self._queued: dict[int, list[tuple[int, int, int, ReadyJob]]] = {}
        self._ever_started: set[int] = set()
        self._live: dict[int, _LiveJob] = {}
        self._ended: dict[int, ReplayedJob] = {}
        self._shares = FairShares()
        self._blocked = BlockedJobs()
        self._windows = WindowStateCache()
        self._fits = {
            (class_id, machine_id): e.compute_fit(
                scenario.requirements[class_id], scenario.machines[machine_id], settings
            )
            for (class_id, machine_id), settings in scenario.settings.items()
        }
        self._capacities: dict[int, MachineCapacity] = {}
        self._now_ms = 0

    def run(self) -> list[ReplayedJob]:
        last_ms = max((each.submitted_ms for each in self._jobs.values()), default=0)
        following = self._find_next_ms(None)
        while following is not None and following <= last_ms + _MAX_REPLAY_MS:
            self._now_ms = following
            while self._submits and self._submits[0][0] <= self._now_ms:
                self._enqueue(heappop(self._submits)[2])
            self._advance()
            self._start_leased()
            retry_ms = self._place()
            self._start_leased()
            following = self._find_next_ms(retry_ms)
        return [
            self._ended.get(each, ReplayedJob(each, None, None, None))
            for each in sorted(self._jobs)
        ]

    def _enqueue(self, job: PastJob) -> None:
        ready = job.as_ready()
        entry = (-ready.priority, ready.deadline_order, ready.job_id, ready)
        heappush(self._queued.setdefault(ready.class_id, []), entry)

    def _advance(self) -> None:
        """End jobs whose run time has passed, and apply closed run windows to the others."""
        for job_id, live in list(self._live.items()):
            window = self._live_window(live)
            is_closed = window is not None and not window.is_open
            if live.started_ms is None:
                if is_closed:
                    del self._live[job_id]
                    self._enqueue(live.job)
                continue
            if not live.is_frozen:
                live.left_ms -= self._now_ms - live.since_ms
            live.since_ms = self._now_ms
            if live.left_ms <= 0:
                self._end(live, live.cut)
                continue
            closing = "finish" if live.settings.hours is None else live.settings.hours.closing
            if closing == "freeze":
                live.is_frozen = is_closed
            elif is_closed and closing == "requeue":
                del self._live[job_id]
                self._enqueue(live.job)
            elif is_closed and closing == "terminate":
                self._end(live, True)

    def _live_window(self, live: _LiveJob) -> WindowState | None:
        hours = live.settings.hours
        return None if hours is None else self.window_state(hours)

    def _end(self, live: _LiveJob, cut: bool) -> None:
        job_id = live.job.job_id
        del self._live[job_id]
        name = self._scenario.machines[live.machine_id].name
        self._ended[job_id] = ReplayedJob(job_id, name, live.started_ms, self._now_ms, cut)

    def _start_leased(self) -> None:
        """Start leased jobs in the agent's order while their machine has a free slot."""
        started = dict.fromkeys(self._scenario.machines, 0)
        leased = []
        for live in self._live.values():
            if live.started_ms is None:
                leased.append(live)
            else:
                started[live.machine_id] += 1
        for live in sorted(leased, key=lambda each: (-each.job.priority, each.job.job_id)):
            if started[live.machine_id] >= self._scenario.machines[live.machine_id].jobs:
                continue
            started[live.machine_id] += 1
            self._ever_started.add(live.job.job_id)
            wall_s, duration_s = live.settings.bounds.wall_s, live.job.duration_s
            if wall_s is not None and wall_s < duration_s:
                live.cut, duration_s = True, wall_s
            live.started_ms = live.since_ms = self._now_ms
            live.left_ms = max(round(1000 * duration_s), 1)

    def _place(self) -> int | None:
        """Lease queued jobs to machines. Return when to try again because a window changes."""
        running: dict[int, list[tuple[float | None, int, bool]]] = {
            each: [] for each in self._scenario.machines
        }
        for live in self._live.values():
            job = live.job
            running[live.machine_id].append(
                (job.duration_s, job.priority, live.started_ms is not None)
            )
        capacities = [
            MachineCapacity(machine_id, machine.jobs, running[machine_id])
            for machine_id, machine in self._scenario.machines.items()
        ]
        self._capacities = {each.machine_id: each for each in capacities if not each.is_full}
        classes = [class_id for class_id, queued in self._queued.items() if queued]
        if not self._capacities or not classes:
            return None
        walk = PlacementWalk(
            self,
            self._capacities.values(),
            classes,
            self._shares,
            self._blocked,
            semaphore_sizes=self._scenario.semaphore_sizes,
            leased_subjects={},
            now=Now(self._now_ms, self._now_ms, self._now_ms),
        )
        for chosen, machine_id, settings in walk.run():
            job = self._jobs[chosen.job_id]
            self._live[job.job_id] = _LiveJob(job, machine_id, settings)
        return walk.retry_ms

    def _find_next_ms(self, retry_ms: int | None) -> int | None:
        """Return the next instant of a submit, an end, a change of windows, or `retry_ms`."""
        times = [] if retry_ms is None else [retry_ms]
        if self._submits:
            times.append(self._submits[0][0])
        for live in self._live.values():
            if live.started_ms is not None and not live.is_frozen:
                times.append(self._now_ms + live.left_ms)
            window = self._live_window(live)
            if window is not None and window.until_ms is not None:
                times.append(window.until_ms)
        return min(times, default=None)

    # Methods of the protocol WalkInput.

    def next_job(self, class_id: int, /) -> ReadyJob | None:
        queued = self._queued[class_id]
        while queued:
            job = queued[0][3]
            deadline_ms = self._jobs[job.job_id].deadline_ms
            is_late = deadline_ms is not None and deadline_ms <= self._now_ms
            if not is_late or job.job_id in self._ever_started:
                return job
            heappop(queued)  # cancelled: its deadline passed before its first start
        return None

    def remove_next(self, class_id: int, /) -> None:
        heappop(self._queued[class_id])

    def requirements(self, class_id: int, /) -> e.Requirements:
        return self._scenario.requirements[class_id]

    def permitted_machines(self, class_id: int, /) -> list[PermittedMachine]:
        return [
            PermittedMachine(self._scenario.machines[machine_id], capacity, fit)
            for machine_id, capacity in self._capacities.items()
            if (fit := self._fits[class_id, machine_id]).permitted
        ]

    def running_attempts(self) -> Iterator[RunningAttempt]:
        for live in self._live.values():
            requirements = self._scenario.requirements[live.job.class_id]
            units = units_in_use(
                requirements.semaphores, self._scenario.freed_by_freeze, is_frozen=live.is_frozen
            )
            yield RunningAttempt(live.machine_id, requirements.command_id, units)

    def typical_s(self, job: ReadyJob, _command_id: int, _machine_id: int, /) -> float:
        return self._jobs[job.job_id].duration_s

    def window_state(self, hours: Hours, /) -> WindowState:
        return self._windows.find(hours, self._now_ms)

    def declined_ms(self, _machine_id: int, _class_id: int, /) -> int:
        return 0

    def find_hidden(self, _: ReadyJob, /) -> Collection[int]:
        return ()

    def skip_hidden(self, job: ReadyJob, /) -> None:
        raise AssertionError(f"job {job.job_id} was skipped, although no file is hidden")
