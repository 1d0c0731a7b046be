"""Reasons why a queued job does not start: a stable code and one sentence."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final, NamedTuple

from mythjobs.errors import suggest_names
from mythjobs.model.units import humanize_duration
from mythjobs.model.zone import format_local_time
from mythjobs.scheduler.capacity import free_slots
from mythjobs.scheduler.eligibility import (
    ALL_RULES,
    Candidate,
    Check,
    MachineFacts,
    Requirements,
)

DEPENDENCY: Final = "dependency"
# Most jobs that the reason of a job that waits for them names.
MAX_NAMED_JOBS: Final = 5
_AWAITED_ENDS: Final = {"ok": "to succeed", "failure": "to fail"}
NO_SUCH_MACHINE: Final = "no_such_machine"
# Code of a job whose input files no machine can read that may run it.
NOT_VISIBLE: Final = "not_visible"
# Reason code by the name of the eligibility rule that is not met.
REASON_CODES: Final = {
    "rights": "not_allowed",
    "pin": "pinned",
    "labels": "no_label",
    "limits": "not_enforceable",
    "zone": "unknown_zone",
    "connected": "not_connected",
    "drained": "drained",
    "paused": "paused",
    "window": "window_closed",
    "clock": "clock_differs",
    "fits": "does_not_fit",
    "ceiling": "ceiling",
    "at_most": "at_most",
    "semaphores": "semaphore",
    "visible": NOT_VISIBLE,
    "room": "no_room",
}


class JobFacts(NamedTuple):
    """Properties of a job that can keep it from being ready."""

    state: str
    command: str
    hold: int
    not_before_ms: int | None
    unmet: int
    ready: bool
    subject: str | None
    reason_code: str
    reason: str
    deadline_ms: int | None = None


def find_job_wait(job: JobFacts, now_ms: int) -> tuple[str, str] | None:
    """Return (code, sentence) for a queued job that is not ready to be placed; None if it is."""
    if job.hold == 1:
        return job.reason_code or "held", job.reason or "held; release it with `mythjobs release`"
    if job.hold:
        return "batch_opening", "its batch is still being submitted"
    if job.not_before_ms is not None:
        left_s = max(job.not_before_ms - now_ms, 0) / 1000
        if job.reason_code == NOT_VISIBLE:
            return NOT_VISIBLE, f"{job.reason}; tried again in {humanize_duration(left_s)}"
        # During a back-off the stored reason tells how the last attempt ended.
        after = f": {job.reason}" if job.reason else ""
        return "not_before", f"waits for its start time (in {humanize_duration(left_s)}){after}"
    if job.unmet:
        jobs = "another job" if job.unmet == 1 else f"{job.unmet} other jobs"
        return DEPENDENCY, f"waits for {jobs} to end"
    if not job.ready and job.subject is not None:
        return "subject_taken", f"another job about {job.subject} comes first"
    return None


def describe_awaited(awaited: Sequence[tuple[int, str]]) -> str:
    """Return the sentence of a job that waits for others: their ids, and how each must end."""
    named = [f"job {job_id} {_AWAITED_ENDS.get(when, 'to end')}" for job_id, when in awaited]
    return f"waits for {' and '.join(filter(None, (', '.join(named[:-1]), named[-1])))}"


def name_awaited(reason: tuple[str, str], awaited: str | None) -> tuple[str, str]:
    """Return the reason, with the sentence `awaited` if it is that the job waits for others."""
    return (DEPENDENCY, awaited) if awaited and reason[0] == DEPENDENCY else reason


def describe_unmet(job_id: int, state: str) -> str:
    """Return why a job was cancelled that depends on a job that has ended in another way."""
    ended = "was cancelled" if state == "cancelled" else state
    return f"the job depends on job {job_id}, which {ended}"


def find_command_stop(requirements: Requirements, now_ms: int) -> tuple[str, str] | None:
    """Return (code, sentence) if no job of the command may start now on any machine, else None."""
    command = requirements.command
    if not requirements.enabled:
        sentence = f"{command} is disabled; enable it with `mythjobs command enable {command}`"
        return "disabled", sentence
    if requirements.set_aside:
        return "set_aside", requirements.set_aside
    if requirements.put_off_ms is not None and now_ms < requirements.put_off_ms:
        left = humanize_duration((requirements.put_off_ms - now_ms) / 1000)
        why = f" ({requirements.put_off_reason})" if requirements.put_off_reason else ""
        return "put_off", f"{command} is deferred for {left}{why}"
    return None


def explain_wait(
    requirements: Requirements, candidates: Sequence[Candidate], now_ms: int
) -> tuple[str, str]:
    """Return (code, sentence) for why a ready job of this class does not start.

    candidates: all machines. Each rule in turn excludes machines. The reason is the rule that
    excludes the last remaining machines, and the sentence names these machines.
    """
    stopped = find_command_stop(requirements, now_ms)
    if stopped is not None:
        return stopped
    pin = requirements.pin
    if pin and all(each.machine.name != pin for each in candidates):
        sentence = (
            f"will wait: no machine named {pin} has ever joined; it starts there once one does"
        )
        return NO_SUCH_MACHINE, sentence
    if not candidates:
        return "no_machine", "no machine has joined yet; `mythjobs up` adds one within seconds"
    remaining = list(candidates)
    for name, check in ALL_RULES:
        passed = [each for each in remaining if not check(each)]
        if not passed:
            return REASON_CODES[name], _describe(name, check, requirements, remaining)
        remaining = passed
    return "starting", "is about to start"


def add_unknown_machines(
    reason: tuple[str, str], requirements: Requirements, names: Collection[str]
) -> tuple[str, str]:
    """Append to a reason the pinned or preferred machines of a job that have never joined.

    names: names of all machines that have joined.
    """
    code, sentence = reason
    pin = requirements.pin
    if pin and pin not in names and code != NO_SUCH_MACHINE:
        sentence += f"; the job is pinned to {pin}, and no machine of that name has ever joined"
    unknown = ", ".join(each for each in requirements.preferred if each not in names)
    if unknown:
        sentence += f"; the job prefers {unknown}, and no machine of that name has ever joined"
    return code, sentence


def _describe(
    rule: str, check: Check, requirements: Requirements, candidates: Sequence[Candidate]
) -> str:
    command = requirements.command
    names = ", ".join(each.machine.name for each in candidates)
    details = "; ".join(f"{each.machine.name} {check(each)}" for each in candidates)
    match rule:
        case "rights":
            return (
                f"will wait: no machine allows {command}; allow it with "
                f"`mythjobs machine allow MACHINE {command}`"
            )
        case "pin":
            sentence = f"the job is pinned to {requirements.pin}, which does not allow {command}"
            return f"will wait: {sentence}"
        case "labels":
            present = {label for each in candidates for label in _present_labels(each)}
            unknown = [each for each in requirements.labels if each not in present]
            similar = "".join(suggest_names(each, present) for each in unknown)
            return f"will wait: no machine can run it: {details}{similar}"
        case "limits" | "zone":
            return f"will wait: no machine can run it: {details}"
        case "connected":
            return f"waits for a machine that allows it: {names} (not connected)"
        case "window":
            return _describe_opening(requirements, candidates)
        case "at_most" | "semaphores":
            return f"waits: {check(candidates[0])}"
        case "room":
            machines = [each.machine for each in candidates]
            if any(free_slots(each.jobs, each.running) > 0 for each in machines):
                # The load of a machine permits no more jobs, although it has slots.
                loaded = "; ".join(f"{each.machine.name}: {check(each)}" for each in candidates)
                return f"waits for room on {loaded}"
            full = ", ".join(f"{each.name} ({_describe_limit(each)})" for each in machines)
            return f"waits for a free slot on {full}"
        case _:
            return f"waits: {details}"


def _describe_limit(machine: MachineFacts) -> str:
    if machine.jobs:
        return f"{machine.jobs} in use"
    return f"its limit is 0 jobs; `mythjobs machine set {machine.name} --jobs N` changes it"


def _present_labels(candidate: Candidate) -> set[str]:
    policy, found = candidate.machine.policy, candidate.machine.found_labels
    return {*policy.labels, *found - {*policy.no_labels}}


def _describe_opening(requirements: Requirements, candidates: Sequence[Candidate]) -> str:
    """Return a sentence with the machine whose run window opens first, and when."""
    openings = [
        (conditions.window.opens_ms, machine.name, settings.hours, conditions.now_ms)
        for _, machine, settings, conditions in candidates
        if conditions.window is not None
        and conditions.window.opens_ms is not None
        and settings.hours is not None
    ]
    if not openings:
        names = ", ".join(each.machine.name for each in candidates)
        return f"will wait: the hours of {requirements.command} never open on {names}"
    at_ms, name, hours, now_ms = min(openings, key=lambda each: each[:2])
    when = format_local_time(at_ms, now_ms, hours.zone)
    left = humanize_duration((at_ms - now_ms) / 1000)
    zone = f" {hours.zone}" if hours.zone else ""
    return f"waits for the window of machine {name}, opens at {when}{zone} (in {left})"
