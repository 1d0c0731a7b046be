"""What owners say of machines and commands: settings, hours for once, semaphores, on and off."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, Final

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.explain.job import machine_page
from mythjobs.master.state import Machine, Memory, write_rights
from mythjobs.master.turn_context import Turn
from mythjobs.model.machine_policy import Owner, owner_from, owner_to_table
from mythjobs.model.policy_tables import WORD
from mythjobs.model.window import ALLOW, PAUSE
from mythjobs.protocol.messages import Settings
from mythjobs.store.statement import Transaction
from mythjobs.store.writes import commands, machines, overrides, readiness, semaphores

_MOST_UNITS: Final = 1_000_000
# Longer is no exception any more: it belongs into the hours.
_LONGEST_MS: Final = 366 * 86_400_000


def settings_of(machine: Machine) -> dict[str, object]:
    """All that is said of a machine, as the tables of its TOML."""
    whole = replace(machine.owner, jobs=machine.ceiling, rights=machine.rights)
    return owner_to_table(whole)


def edit_machine(turn: Turn, request: requests.EditMachine) -> dict[str, Any]:
    """Raises NoSuchMachine, NoSuchCommand, DefinitionError."""
    machine = turn.memory.machine(request.name)
    owner = owner_from(request.settings)
    for name in sorted(owner.rights.commands | owner.commands.keys()):
        turn.book.named(turn.tx, name)
    keep(turn, machine, owner)
    return machine_page(machine, turn.now) | {"settings": settings_of(machine)}


def keep(turn: Turn, machine: Machine, owner: Owner) -> None:
    """Writes down what an owner says now, and tells the machine what it must know of it."""
    # Rights and ceiling have columns of their own.
    rest = replace(owner, jobs=None, rights=Owner().rights)
    table = {name: value for name, value in owner_to_table(rest).items() if name != "allow"}
    text = json.dumps(table, ensure_ascii=False)
    machines.set_policy(
        turn.tx, machine.machine_id, rights=write_rights(owner.rights), jobs=owner.jobs
    )
    machines.set_settings(turn.tx, machine.machine_id, settings=text, zone=machine.zone)
    if owner.jobs != machine.ceiling:
        machine.most_now = None
    machine.owner, machine.rights, machine.ceiling = rest, owner.rights, owner.jobs
    if machine.hb:
        assert machine.connection is not None
        turn.say(machine.connection, Settings(machine.jobs))
    turn.memory.plan.forget_declined(machine.machine_id)
    turn.wake(readiness.ready_classes(turn.tx))


def override_hours(turn: Turn, request: requests.OverrideHours) -> dict[str, Any]:
    """Raises NoSuchMachine, NoSuchCommand, BadRequest."""
    machine = turn.memory.machine(request.name)
    command_id = overrides.EVERY_COMMAND
    if request.command is not None:
        command_id = turn.book.named(turn.tx, request.command).command_id
    key = machine.machine_id, command_id
    now_ms = turn.now.wall_ms
    there = turn.memory.plan.overrides
    if request.kind in (ALLOW, PAUSE):
        until_ms = request.until_ms
        if until_ms is None or not now_ms < until_ms <= now_ms + _LONGEST_MS:
            raise BadRequest(
                "say until when, within a year; what shall be so for good belongs into the "
                "machine's windows"
            )
        overrides.put(turn.tx, overrides.Override(*key, request.kind, until_ms))
        there[key] = request.kind, until_ms
    elif request.kind == "hours":
        overrides.remove(turn.tx, *key)
        there.pop(key, None)
    else:
        raise BadRequest(f'"{request.kind}" is none of allow, pause, hours')
    overrides.expire(turn.tx, now_ms)
    for each in [each for each, (_, until_ms) in there.items() if until_ms <= now_ms]:
        del there[each]
    turn.memory.plan.forget_declined(machine.machine_id)
    turn.wake(readiness.ready_classes(turn.tx))
    stand = overrides_of(turn.tx, turn.memory, machine, now_ms)
    return machine_page(machine, turn.now) | {"overrides": stand}


def overrides_of(
    tx: Transaction, memory: Memory, machine: Machine, now_ms: int
) -> list[dict[str, object]]:
    """What stands above the hours of a machine now; `command` None is all of them."""
    named = commands.names(tx)
    return [
        {"command": named.get(command_id), "kind": kind, "until_ms": until_ms}
        for (machine_id, command_id), (kind, until_ms) in sorted(memory.plan.overrides.items())
        if machine_id == machine.machine_id and until_ms > now_ms
    ]


def set_semaphore(turn: Turn, request: requests.SetSemaphore) -> dict[str, int]:
    """Jobs that hold more than the new size run on; no other starts until there is room.

    Answers all semaphores. Raises BadRequest.
    """
    if not WORD.fullmatch(request.name) or len(request.name) > 100:
        raise BadRequest(
            f'"{request.name}" is no name; write small letters and digits, joined by - _ or .'
        )
    sizes = turn.memory.plan.sizes
    if request.size is None:
        if request.name not in sizes:
            raise BadRequest(f'there is no semaphore "{request.name}"')
        semaphores.remove(turn.tx, request.name)
        del sizes[request.name]
        turn.memory.plan.freed -= {request.name}
    elif not 0 <= request.size <= _MOST_UNITS:
        raise BadRequest(f"a semaphore has 0 to {_MOST_UNITS} units")
    else:
        plan = turn.memory.plan
        free = request.free_when_frozen
        if free is None:
            free = request.name in plan.freed
        semaphores.put(turn.tx, request.name, request.size, free_when_frozen=free)
        sizes[request.name] = request.size
        plan.freed = plan.freed | {request.name} if free else plan.freed - {request.name}
    turn.wake(readiness.ready_classes(turn.tx))
    return dict(sizes)


def enable_command(turn: Turn, request: requests.EnableCommand) -> dict[str, Any]:
    """Whether its jobs may start; those that run go on. Enabling ends a put-off as well.

    Raises NoSuchCommand.
    """
    defined = turn.book.named(turn.tx, request.name)
    command_id = defined.command_id
    commands.enable(turn.tx, command_id, request.on)
    plan = turn.memory.plan
    if request.on:
        plan.disabled -= {command_id}
        if turn.memory.put_off.pop(command_id, None) is not None:
            commands.put_off(turn.tx, command_id, None, "")
        turn.wake(readiness.ready_classes(turn.tx))
    else:
        plan.disabled |= {command_id}
    turn.book.forget(request.name)
    return {"name": request.name, "enabled": request.on}
