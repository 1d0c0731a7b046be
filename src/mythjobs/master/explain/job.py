"""Explanation of a job: why it waits, where it runs, and when it is expected to start and end."""

from __future__ import annotations

from mythjobs.clock import Now
from mythjobs.errors import NoSuchJob
from mythjobs.master.catalog import JobClass, read_class
from mythjobs.master.explain import live_jobs
from mythjobs.master.explain.placement_view import (
    PlacementView,
    live_class_ids,
    machine_names,
    read_placement_view,
)
from mythjobs.master.isolation import OwnWork
from mythjobs.master.machine import Machine
from mythjobs.master.placement.visibility import (
    NO_PATHS,
    JobPaths,
    are_paths_limited,
    read_paths,
)
from mythjobs.master.state import MasterState
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.life import FINAL, JobState
from mythjobs.protocol import responses
from mythjobs.protocol.requests import Submitted
from mythjobs.scheduler.blocked import (
    JobFacts,
    add_unknown_machines,
    explain_wait,
    find_job_wait,
    name_awaited,
)
from mythjobs.scheduler.eligibility import (
    Candidate,
    Requirements,
    check_rules,
    is_permitted,
)
from mythjobs.scheduler.forecast import ExpectedTimes, forecast_times
from mythjobs.store.queries import job_facts, ready_jobs
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import jobs


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
    reason = name_awaited(reason, job_facts.read_awaited(turn.tx, {job_id: job}).get(job_id))
    requirements = turn.catalog.job_class(turn.tx, class_id).requirements
    _, sentence = add_unknown_machines(reason, requirements, machine_names(turn.state))
    return Submitted(job_id, job.state, new, sentence)


def _describe_start(turn: TurnContext, job_id: int) -> str:
    """Return the sentence for a job that starts now; it also names unknown preferred machines."""
    sentence = f"starts on {turn.placed[job_id]}"
    for each in turn.state.machines.values():
        live = each.live_attempts.get(job_id)
        if live is not None:
            requirements = turn.catalog.job_class(turn.tx, live.class_id).requirements
            names = machine_names(turn.state)
            return add_unknown_machines(("", sentence), requirements, names)[1]
    return sentence


def _explain_class_wait(turn: TurnContext, class_id: int) -> tuple[str, str]:
    """Return why ready jobs of a class wait, as code and sentence.

    Computed once per class and turn, because all ready jobs of a class wait for the same reason.
    """
    found = turn.wait_reasons.get(class_id)
    if found is None:
        catalog, tx = turn.catalog, turn.tx
        classes = {each: catalog.job_class(tx, each) for each in live_class_ids(turn.state)}
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
        reason = name_awaited(reason, job_facts.read_awaited(tx, {job_id: job}).get(job_id))
        code, sentence = add_unknown_machines(reason, requirements, machine_names(state))
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
        sentence = add_lateness(sentence, job.deadline_ms, now)
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


def add_lateness(sentence: str, deadline_ms: int | None, now: Now) -> str:
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
