"""Placement checker: compares each committed lease with the rules, as the plan states them.

Definitions and machine settings are those that users have sent, hours come from the oracle, and the
state of jobs from the store's rows. No code of the scheduler is used.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final

from mythjobs.master.state import MasterState
from tests.simulation.configuration import Configuration
from tests.simulation.hours_oracle import ObservedHours
from tests.simulation.plan import MASTER, Plan
from tests.simulation.program import Key
from tests.simulation.queue_view import QueuedJob, QueueView
from tests.simulation.share_checker import ShareChecker
from tests.simulation.simulator import Simulator

# Runs of at most this duration may be leased ahead of a free slot (docs/design of prefetch).
_SHORT_S: Final = 0.2
# A job that waits this long for semaphores alone gets their free units, and a margin for turns.
_STARVING_MS: Final = 61_000
_EX_TEMPFAIL: Final = 75
_USER: Final = "user"
# Bounds of jitter and of the master's clock rate.
_BACKOFF_SHARE: Final = 0.75 / 1.1


class PlacementChecker:
    """`check` is called after each commit that wrote something."""

    def __init__(self, sim: Simulator, plan: Plan, configuration: Configuration) -> None:
        self._sim = sim
        self._plan = plan
        self._configuration = configuration
        self._checked_changes = 0  # of the configuration
        self._has_clock_steps = any(
            each.kind == "wall" and each.target == MASTER for each in plan.faults
        )
        self._has_releases = any(each.action in ("release", "rerun") for each in plan.work)
        # By job, since when it lacks semaphore units alone, and the classes that took some since.
        self._blocked_since: dict[int, int] = {}
        self._takers: defaultdict[int, set[int]] = defaultdict(set)
        self._unlimited: dict[tuple[object, ...], bool] = {}
        self._shares = ShareChecker(sim)
        self._ended_ms: dict[Key, int] = {}
        self._paused: set[Key] = set()  # live attempts that a user has paused, as the master knows

    def on_ended(self, key: Key) -> None:
        self._ended_ms[key] = self._sim.now_ms

    def on_master_start(self) -> None:
        """A master does not remember since when jobs wait, nor the shares of submitters."""
        self._blocked_since.clear()
        self._takers.clear()
        self._shares.on_master_start()

    def check(
        self, view: QueueView, state: MasterState, leased: Iterable[tuple[str, Key]], wall_ms: int
    ) -> None:
        """`leased` are (machine, attempt) of the new leases."""
        live = {
            (each.name, (job_id, attempt.n))
            for each in state.machines.values()
            for job_id, attempt in each.live_attempts.items()
        }
        self._view, self._live, self._wall_ms = view, live, wall_ms
        if self._checked_changes != self._configuration.changes:
            self._checked_changes = self._configuration.changes
            self._unlimited.clear()
            self._takers.clear()
        self._live_subjects = {view.jobs[key[0]].subject for _, key in live} - {None}
        self._by_machine = Counter(name for name, _ in live)
        self._by_command = Counter(view.jobs[key[0]].command for _, key in live)
        self._by_both = Counter((name, view.jobs[key[0]].command) for name, key in live)
        self._units = self._count_units()
        self._set_aside = {each.number for each in state.set_aside if each.kind == "class"}
        # First ready job of each class.
        self._firsts: dict[int, QueuedJob] = {}
        for each in view.jobs.values():
            if self._is_ready(each):
                first = self._firsts.get(each.class_id, each)
                self._firsts[each.class_id] = min(first, each, key=lambda job: job.order)
        self._accepting = [
            each.name
            for each in state.machines.values()
            if each.is_ready and self._configuration.accepts_jobs(each.name, wall_ms)
        ]
        new = sorted(leased, key=lambda each: each[1])
        self._new = [(name, view.jobs[key[0]]) for name, key in new]
        for name, key in new:
            job = view.jobs[key[0]]
            self._check_permission(name, job)
            self._check_batch(job)
            self._check_counts(name, job)
            self._check_hours(name, job)
            self._check_order(name, job)
            self._check_starvation(job)
            self._check_retries(job, key)
        self._check_shares()
        self._check_deadlines()
        self._check_idle_machines()
        self._record_blocked()
        self._check_paused(state)

    def _report(self, name: str, text: str) -> None:
        self._sim.report_violation(name, text)

    def _command(self, job: QueuedJob) -> Mapping[str, Any]:
        return self._configuration.definition(job.command, job.revision)

    def _settings(self, name: str) -> Mapping[str, Any]:
        return self._configuration.settings(name)

    def _policy(self, name: str, job: QueuedJob) -> Mapping[str, Any]:
        """Return the machine's settings for the job's command."""
        return self._configuration.settings_for_command(name, job.command)

    # Policy.

    def _is_permitted(self, name: str, job: QueuedJob) -> bool:
        settings = self._settings(name)
        allow = settings.get("allow", [])
        if isinstance(allow, dict):
            is_allowed = job.command not in allow["except"]
        else:
            is_allowed = allow == "all" or job.command in allow
        is_allowed = self._policy(name, job).get("allow", is_allowed)
        labels = {*self._command(job).get("labels", ()), *job.labels}
        return is_allowed and job.pin in ("", name) and labels <= set(settings.get("labels", ()))

    def _check_permission(self, name: str, job: QueuedJob) -> None:
        if not self._is_permitted(name, job):
            self._report("POLICY", f"job {job.job_id} ({job.command}) is leased to {name}")
        if not self._configuration.accepts_jobs(name, self._wall_ms):
            self._report("CONTROL", f"job {job.job_id} is leased to {name}, which accepts none")
        if not job.is_enabled:
            self._report("POLICY", f"job {job.job_id} of a disabled command is leased")

    def _check_batch(self, job: QueuedJob) -> None:
        """No job of a batch is leased before all its jobs are stored."""
        if job.batch_id is None:
            return
        stored = sum(each.batch_id == job.batch_id for each in self._view.jobs.values())
        if stored != job.batch_jobs:
            text = f"job {job.job_id} is leased, but its batch has {stored} of {job.batch_jobs}"
            self._report("BATCH", f"{text} jobs")

    # Counts.

    def _count_units(self) -> Counter[str]:
        units: Counter[str] = Counter()
        for _, (job_id, _) in self._live:
            units.update(self._needed_units(self._view.jobs[job_id]))
        return units

    def _needed_units(self, job: QueuedJob) -> dict[str, int]:
        return {**self._command(job).get("semaphores", {}), **job.semaphores}

    def _is_long(self, job: QueuedJob) -> bool:
        """Whether no program of the command can end soon enough to be leased ahead of a slot."""
        return self._view.least_seconds[job.command] > _SHORT_S

    def _check_counts(self, name: str, job: QueuedJob) -> None:
        long = sum(
            other == name and self._is_long(self._view.jobs[job_id])
            for other, (job_id, _) in self._live
        )
        limits: list[tuple[str, str, int, int | None]] = [
            ("AT_MOST", job.command, self._by_command[job.command] - self._count_others(job),
             self._command(job).get("at_most")),
        ]  # fmt: skip
        slots = self._settings(name).get("jobs")
        command_slots = self._policy(name, job).get("jobs")
        limits += [
            ("CEILING", name, long if self._is_long(job) else 0, slots),
            ("CEILING", f"{job.command} on {name}",
             self._by_both[name, job.command], command_slots),
        ]  # fmt: skip
        for semaphore in self._needed_units(job):
            size = self._configuration.semaphores.get(semaphore, 0)
            limits.append(("SEMAPHORE", semaphore, self._units[semaphore], size))
        for rule, what, count, limit in limits:
            if limit is not None and count > limit:
                text = f"{count} of {what} are in use after the lease of job {job.job_id}"
                self._report(rule, f"{text}; the limit is {limit}")

    def _count_others(self, job: QueuedJob, machine: str | None = None) -> int:
        """Return how many jobs of the command, but of other revisions, were leased in the same turn
        (to the machine): perhaps later in the turn, and by other limits."""
        return sum(
            other.command == job.command and other.revision != job.revision
            for name, other in self._new
            if machine in (None, name)
        )

    # Hours.

    def _hours(self, name: str, job: QueuedJob) -> ObservedHours | None:
        settings = self._settings(name)
        sets = tuple(
            tuple(each.get("windows", {}).get("open", ()))
            for each in (self._command(job), settings, self._policy(name, job))
        )
        overrides = self._view.overrides(name, job.command, self._wall_ms)
        if not any(sets) and not overrides:
            return None
        return ObservedHours(sets, settings.get("zone", "UTC"), "", 0.0, overrides)

    def _check_hours(self, name: str, job: QueuedJob) -> None:
        hours = self._hours(name, job)
        if hours is None:
            return
        command, machine, both = hours.levels(self._wall_ms)
        of_both = self._by_both[name, job.command] - self._count_others(job, name)
        if 0 in (command, machine, both):
            self._report("WINDOW", f"job {job.job_id} is leased to {name} outside its hours")
        elif of_both > min(command, both):
            text = f"{of_both} of {job.command} are leased to {name}"
            self._report("LEVEL", f"{text}; its hours allow {min(command, both)}")
        elif self._by_machine[name] > machine:
            text = f"{self._by_machine[name]} jobs are leased to {name}"
            self._report("LEVEL", f"{text}; its hours allow {machine}")

    # Order.

    def _is_ready(self, job: QueuedJob) -> bool:
        if job.class_id in self._set_aside:
            return False  # after an internal error, until its command is enabled again
        if not job.is_waiting or not job.is_enabled or job.put_off_ms > self._wall_ms:
            return False
        return job.subject not in self._live_subjects

    def _is_unconditional(self, name: str, job: QueuedJob, *, semaphores: bool = False) -> bool:
        """Whether the job needs nothing but a free slot of this machine (and semaphores)."""
        # Not the class's id: that of a deleted class is used again.
        place = name, job.command, job.revision, job.pin, *job.labels
        if place not in self._unlimited:
            self._unlimited[place] = self._is_unlimited(name, job)
        return (
            self._unlimited[place]
            and name not in self._view.overridden
            and (semaphores or not self._needed_units(job))
        )

    def _is_unlimited(self, name: str, job: QueuedJob) -> bool:
        command, settings, policy = (
            self._command(job),
            self._settings(name),
            self._policy(name, job),
        )
        return (
            self._is_permitted(name, job)
            and command.get("at_most") is None
            and policy.get("jobs") is None
            and not any("windows" in each for each in (command, settings, policy))
        )

    def _check_order(self, name: str, job: QueuedJob) -> None:
        for other in self._firsts.values():
            text = f"job {job.job_id} is leased before job {other.job_id}"
            if other.class_id == job.class_id and other.order < job.order:
                self._report("ORDER", f"{text} of the same class")
            elif other.priority > job.priority and self._is_unconditional(name, other):
                self._report("ORDER", f"{text}, whose priority is higher")

    def _check_shares(self) -> None:
        waiting = [
            (each, [name for name in self._accepting if self._is_unconditional(name, each)])
            for each in self._firsts.values()
        ]
        self._shares.check(waiting, self._new)

    def _check_idle_machines(self) -> None:
        for name in self._accepting:
            slots = self._settings(name).get("jobs")
            if slots is None or self._by_machine[name] >= slots:
                continue
            for job in self._firsts.values():
                if self._is_unconditional(name, job):
                    text = f"job {job.job_id} waits while {name} has a free slot"
                    self._report("IDLE", text)
                    return

    # Starvation.

    def _record_blocked(self) -> None:
        """Record which first jobs of a class lack semaphore units alone."""
        short = {each.job_id: each for each in self._firsts.values() if self._is_short(each)}
        for job_id, job in list(short.items()):
            # Its machines may all be paused, drained or away: it waits for them, not for units.
            if not any(self._is_unconditional(m, job, semaphores=True) for m in self._accepting):
                del short[job_id]
        for job_id in set(self._blocked_since) - set(short):
            del self._blocked_since[job_id]
            self._takers.pop(job_id, None)
        for job_id, job in short.items():
            if any(
                self._by_machine[name] < (self._settings(name).get("jobs") or 0)
                and self._is_unconditional(name, job, semaphores=True)
                for name in self._accepting
            ):
                self._blocked_since.setdefault(job_id, self._sim.now_ms)

    def _is_short(self, job: QueuedJob) -> bool:
        """Whether too few units are free, but they would do if nothing else used them."""
        units, sizes = self._needed_units(job), self._configuration.semaphores
        if any(count > sizes.get(each, 0) for each, count in units.items()):
            return False
        return any(self._units[each] + count > sizes.get(each, 0) for each, count in units.items())

    def _check_starvation(self, job: QueuedJob) -> None:
        """Only one job of each class can have waited longer, so each class takes units once."""
        units = self._needed_units(job)
        for job_id, since_ms in self._blocked_since.items():
            other = self._view.jobs[job_id]
            if (
                self._sim.now_ms - since_ms < _STARVING_MS
                or other.class_id == job.class_id
                or other.priority < job.priority
                or not units.keys() & self._needed_units(other).keys()
                or not self._is_ready(other)
            ):
                continue
            if job.class_id in self._takers[job_id]:
                text = f"job {job.job_id} takes semaphore units that job {job_id} waits for"
                self._report("STARVE", f"{text} since {since_ms / 1000} s")
            self._takers[job_id].add(job.class_id)

    # Pauses.

    def _check_paused(self, state: MasterState) -> None:
        """A job that a user has paused is held when it must run again."""
        for job_id, n in self._paused - {key for _, key in self._live}:
            job = self._view.jobs.get(job_id)
            if job is not None and not job.is_final and not job.hold:
                self._report("PAUSE", f"job {job_id} may run again, but {job_id, n} was paused")
        self._paused = {
            (job_id, attempt.n)
            for each in state.machines.values()
            for job_id, attempt in each.live_attempts.items()
            if _USER in attempt.frozen_by
        }

    # Deadlines and retries.

    def _check_deadlines(self) -> None:
        """A job that has started in time has met its deadline, even if it must run again."""
        started = {job_id for job_id, _ in self._view.started}
        for job in self._view.jobs.values():
            is_late = job.deadline_ms is not None and job.deadline_ms <= self._wall_ms
            if is_late and job.is_queued and job.job_id not in started:
                self._report("DEADLINE", f"job {job.job_id} is queued after its deadline")
        for _, (job_id, n) in self._live:
            deadline_ms = self._view.jobs[job_id].deadline_ms
            is_again = any((job_id, earlier) in self._view.started for earlier in range(1, n))
            if deadline_ms is None or is_again or self._view.leased_ms[job_id, n] < deadline_ms:
                continue
            self._report("DEADLINE", f"job {job_id} is leased after its deadline")

    def _check_retries(self, job: QueuedJob, key: Key) -> None:
        if key[1] == 1:
            return
        retry = self._command(job).get("retry", {})
        failures = self._count_failures(job.job_id)
        if failures > retry.get("failures", 0):
            self._report("RETRY", f"job {job.job_id} is leased after {failures} failures")
        last = self._view.exit_codes.get((job.job_id, key[1] - 1), 0)
        ended_ms = self._ended_ms.get((job.job_id, key[1] - 1))
        if last in (0, _EX_TEMPFAIL) or ended_ms is None:
            return
        if self._has_clock_steps or self._has_releases or self._sim.now_ms > self._plan.calm_ms:
            return
        backoff_s = float(str(retry.get("backoff", "60s")).removesuffix("s"))
        least_ms = 1000 * backoff_s * 2 ** (failures - 1) * _BACKOFF_SHARE
        if self._sim.now_ms - ended_ms < least_ms:
            text = f"job {job.job_id} is leased {self._sim.now_ms - ended_ms} ms after a failure"
            self._report("RETRY", text)

    def _count_failures(self, job_id: int) -> int:
        codes = [code for (other, _), code in self._view.exit_codes.items() if other == job_id]
        return sum(code not in (0, _EX_TEMPFAIL) for code in codes)

    def check_final_state(self, view: QueueView) -> None:
        """Report jobs that failed although retries were left."""
        self._view = view
        for job in view.jobs.values():
            failures = self._count_failures(job.job_id)
            left = self._command(job).get("retry", {}).get("failures", 0) - failures
            if job.state == "failed" and job.reason_code == "exited" and left >= 0:
                self._report("RETRY", f"job {job.job_id} failed with {left + 1} retries left")
