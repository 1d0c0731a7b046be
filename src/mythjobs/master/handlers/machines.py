"""Handlers of requests about machines (settings, overrides, drain, pause) and semaphores."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from mythjobs.errors import BadRequest, NoSuchSemaphore
from mythjobs.master import requests
from mythjobs.master.attempts import machine_control
from mythjobs.master.explain.machine import overrides_of, settings_of, summarize_machine
from mythjobs.master.machine import Machine
from mythjobs.master.placement.visibility import forget_hidden
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.machine_control import NO_CONTROL, MachineControl
from mythjobs.model.machine_policy import (
    ALLOW_ALL,
    MAX_JOBS,
    MachinePolicy,
    Rights,
    policy_from_table,
    policy_to_table,
)
from mythjobs.model.names import invalid_semaphore_name, is_short_name
from mythjobs.model.policy_tables import read_labels
from mythjobs.model.window import ALLOW, PAUSE
from mythjobs.model.zone import load_zone
from mythjobs.protocol import machine_responses as responses
from mythjobs.protocol.messages import Settings
from mythjobs.store.writes import machines, overrides, readiness, semaphores

_MAX_UNITS: Final = 1_000_000
# Maximum duration of an override or a pause. A longer one belongs in the machine's run windows.
_MAX_DURATION_MS: Final = 366 * 86_400_000


def edit_machine(turn: TurnContext, request: requests.EditMachine) -> dict[str, Any]:
    """Replace a machine's policy. Raises NoSuchMachine, NoSuchCommand, DefinitionError."""
    machine = turn.state.open_named(request.name)
    policy = policy_from_table(request.settings)
    for name in sorted(policy.rights.commands | policy.commands.keys()):
        turn.catalog.find_command(turn.tx, name)
    store_policy(turn, machine, policy)
    return summarize_machine(machine, turn.now) | {"settings": settings_of(machine)}


def store_policy(turn: TurnContext, machine: Machine, policy: MachinePolicy) -> None:
    """Store and apply a machine's policy, and tell the machine its maximum number of jobs."""
    # The column `settings` has the whole policy except rights and number of jobs, which are stored
    # in columns of their own.
    rest = replace(policy, jobs=None, rights=MachinePolicy().rights)
    table = {name: value for name, value in policy_to_table(rest).items() if name != "allow"}
    text = json.dumps(table, ensure_ascii=False)
    machines.set_policy(
        turn.tx, machine.machine_id, rights=policy.rights.to_json(), jobs=policy.jobs
    )
    machines.set_settings(turn.tx, machine.machine_id, settings=text, zone=machine.zone)
    if policy.jobs != machine.policy_jobs:
        machine.temporary_jobs = None
    machine.policy, machine.rights, machine.policy_jobs = rest, policy.rights, policy.jobs
    if machine.connection is not None:
        turn.send(machine, Settings(machine.max_jobs))
    turn.state.placement.clear_declines(machine.machine_id)
    forget_hidden(turn, machine)
    turn.recheck(readiness.read_ready_classes(turn.tx))


def override_hours(turn: TurnContext, request: requests.OverrideHours) -> dict[str, Any]:
    """Set or remove an override of a machine's run windows.

    Raises NoSuchMachine, NoSuchCommand, BadRequest.
    """
    machine = turn.state.open_named(request.name)
    command_id = overrides.EVERY_COMMAND
    if request.command is not None:
        command_id = turn.catalog.find_command(turn.tx, request.command).command_id
    key = machine.machine_id, command_id
    now_ms = turn.now.wall_ms
    active = turn.state.placement.overrides
    if request.kind in (ALLOW, PAUSE):
        until_ms = request.until_ms
        if until_ms is None:
            raise BadRequest(
                "opening or closing a machine needs an end; a permanent exception belongs in the "
                "machine's windows"
            )
        check_end(turn, until_ms)
        overrides.save(turn.tx, overrides.OverrideRow(*key, request.kind, until_ms))
        active[key] = request.kind, until_ms
    elif request.kind == "hours" and request.until_ms is not None:
        raise BadRequest("hours: has no end; remove it, the run windows apply at once")
    elif request.kind == "hours":
        overrides.remove(turn.tx, *key)
        active.pop(key, None)
    else:
        raise BadRequest(f'override kind "{request.kind}" is not one of allow, pause, hours')
    overrides.remove_expired(turn.tx, now_ms)
    for each in [each for each, (_, until_ms) in active.items() if until_ms <= now_ms]:
        del active[each]
    turn.state.placement.clear_declines(machine.machine_id)
    turn.recheck(readiness.read_ready_classes(turn.tx))
    found = overrides_of(turn.tx, turn.state, machine, now_ms)
    return summarize_machine(machine, turn.now) | {"overrides": found}


def control_machine(turn: TurnContext, request: requests.ControlMachine) -> None:
    """Drain, pause or resume a machine. Raises NoSuchMachine, BadRequest.

    A pause replaces an earlier one. Drain and pause are independent; resume ends both.
    """
    machine = turn.state.open_named(request.name)
    until_ms = request.until_ms
    if until_ms is not None and request.action != "pause":
        raise BadRequest(f"only a pause has an end; {request.action} lasts until a resume")
    if until_ms is not None:
        check_end(turn, until_ms)
    match request.action:
        case "drain":
            control = machine.control._replace(is_drained=True)
        case "pause":
            control = MachineControl(machine.control.is_drained, True, until_ms)
        case "resume":
            control = NO_CONTROL
        case _:
            raise BadRequest(f'action "{request.action}" is not one of drain, pause, resume')
    machine_control.set_control(turn, machine, control)


def check_end(turn: TurnContext, until_ms: int) -> None:
    """Raise BadRequest unless the end of an override, a pause or a disabling is within a year."""
    left_ms = until_ms - turn.now.wall_ms
    if not 0 < left_ms <= _MAX_DURATION_MS:
        why = "in the past" if left_ms <= 0 else "over a year ahead"
        raise BadRequest(
            f"the end, {turn.format_time(until_ms)}, is {why}; give a time within a year from now"
        )


def set_semaphore(turn: TurnContext, request: requests.SetSemaphore) -> dict[str, int]:
    """Create, resize or delete a semaphore. Return the sizes of all semaphores.

    If the new size is less than the units in use, running jobs keep their units, and no further
    job that needs the semaphore starts. Raises BadRequest, NoSuchSemaphore.
    """
    if not is_short_name(request.name):
        raise invalid_semaphore_name(request.name)
    placement = turn.state.placement
    sizes = placement.semaphore_sizes
    freed = placement.freed_by_freeze
    if request.size is None:
        if request.free_when_frozen is not None:
            raise BadRequest("free_when_frozen: is for a semaphore that stays; remove it")
        if request.name not in sizes:
            raise NoSuchSemaphore(
                f'there is no semaphore "{request.name}"; see `mythjobs semaphore list`'
            )
        semaphores.remove(turn.tx, request.name)
        del sizes[request.name]
        placement.freed_by_freeze = freed - {request.name}
    elif not 0 <= request.size <= _MAX_UNITS:
        raise BadRequest(f"semaphore size {request.size} is not between 0 and {_MAX_UNITS}")
    else:
        free = request.free_when_frozen
        if free is None:
            free = request.name in freed
        semaphores.save(turn.tx, request.name, request.size, free_when_frozen=free)
        sizes[request.name] = request.size
        placement.freed_by_freeze = freed | {request.name} if free else freed - {request.name}
    turn.recheck(readiness.read_ready_classes(turn.tx))
    return dict(sizes)


def set_machine(turn: TurnContext, request: requests.SetMachine) -> responses.MachineSummary:
    """Change some of a machine's settings. Raises NoSuchMachine, NoSuchCommand, BadRequest."""
    machine = turn.state.open_named(request.name)
    if isinstance(request.jobs, int) and not 0 <= request.jobs <= MAX_JOBS:
        raise BadRequest(f"jobs {request.jobs} is not between 0 and {MAX_JOBS}")
    if request.command is not None:
        if request.jobs is None:
            raise BadRequest("command: needs jobs, the maximum number of its jobs at once")
        turn.catalog.find_command(turn.tx, request.command)
    for name in [*(request.deny or []), *_command_names(request.allow)]:
        turn.catalog.find_command(turn.tx, name)
    if request.zone is not None:
        try:
            load_zone(request.zone)
        except ValueError as error:
            raise BadRequest(f"zone: {error}") from None
    labels, no_labels = _changed_labels(machine, request)
    policy = replace(
        machine.policy,
        labels=labels,
        no_labels=no_labels,
        rights=_changed_rights(machine.rights, request),
        jobs=machine.policy_jobs,
        zone=machine.policy.zone if request.zone is None else request.zone,
    )
    if request.jobs is not None:
        jobs = None if request.jobs == "auto" else request.jobs
        if request.command is None:
            machine.temporary_jobs = None
            policy = replace(policy, jobs=jobs)
        else:
            policy = policy.with_ceiling(request.command, jobs)
    store_policy(turn, machine, policy)
    return summarize_machine(machine, turn.now)


def _command_names(allow: str | list[str] | None) -> list[str]:
    if isinstance(allow, str) and allow != "all":
        raise BadRequest(f'allow "{allow}" is neither "all" nor a list of command names')
    return allow if isinstance(allow, list) else []


def _changed_labels(
    machine: Machine, request: requests.SetMachine
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the machine's labels and the refused ones after a change. Raises BadRequest.

    Only labels that the machine finds by itself, and would find again, are kept as refused.
    """
    policy = machine.policy
    add = set(read_labels({"labels": list(request.labels)}))
    remove = set(read_labels({"labels": list(request.no_labels)}))
    if both := add & remove:
        raise BadRequest(f"label {min(both)} is both to be set and to be removed")
    present = {*policy.labels, *policy.no_labels, *machine.found_labels}
    if unknown := remove - present:
        raise BadRequest(f"{machine.name} has no label {', '.join(sorted(unknown))}")
    labels = (set(policy.labels) | add) - remove
    no_labels = (set(policy.no_labels) | (remove & machine.found_labels)) - add
    return tuple(sorted(labels)), tuple(sorted(no_labels))


def _changed_rights(rights: Rights, request: requests.SetMachine) -> Rights:
    if request.allow == "all":
        rights = ALLOW_ALL
    return rights.with_changes(
        allow=frozenset(_command_names(request.allow)), deny=frozenset(request.deny or [])
    )
