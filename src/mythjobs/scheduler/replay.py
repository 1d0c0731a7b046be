"""Past jobs replayed against other settings: what would have started and ended when. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from typing import Final, NamedTuple

from mythjobs.model.zone import DAY_MS
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.capacity import RunningAttempt, UsageCounts
from mythjobs.scheduler.order import FairShares, SortKey, deadline_order
from mythjobs.scheduler.window_state import WindowState, compute_window_state

# What has not ended so long after the last submit never will under these settings.
_LONGEST_MS: Final = 60 * DAY_MS


class PastJob(NamedTuple):
    """A job as it was: when it was submitted, what its class asks, and how long it ran."""

    job_id: int
    submitted_ms: int
    class_id: int
    priority: int
    duration_s: float
    deadline_ms: int | None = None


class ReplayedJob(NamedTuple):
    """When and where it would have started and ended, None if never. `cut`: not by itself, but
    by the wall limit or the end of a window."""

    job_id: int
    machine: str | None
    started_ms: int | None
    ended_ms: int | None
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Scenario:
    """The settings to try. sites: what a class is on a machine, by (class, machine)."""

    requirements: Mapping[int, e.Requirements]
    machines: Mapping[int, e.MachineFacts]
    settings: Mapping[tuple[int, int], e.EffectiveSettings]
    semaphore_sizes: Mapping[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class _Live:
    job: PastJob
    machine_id: int
    started_ms: int
    left_ms: int  # of work, as of `since_ms`
    since_ms: int
    frozen: bool = False
    cut: bool = False


def replay(world: Scenario, jobs: Sequence[PastJob]) -> list[ReplayedJob]:
    """Every machine is there all the time, and every duration is known beforehand, so that only
    the settings differ between two replays. In order of job."""
    return _Replay(world, jobs).run()


class _Replay:
    def __init__(self, world: Scenario, jobs: Sequence[PastJob]) -> None:
        self._world = world
        self._coming = [(each.submitted_ms, each.job_id, each) for each in jobs]
        heapify(self._coming)
        # By class, in its order: priority, deadline, age.
        self._queued: dict[int, list[tuple[int, int, int, PastJob]]] = {}
        self._begun: set[int] = set()
        self._live: dict[int, _Live] = {}
        self._over: dict[int, ReplayedJob] = {}
        self._shares = FairShares()
        self._openings: dict[object, WindowState] = {}
        last = max((each.submitted_ms for each in jobs), default=0)
        self._end_ms = last + _LONGEST_MS
        self._all = [each.job_id for each in jobs]

    def run(self) -> list[ReplayedJob]:
        now_ms = self._coming[0][0] if self._coming else 0
        while now_ms <= self._end_ms:
            self._arrive(now_ms)
            self._advance(now_ms)
            self._start(now_ms)
            following = self._next(now_ms)
            if following is None:
                break
            now_ms = following
        return [
            self._over.get(each, ReplayedJob(each, None, None, None)) for each in sorted(self._all)
        ]

    def _arrive(self, now_ms: int) -> None:
        while self._coming and self._coming[0][0] <= now_ms:
            self._wait(heappop(self._coming)[2])

    def _wait(self, job: PastJob) -> None:
        place = (-job.priority, deadline_order(job.deadline_ms), job.job_id, job)
        heappush(self._queued.setdefault(job.class_id, []), place)

    def _opening(self, live: _Live, now_ms: int) -> WindowState | None:
        return self._at(self._world.settings[live.job.class_id, live.machine_id], now_ms)

    def _at(self, site: e.EffectiveSettings, now_ms: int) -> WindowState | None:
        if site.hours is None:
            return None
        found = self._openings.get(site.hours)
        if found is None or not found.is_valid_at(now_ms):
            found = self._openings[site.hours] = compute_window_state(site.hours, now_ms)
        return found

    def _advance(self, now_ms: int) -> None:
        """Ends what is done, and does to the rest what closing hours do to it."""
        for job_id, live in list(self._live.items()):
            if not live.frozen:
                live.left_ms -= now_ms - live.since_ms
            live.since_ms = now_ms
            if live.left_ms <= 0:
                self._finish(live, now_ms, live.cut)
                continue
            here = self._opening(live, now_ms)
            site = self._world.settings[live.job.class_id, live.machine_id]
            closing = site.hours.closing if site.hours is not None else "finish"
            shut = here is not None and not here.is_open
            if closing == "freeze":
                live.frozen = shut
            elif shut and closing == "requeue":
                del self._live[job_id]
                self._wait(live.job)
            elif shut and closing == "terminate":
                self._finish(live, now_ms, True)

    def _finish(self, live: _Live, now_ms: int, cut: bool) -> None:
        del self._live[live.job.job_id]
        name = self._world.machines[live.machine_id].name
        self._over[live.job.job_id] = ReplayedJob(
            live.job.job_id, name, live.started_ms, now_ms, cut
        )

    def _start(self, now_ms: int) -> None:
        """The walk of placement: in order, and nothing passes what waits for a machine's room."""
        world = self._world
        counts = UsageCounts(
            RunningAttempt(each.machine_id, world.requirements[each.job.class_id].command_id,
                    world.requirements[each.job.class_id].semaphores)
            for each in self._live.values()
        )  # fmt: skip
        full: set[int] = set()
        open_classes = {class_id for class_id, waiting in self._queued.items() if waiting}
        while open_classes and len(full) < len(world.machines):
            class_id = min(open_classes, key=self._key)
            job = self._queued[class_id][0][3]
            if self._too_late(job, now_ms):
                self._leave(class_id, open_classes)
                continue
            machine_id = self._where(class_id, job, counts, full, now_ms)
            if machine_id is None:
                open_classes.discard(class_id)
                continue
            key = self._key(class_id)
            self._leave(class_id, open_classes)
            self._begun.add(job.job_id)
            ask = world.requirements[class_id]
            self._shares.charge(key, ask.submitter, ask.command_id, job.duration_s)
            counts.add(RunningAttempt(machine_id, ask.command_id, ask.semaphores))
            wall_s = world.settings[class_id, machine_id].bounds.wall_s
            cut = wall_s is not None and wall_s < job.duration_s
            took_s = wall_s if cut and wall_s is not None else job.duration_s
            left_ms = max(round(1000 * took_s), 1)
            self._live[job.job_id] = _Live(job, machine_id, now_ms, left_ms, now_ms, cut=cut)

    def _key(self, class_id: int) -> SortKey:
        _, deadline, _, job = self._queued[class_id][0]
        ask = self._world.requirements[class_id]
        return self._shares.sort_key(
            job.priority, ask.submitter, ask.command_id, job.job_id, deadline
        )

    def _leave(self, class_id: int, open_classes: set[int]) -> None:
        """The first of its class waits no more."""
        heappop(self._queued[class_id])
        if not self._queued[class_id]:
            open_classes.discard(class_id)

    def _too_late(self, job: PastJob, now_ms: int) -> bool:
        """Whether it would be cancelled: its deadline has come, and it has never started."""
        if job.deadline_ms is None or job.job_id in self._begun:
            return False
        return job.deadline_ms <= now_ms

    def _where(
        self, class_id: int, job: PastJob, counts: UsageCounts, full: set[int], now_ms: int
    ) -> int | None:
        ask = self._world.requirements[class_id]
        best: tuple[tuple[bool, float], int] | None = None
        if e.find_command_stop(ask, now_ms) is not None:
            return None
        for machine_id, machine in self._world.machines.items():
            site = self._world.settings[class_id, machine_id]
            moment = e.Conditions(
                now_ms, counts, self._world.semaphore_sizes, self._at(site, now_ms), job.duration_s
            )
            if machine_id in full or not e.is_permitted(ask, machine, site, moment):
                continue
            if e.find_blocking_rule(ask, machine, site, moment):
                continue
            running = counts.by_machine[machine_id]
            if running >= machine.jobs:
                full.add(machine_id)
                continue
            rank = (machine.name not in ask.preferred, running / machine.jobs)
            if best is None or rank < best[0]:
                best = rank, machine_id
        return None if best is None else best[1]

    def _next(self, now_ms: int) -> int | None:
        """The next instant at which anything can happen."""
        times = [self._coming[0][0]] if self._coming else []
        for live in self._live.values():
            if not live.frozen:
                times.append(now_ms + live.left_ms)
            here = self._opening(live, now_ms)
            if here is not None and here.until_ms is not None:
                times.append(here.until_ms)
        for class_id, waiting in self._queued.items():
            if not waiting:
                continue
            for machine_id in self._world.machines:
                here = self._at(self._world.settings[class_id, machine_id], now_ms)
                if here is not None and here.until_ms is not None:
                    times.append(here.until_ms)
        return min(times, default=None)
