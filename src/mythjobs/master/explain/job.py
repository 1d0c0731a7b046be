"""Explanation of a job: why it waits, where it runs, and when it is expected to start and end."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, cast

from mythjobs.clock import Now
from mythjobs.errors import NoSuchJob
from mythjobs.master.catalog import JobClass, read_class
from mythjobs.master.explain import live_jobs
from mythjobs.master.isolation import OwnWork
from mythjobs.master.machine import Machine
from mythjobs.master.placement.fit_cache import FitCache
from mythjobs.master.placement.placement_pass import current_requirements, list_running
from mythjobs.master.placement.visibility import (
    NO_PATHS,
    JobPaths,
    are_paths_limited,
    find_hidden,
    read_paths,
)
from mythjobs.master.state import MasterState
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol import responses
from mythjobs.protocol.requests import Submitted
from mythjobs.scheduler.blocked import JobFacts, add_unknown_machines, explain_wait, find_job_wait
from mythjobs.scheduler.capacity import UsageCounts
from mythjobs.scheduler.eligibility import (
    Candidate,
    Conditions,
    Requirements,
    check_rules,
    is_permitted,
)
from mythjobs.scheduler.forecast import ExpectedTimes, forecast_times
from mythjobs.store.queries import job_facts, ready_jobs
from mythjobs.store.queries.job_details import read_job
from mythjobs.store.queries.jobs import list_jobs
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import jobs

Record = dict[str, Any]


class PlacementView:
    """Input of the placement rules, which decide whether a job class may run on a machine.

    Built for each request that asks why jobs wait."""

    def __init__(self, state: MasterState, fits: FitCache, classes: Mapping[int, JobClass]) -> None:
        """classes: job classes of all live attempts, by class id, for semaphore usage."""
        self._state = state
        self._fits = fits
        fits.refresh(state)
        self._counts = UsageCounts(
            list_running(state, lambda each: classes[each].requirements.semaphores)
        )

    def requirements(self, job_class: JobClass) -> Requirements:
        return current_requirements(self._state, job_class)

    def candidates(
        self, job_class: JobClass, now_ms: int, paths: JobPaths = NO_PATHS
    ) -> list[Candidate]:
        """Return all machines as candidates. paths: those of one job of the class."""
        if self.requirements(job_class).set_aside:
            return []  # evaluating the class's rules failed before, so do not try it here
        machines = [each for each in self._state.machines.values() if not each.is_revoked]
        return [self.candidate(each, job_class, now_ms, paths) for each in machines]

    def candidate(
        self, machine: Machine, job_class: JobClass, now_ms: int, paths: JobPaths = NO_PATHS
    ) -> Candidate:
        state, class_id, machine_id = self._state, job_class.class_id, machine.machine_id
        settings = self._fits.fit(state, machine, job_class).settings
        window = None
        if settings.hours is not None and not settings.hours_error:
            window = self._fits.windows.find(settings.hours, now_ms)
        hidden = find_hidden(state, machine, paths, now_ms)
        conditions = Conditions(
            now_ms,
            self._counts,
            state.placement.semaphore_sizes,
            window,
            state.typical_s(job_class.command_id, machine_id),
            declined_ms=state.placement.decline_left_ms(machine_id, class_id, now_ms),
            hidden=hidden[0] if hidden else "",
        )
        return Candidate(self.requirements(job_class), machine.facts(), settings, conditions)

    def explain_wait(self, job_class: JobClass, now_ms: int) -> tuple[str, str]:
        """Return why a ready job of this class does not start, as a reason code and a sentence."""
        candidates = self.candidates(job_class, now_ms)
        return explain_wait(self.requirements(job_class), candidates, now_ms)


def read_placement_view(tx: Transaction, state: MasterState) -> PlacementView:
    """Return a PlacementView for a query outside turns, which must not use the turns' caches."""
    classes = {each: read_class(tx, each) for each in _live_classes(state)}
    return PlacementView(state, FitCache(), classes)


def _live_classes(state: MasterState) -> set[int]:
    return {
        live.class_id for each in state.machines.values() for live in each.live_attempts.values()
    }


def _machine_names(state: MasterState) -> set[str]:
    return {each.name for each in state.machines.values() if not each.is_revoked}


def explain_submitted(turn: TurnContext, job_id: int, new: bool, work: OwnWork) -> Submitted:
    """Return the response to a submit: the job's machine, or why the job waits.

    Called after the turn's placement pass. A turn that is repeated after an error may have no such
    pass; then only conditions of the job itself are given as reasons.
    """
    if job_id in turn.placed:
        return Submitted(job_id, JobState.LEASED, new, _describe_start(turn, job_id))
    job = job_facts.read_job_facts(turn.tx, job_id)
    assert job is not None
    if job.state != JobState.QUEUED:
        return Submitted(job_id, job.state, new, job.reason)
    class_id = job_facts.read_class_id(turn.tx, job_id)
    reason = find_job_wait(job, turn.now.wall_ms)
    if reason is None and not work & OwnWork.PLACEMENT:
        return Submitted(job_id, job.state, new, "waits for the next placement pass")
    if reason is None:
        reason = _explain_class_wait(turn, class_id)
    requirements = turn.catalog.job_class(turn.tx, class_id).requirements
    _, sentence = add_unknown_machines(reason, requirements, _machine_names(turn.state))
    return Submitted(job_id, job.state, new, sentence)


def _describe_start(turn: TurnContext, job_id: int) -> str:
    """Return the sentence for a job that starts now; it also names unknown preferred machines."""
    sentence = f"starts on {turn.placed[job_id]}"
    for each in turn.state.machines.values():
        live = each.live_attempts.get(job_id)
        if live is not None:
            requirements = turn.catalog.job_class(turn.tx, live.class_id).requirements
            names = _machine_names(turn.state)
            return add_unknown_machines(("", sentence), requirements, names)[1]
    return sentence


def _explain_class_wait(turn: TurnContext, class_id: int) -> tuple[str, str]:
    """Return why ready jobs of a class wait, as code and sentence.

    Computed once per class and turn, because all ready jobs of a class wait for the same reason.
    """
    found = turn.wait_reasons.get(class_id)
    if found is None:
        catalog, tx = turn.catalog, turn.tx
        classes = {each: catalog.job_class(tx, each) for each in _live_classes(turn.state)}
        view = PlacementView(turn.state, turn.fits, classes)
        found = view.explain_wait(catalog.job_class(tx, class_id), turn.now.wall_ms)
        turn.wait_reasons[class_id] = found
    return found


def explain_job(tx: Transaction, state: MasterState, job_id: int, now: Now) -> responses.Why:
    """Return why a job waits, where it runs, or how it ended. Raises NoSuchJob.

    For a queued job also return each placement rule's result on each machine.
    """
    job = job_facts.read_job_facts(tx, job_id)
    if job is None:
        raise NoSuchJob(f"there is no job {job_id}")
    machines: list[responses.MachineRules] = []
    end_reported = False
    if job.state == JobState.QUEUED:
        job_class = read_class(tx, job_facts.read_class_id(tx, job_id))
        view = read_placement_view(tx, state)
        requirements = view.requirements(job_class)
        candidates = view.candidates(
            job_class, now.wall_ms, _read_paths(tx, state, job_class, job_id)
        )
        reason = find_job_wait(job, now.wall_ms)
        if reason is None:
            reason = explain_wait(requirements, candidates, now.wall_ms)
        code, sentence = add_unknown_machines(reason, requirements, _machine_names(state))
        machines = [
            {
                "machine": each.machine.name,
                "rules": [
                    {"rule": rule.rule, "ok": rule.ok, "detail": rule.detail}
                    for rule in check_rules(each)
                ],
            }
            for each in candidates
        ]
        expected = _forecast_queued(tx, state, job, job_id, requirements, candidates, now)
    else:
        code, sentence = job.reason_code, job.reason or f"the job {job.state}"
        if job.state not in FINAL:
            # The stored reason of a live job tells how an earlier attempt ended: replace it.
            code, sentence = live_jobs.describe_live_job(state, job.state, job_id, now)
        expected, end_reported = live_jobs.forecast_live_job(state, job_id, now)
    if job.state not in FINAL:
        sentence = _add_lateness(sentence, job.deadline_ms, now)
    return {
        "id": job_id,
        "state": job.state,
        "code": code,
        "sentence": sentence,
        "machines": machines,
        "expected_start_ms": expected.start_ms if expected and machines else None,
        "expected_end_ms": expected.end_ms if expected else None,
        "end_reported": end_reported,
    }


def _read_paths(tx: Transaction, state: MasterState, job_class: JobClass, job_id: int) -> JobPaths:
    row = jobs.read_submission(tx, job_id) if are_paths_limited(state) else None
    return read_paths(job_class.command, row["arguments"]) if row else NO_PATHS


def _add_lateness(sentence: str, deadline_ms: int | None, now: Now) -> str:
    """Append to a sentence that the job is late, if its deadline has passed.

    Applies to jobs that have started; jobs that do not start by their deadline are cancelled.
    """
    is_late = deadline_ms is not None and deadline_ms <= now.wall_ms
    return f"{sentence}; late: its deadline has passed" if is_late else sentence


def _forecast_queued(
    tx: Transaction,
    state: MasterState,
    job: JobFacts,
    job_id: int,
    requirements: Requirements,
    candidates: list[Candidate],
    now: Now,
) -> ExpectedTimes | None:
    """Return expected start and end of a queued job on the machine where it can start first.

    The forecast assumes that all usable machines share the jobs ahead of it equally.
    """
    if job.hold or job.unmet or (not job.ready and job.subject is not None):
        return None
    usable = [
        each
        for each in candidates
        if each.machine.connected
        and each.machine.control.may_resume
        and is_permitted(requirements, each.machine, each.settings)
    ]
    if not usable or not requirements.enabled:
        return None
    begin_ms = max(now.wall_ms, requirements.put_off_ms or 0, job.not_before_ms or 0)
    ahead = ready_jobs.count_ahead(tx, requirements.class_id, job_id)
    # Job classes take turns: with k waiting classes, k - 1 jobs of other classes start between
    # two jobs of this class.
    waiting_classes = max(len(state.placement.ready_classes | state.classes_to_recheck), 1)
    best: ExpectedTimes | None = None
    for _, machine, settings, conditions in usable:
        typical_s = conditions.typical_s
        if ahead and typical_s is None:
            continue
        ahead_s = ahead * waiting_classes * (typical_s or 0.0) / len(usable)
        from_ms = max(begin_ms, machine.control.until_ms or 0)
        free_ms = _find_free_slots_ms(state, state.machines[machine.machine_id], from_ms, now)
        if not free_ms:
            continue
        found = forecast_times(from_ms, settings.hours, free_ms, ahead_s, typical_s)
        if found is not None and (best is None or found.order < best.order):
            best = found
    return best


def _find_free_slots_ms(state: MasterState, machine: Machine, begin_ms: int, now: Now) -> list[int]:
    """Return the times from `begin_ms` on at which a machine's slots become free, earliest first.

    Slots whose job has no known end are left out.
    """
    free = [begin_ms] * max(machine.expected_jobs - len(machine.live_attempts), 0)
    ends = []
    for live in machine.live_attempts.values():
        typical_s = state.typical_s(live.command_id, machine.machine_id)
        end_ms = live_jobs.find_expected_end_ms(live, typical_s, now)
        if end_ms is not None:
            ends.append(max(begin_ms, end_ms))
        elif live.started_ms is None and typical_s is not None:
            ends.append(begin_ms + round(1000 * typical_s))
    return (free + sorted(ends))[: machine.expected_jobs]


def list_set_aside(tx: Transaction, /, state: MasterState) -> list[responses.SetAsideUnit]:
    """Return the job classes and other units set aside after internal errors, oldest first."""
    return [
        {
            "kind": unit.kind,
            "id": unit.number,
            "command": read_class(tx, unit.number).command.name if unit.kind == "class" else "",
            "error": why.error,
            "since_ms": why.at_ms,
        }
        for unit, why in sorted(state.set_aside.items(), key=lambda each: each[1].at_ms)
    ]


def list_jobs_with_reasons(
    tx: Transaction, /, state: MasterState, now: Now, **query: Any
) -> responses.Jobs:
    """Return a page of jobs, newest first, each with the current reason why it waits.

    Raises NoSuchCommand.
    """
    found = list_jobs(tx, **query)
    _add_reasons(tx, state, now, found["jobs"])
    return cast(responses.Jobs, found)


def read_job_with_reason(
    tx: Transaction, /, state: MasterState, now: Now, job_id: int
) -> responses.Job:
    """Return a job with the current reason why it waits. Raises NoSuchJob."""
    found = read_job(tx, job_id)
    _add_reasons(tx, state, now, [found])
    return cast(responses.Job, found)


def _add_reasons(tx: Transaction, state: MasterState, now: Now, pages: list[Record]) -> None:
    """Set the current reason of each job that has not ended.

    The stored reason of such a job tells how an earlier attempt ended.
    """
    queued = [each["id"] for each in pages if each["state"] == JobState.QUEUED]
    waits = _WaitReasons(tx, state, now, queued) if queued else None
    usual_times = live_jobs.UsualTimes(tx, state)
    for page in pages:
        if page["state"] == JobState.QUEUED and waits is not None:
            code, sentence = waits.find(page["id"])
        elif page["state"] not in FINAL:
            code, sentence = live_jobs.describe_live_job(state, page["state"], page["id"], now)
        else:
            code = ""
        if code:
            sentence = _add_lateness(sentence, page["deadline_ms"], now)
            page["reason"] = {"code": code, "sentence": sentence}
        found = live_jobs.find_live_job(state, page["id"])
        page["frozen"] = list(found.attempt.frozen_by) if found else []
        page["eta_ms"] = (
            live_jobs.find_reported_end_ms(found.attempt, now.wall_ms) if found else None
        )
        estimate = live_jobs.Estimate()
        if found:
            usual_s = usual_times.find_s(page, found)
            estimate = live_jobs.estimate_progress(found.attempt, usual_s, now)
        page["estimated_progress"], page["estimated_end_ms"] = estimate


class _WaitReasons:
    """Finds why queued jobs wait; evaluates the placement rules once per job class."""

    def __init__(self, tx: Transaction, state: MasterState, now: Now, ids: list[int]) -> None:
        self._tx = tx
        self._state = state
        self._now_ms = now.wall_ms
        self._facts = job_facts.read_queued(tx, ids)
        self._class_ids = job_facts.read_class_ids(tx, ids)
        self._names = _machine_names(state)
        self._classes: dict[int, JobClass] = {}
        self._reasons: dict[int, tuple[str, str]] = {}  # (code, sentence) by class id

    def find(self, job_id: int) -> tuple[str, str]:
        class_id = self._class_ids[job_id]
        job_class = self._classes.get(class_id)
        if job_class is None:
            job_class = self._classes[class_id] = read_class(self._tx, class_id)
        reason = find_job_wait(self._facts[job_id], self._now_ms) or self._reasons.get(class_id)
        if reason is None:
            reason = self._view.explain_wait(job_class, self._now_ms)
            self._reasons[class_id] = reason
        return add_unknown_machines(reason, job_class.requirements, self._names)

    @cached_property
    def _view(self) -> PlacementView:
        return read_placement_view(self._tx, self._state)
