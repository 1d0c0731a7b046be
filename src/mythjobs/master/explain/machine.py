"""Explanation of a machine: its state, and why it does not run more jobs; use of semaphores."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any, Final

import msgspec

from mythjobs.clock import Now
from mythjobs.master.catalog import JobClass, class_requirements, decode_command, read_class
from mythjobs.master.explain.placement_view import PlacementView, read_placement_view
from mythjobs.master.machine import PRESSURE_HOLDER, Machine
from mythjobs.master.placement.placement_pass import list_running
from mythjobs.master.state import MasterState
from mythjobs.model.bounds import NO_BOUNDS
from mythjobs.model.machine_policy import policy_to_table
from mythjobs.model.own_policy import own_policy_to_table
from mythjobs.model.units import describe_clock_skew, is_clock_skewed
from mythjobs.protocol import machine_responses as responses
from mythjobs.protocol.messages import SILENT_AFTER_S
from mythjobs.protocol.responses import Semaphores
from mythjobs.protocol.scaling import Headroom, ScalingDetails
from mythjobs.scheduler.blocked import REASON_CODES, explain_wait, find_command_stop
from mythjobs.scheduler.capacity import UsageCounts, free_slots
from mythjobs.scheduler.eligibility import (
    ALL_RULES,
    POLICY_RULES,
)
from mythjobs.store.queries import ready_jobs
from mythjobs.store.queries.commands import count_queued_by_command
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import commands
from mythjobs.store.writes.commands import JobClassRow

_MAX_COMMANDS: Final = 100
_MAX_CLASSES: Final = 10_000
_MAX_JOBS_NAMED: Final = 10
# Codes of the reasons to wait that last until a user changes a policy.
_POLICY_REASONS = {"no_machine", *(REASON_CODES[name] for name, _ in POLICY_RULES)}


def explain_machine(
    tx: Transaction, state: MasterState, name: str, now: Now
) -> responses.WhyMachine:
    """Return why a machine runs no more jobs, and which rule keeps each waiting command off.

    Raises NoSuchMachine.
    """
    machine = state.find_machine(name)
    view = read_placement_view(tx, state)
    queued = count_queued_by_command(tx)
    waiting: dict[str, tuple[int, responses.WaitingCommand]] = {}
    class_ids = state.placement.ready_classes | state.classes_to_recheck
    for class_id in sorted(class_ids)[:_MAX_CLASSES]:
        if not ready_jobs.read_next(tx, class_id, 1):
            continue  # the class has no ready jobs any more
        job_class = read_class(tx, class_id)
        command = job_class.command.name
        rank, code, detail = _find_first_obstacle(view, machine, job_class, now)
        # If several classes of a command wait, show the class that meets the most rules.
        if command not in waiting or rank > waiting[command][0]:
            waiting[command] = (
                rank,
                {
                    "command": command,
                    "waiting": queued.get(job_class.command_id, 0),
                    "code": code,
                    "detail": detail,
                },
            )
    code, sentence = _summarize(machine, waiting, now)
    skew = describe_clock_skew(machine.clock_skew_ms)
    if skew and code != "clock_differs":
        sentence = f"{sentence}; {skew}"
    ranked = sorted(waiting.values(), key=lambda each: (-each[0], each[1]["command"]))
    rows = [each for _, each in ranked[:_MAX_COMMANDS]]
    return {"machine": name, "code": code, "sentence": sentence, "commands": rows}


def _find_first_obstacle(
    view: PlacementView, machine: Machine, job_class: JobClass, now: Now
) -> tuple[int, str, str]:
    """Return the first rule that keeps a job class off a machine.

    The result is the number of rules met before that rule, its reason code, and a sentence.
    """
    stopped = find_command_stop(view.requirements(job_class), now.wall_ms)
    if stopped is not None:
        return -1, *stopped
    candidate = view.candidate(machine, job_class, now.wall_ms)
    for number, (name, check) in enumerate(ALL_RULES):
        reason = check(candidate)
        if reason:
            return number, REASON_CODES[name], reason
    return len(ALL_RULES), "starting", "is about to start"


def _summarize(
    machine: Machine, waiting: dict[str, tuple[int, responses.WaitingCommand]], now: Now
) -> tuple[str, str]:
    name = machine.name
    if machine.connection is None:
        return "not_connected", f"{name} is not connected"
    if machine.is_draining:
        return "draining", f"{name} is stopping: it finishes its jobs and accepts no new ones"
    if not machine.control.accepts_jobs:
        return _describe_control(machine, now)
    if free_slots(machine.max_jobs, len(machine.live_attempts)) <= 0:
        job_ids = sorted(machine.live_attempts)
        if not job_ids:
            return "no_room", f"{name} has no slots: it is set to run 0 jobs"
        jobs = "jobs " + ", ".join(str(each) for each in job_ids[:_MAX_JOBS_NAMED])
        more = len(job_ids) - _MAX_JOBS_NAMED
        jobs += f" and {more} more" if more > 0 else ""
        return "no_room", f"{name} has no free slot: {jobs}"
    if not waiting and machine.reported_free == 0 and not machine.has_scaling:
        return "no_room", (
            f"{name} reports no free slot, although it has only {len(machine.live_attempts)} of "
            f"{machine.max_jobs} jobs: its agent limits it (`mythjobs agent --jobs N`), or it "
            "still ends jobs whose lease expired"
        )
    if not waiting:
        return "idle", f"{name} has free slots, and no ready job can use them"
    # Give the reason of the command that meets the most rules; others may wait for other reasons.
    _, first = max(waiting.values(), key=lambda each: (each[0], each[1]["waiting"]))
    command, count = first["command"], first["waiting"]
    who = (
        f"{command} waits" if count == 1 else f"{count} jobs of {command} wait, next to start here"
    )
    return first["code"], f"{who}: {first['detail']}"


def _describe_control(machine: Machine, now: Now) -> tuple[str, str]:
    name, control, count = machine.name, machine.control, len(machine.live_attempts)
    hint = f"`mythjobs machine resume {name}` ends that"
    jobs = "1 job" if count == 1 else f"{count} jobs"
    if control.is_paused:
        paused = control.describe_pause(now.wall_ms, machine.policy.zone or machine.zone)
        frozen = f", with {jobs} frozen" if count else ""
        return "paused", f"{name} {paused}{frozen}; {hint}"
    left = f"{jobs} left to finish" if count else "it has no job left"
    return "drained", f"{name} is drained: it starts no jobs, {left}; {hint}"


def summarize_machine(machine: Machine, now: Now) -> responses.MachineSummary:
    """Return a machine's current state.

    leased: number of live attempts. running: number of those that have started. free: number of
    free slots that the machine reported last.
    """
    rights = machine.rights
    last_frame_ms, skew_ms = machine.last_frame_ms, machine.clock_skew_ms
    return {
        "id": machine.machine_id,
        "name": machine.name,
        "state": _connection_state(machine, now),
        "jobs": machine.max_jobs,
        "by_load": machine.is_limited_by_load,
        "running": sum(each.started_ms is not None for each in machine.live_attempts.values()),
        "leased": len(machine.live_attempts),
        "free": machine.reported_free,
        "allow": "all" if rights.mode == "all" else {rights.mode: sorted(rights.commands)},
        "cores": machine.cores,
        "last_heard_ms": None
        if not last_frame_ms
        else now.wall_ms - (now.steady_ms - last_frame_ms),
        "boot_id": machine.boot_id,
        "clock_ms": skew_ms if is_clock_skewed(skew_ms) else 0,
        "control": {
            "drained": machine.control.is_drained,
            "paused": machine.control.is_paused,
            "until_ms": machine.control.until_ms,
            "enforced": "pause" in machine.capabilities,
        },
    }


def _connection_state(machine: Machine, now: Now) -> str:
    if machine.connection is None:
        return "away"
    is_silent = now.steady_ms - machine.last_frame_ms > 1000 * SILENT_AFTER_S
    return "silent" if is_silent else "up"


def read_machine(
    tx: Transaction, state: MasterState, name: str, now: Now
) -> responses.MachineDetails:
    """Return a machine's state, settings and active overrides. Raises NoSuchMachine."""
    machine = state.find_machine(name)
    return {
        **summarize_machine(machine, now),
        "zone": machine.policy.zone or machine.zone,
        "labels": sorted(machine.labels),
        "gpus": machine.description.gpus,
        "mounts": [
            {"path": each.path, "type": each.type, "source": each.source, "disk": each.disk}
            for each in machine.description.mounts
        ],
        "hidden_paths": [
            {"path": path, "until_ms": hidden.until_ms}
            for path, hidden in state.placement.hidden_paths.get(machine.machine_id, {}).items()
            if hidden.until_ms > now.wall_ms
        ],
        "settings": settings_of(machine),
        "own_policy": own_policy_to_table(machine.own),
        "overrides": overrides_of(tx, state, machine, now.wall_ms),
        "scaling": _describe_scaling(machine) if machine.has_scaling else None,
        "load": _show_load(machine),
    }


def _show_load(machine: Machine) -> dict[str, Any] | None:
    if machine.load is None or machine.connection is None:
        return None
    found: dict[str, Any] = msgspec.to_builtins(machine.load)
    return found


def _describe_scaling(machine: Machine) -> ScalingDetails:
    headroom = machine.headroom or Headroom()
    frozen = sum(PRESSURE_HOLDER in each.frozen_by for each in machine.live_attempts.values())
    running = sum(each.started_ms is not None for each in machine.live_attempts.values()) - frozen
    jobs = "1 job" if running == 1 else f"{running} jobs"
    if machine.connection is None:
        sentence = "not connected"
    elif machine.headroom is None:
        sentence = "has not reported its load yet"
    elif not machine.control.accepts_jobs:
        state = "paused" if machine.control.is_paused else "drained"
        sentence = f"starts no jobs while it is {state}"
    elif len(machine.live_attempts) >= machine.max_jobs:
        sentence = f"runs {jobs}, the limit that a user has set"
    elif headroom.reasons:
        why = next(iter(headroom.reasons.values()))
        sentence = f"runs {jobs} and not {running + 1}: {why}"
    else:
        sentence = f"runs {jobs} and has room for more"
    if frozen:
        sentence += f"; {frozen} frozen because of the load"
    return {"sentence": sentence, "fits": headroom.fits, "reasons": headroom.reasons}


def settings_of(machine: Machine) -> dict[str, object]:
    """Return a machine's whole policy in the form of its TOML file."""
    policy = replace(machine.policy, jobs=machine.policy_jobs, rights=machine.rights)
    return policy_to_table(policy)


def overrides_of(
    tx: Transaction, state: MasterState, machine: Machine, now_ms: int
) -> list[responses.ActiveOverride]:
    """Return the active overrides of a machine's run windows; `command` None means all commands."""
    names = commands.read_names(tx)
    return [
        {"command": names.get(command_id), "kind": kind, "until_ms": until_ms}
        for (machine_id, command_id), (kind, until_ms) in sorted(state.placement.overrides.items())
        if machine_id == machine.machine_id and until_ms > now_ms
    ]


def read_semaphore_usage(tx: Transaction, state: MasterState) -> Semaphores:
    """Return all semaphores, each with its size and the units that live attempts use."""
    units_of = cache(lambda class_id: read_class(tx, class_id).requirements.semaphores)
    counts = UsageCounts(list_running(state, units_of))
    return {
        "semaphores": [
            {
                "name": name,
                "size": size,
                "used": counts.semaphore_units[name],
                "free_when_frozen": name in state.placement.freed_by_freeze,
            }
            for name, size in sorted(state.placement.semaphore_sizes.items())
        ]
    }


def find_placement_obstacle(tx: Transaction, state: MasterState, name: str, now: Now) -> str:
    """Return why no job of a command can start until a user changes a policy.

    Return "" if its jobs can start now or later without such a change.
    """
    defined = commands.find_by_name(tx, name)
    if defined is None:
        return ""  # the command was removed meanwhile
    command = decode_command(defined.definition)
    row = JobClassRow(0, defined.command_id, defined.revision_id, "", "", "", "", "", "")
    requirements = class_requirements(row, command)
    for semaphore, units in command.semaphores:
        size = state.placement.semaphore_sizes.get(semaphore)
        hint = f"`mythjobs semaphore set {semaphore} N`"
        if size is None:
            return f"there is no semaphore {semaphore}; make it with {hint}"
        if units > size:
            return (
                f"{name} needs {units} units of semaphore {semaphore}, which has {size}; "
                f"make it larger with {hint}"
            )
    job_class = JobClass(
        0, defined.command_id, defined.revision_id, command, requirements, NO_BOUNDS
    )
    view = read_placement_view(tx, state)
    candidates = view.candidates(job_class, now.wall_ms)
    code, sentence = explain_wait(view.requirements(job_class), candidates, now.wall_ms)
    never_opens = code == REASON_CODES["window"] and all(
        window is not None and window.opens_ms is None
        for window in (each.conditions.window for each in candidates)
    )
    return sentence if code in _POLICY_REASONS or never_opens else ""
