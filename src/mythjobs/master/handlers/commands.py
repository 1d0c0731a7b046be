"""Handlers of requests about commands: define, remove, enable."""

from __future__ import annotations

from typing import Final

from mythjobs.errors import BadRequest, Conflict
from mythjobs.master import requests
from mythjobs.master.handlers.machines import check_end
from mythjobs.master.notify.handlers import end_notifications
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.command import RUN
from mythjobs.model.contradictions import new_command_from_table
from mythjobs.model.definition import command_from_table
from mythjobs.protocol import responses
from mythjobs.protocol.requests import DefineResult
from mythjobs.store.writes import commands, readiness

_MAX_NAMED: Final = 10  # schedules that a refusal names


def define_command(turn: TurnContext, request: requests.DefineCommand) -> DefineResult:
    """Define or replace a command; an unchanged definition makes no new revision.

    Raises DefinitionError, Conflict if the name is taken and `replace` is not set.
    """
    command = command_from_table(request.definition)
    current = commands.find_by_name(turn.tx, command.name)
    if current is not None and not request.replace:
        raise Conflict(
            f'the name "{command.name}" is taken; change it with `mythjobs command edit`, '
            "or choose another"
        )
    if current is not None and turn.catalog.decoded_command(current) == command:
        return DefineResult(command.name, current.number, False)
    new_command_from_table(request.definition)
    revision = commands.define(
        turn.tx, command.name, dict(request.definition), at_ms=turn.now.wall_ms
    )
    turn.catalog.forget_command(command.name)
    turn.state.notify = turn.state.notify.with_heartbeat(
        revision.command_id, has_url=bool(command.notify.heartbeat)
    )
    _end_set_aside(turn, revision.command_id)
    return DefineResult(command.name, revision.number, True)


def remove_command(turn: TurnContext, request: requests.RemoveCommand) -> str:
    """Remove a command.

    Raises NoSuchCommand, BadRequest for the built-in "run", Conflict while the command has jobs
    that have not ended, or a schedule that uses it.
    """
    defined = turn.catalog.find_command(turn.tx, request.name)
    if request.name == RUN:
        raise BadRequest('"run" is built in and cannot be removed')
    _check_unscheduled(turn, request.name)
    open_jobs = commands.count_open_jobs(turn.tx, defined.command_id)
    if open_jobs:
        jobs = "1 job has" if open_jobs == 1 else f"{open_jobs} jobs have"
        raise Conflict(
            f"cannot remove {request.name}: {jobs} not ended; "
            f"`mythjobs cancel --command {request.name}` cancels all that have not"
        )
    commands.remove(turn.tx, defined.command_id)
    turn.state.notify = turn.state.notify.with_heartbeat(defined.command_id, has_url=False)
    end_notifications(turn, f"command {defined.command_id}")
    turn.catalog.forget_command(request.name)
    return request.name


def _check_unscheduled(turn: TurnContext, name: str) -> None:
    """Raise Conflict if a schedule submits jobs of this command: each of its ticks would fail.

    A schedule that is paused or cannot be used at present counts, too: it may go on at any time.
    """
    schedules = turn.state.schedules.by_id.values()
    names = sorted(each.name for each in schedules if each.command == name)
    if not names:
        return
    listed = ", ".join(names[:_MAX_NAMED])
    if len(names) > _MAX_NAMED:
        listed += f" and {len(names) - _MAX_NAMED} more"
    use = f"schedule {listed} uses it" if len(names) == 1 else f"schedules use it: {listed}"
    raise Conflict(
        f"cannot remove {name}: {use}; `mythjobs schedule remove {names[0]}` removes a schedule, "
        f"`mythjobs schedule edit {names[0]}` can give it another command"
    )


def enable_command(turn: TurnContext, request: requests.EnableCommand) -> responses.Enabled:
    """Allow or forbid starts of a command's jobs. Enabling also ends a deferral of the command.

    To disable a command until a time is to defer it, which ends by itself. It replaces an earlier
    deferral, and a disabling without end. Running jobs are not affected. Raises NoSuchCommand, and
    BadRequest for an end in the past or with `enabled`.
    """
    until_ms = request.until_ms
    if until_ms is not None:
        if request.enabled:
            raise BadRequest("until_ms: is the end of a disabling, so it needs on = false")
        check_end(turn, until_ms)
    defined = turn.catalog.find_command(turn.tx, request.name)
    command_id = defined.command_id
    is_enabled = request.enabled or until_ms is not None
    commands.set_enabled(turn.tx, command_id, is_enabled)
    placement = turn.state.placement
    if is_enabled:
        placement.disabled -= {command_id}
    else:
        placement.disabled |= {command_id}
    if until_ms is not None:
        turn.defer_command(command_id, until_ms, f"disabled by {request.by}")
    elif request.enabled:
        if turn.state.deferrals.pop(command_id, None) is not None:
            commands.put_off(turn.tx, command_id, None, "")
        _end_set_aside(turn, command_id)
        turn.recheck(readiness.read_ready_classes(turn.tx))
    turn.catalog.forget_command(request.name)
    return {"name": request.name, "enabled": is_enabled, "until_ms": until_ms}


def _end_set_aside(turn: TurnContext, command_id: int) -> None:
    """Readmit to placement the command's job classes that were set aside after internal errors."""
    set_aside = turn.state.set_aside
    if not set_aside:
        return
    classes = {each.number for each in set_aside if each.kind == "class"}
    again = {each for each in classes if _is_class_of(turn, each, command_id)}
    turn.state.set_aside = {
        unit: why
        for unit, why in set_aside.items()
        if unit.kind != "class" or unit.number not in again
    }
    turn.catalog.forget_classes(command_id)
    turn.recheck(again)


def _is_class_of(turn: TurnContext, class_id: int, command_id: int) -> bool:
    return turn.catalog.job_class(turn.tx, class_id).command_id == command_id
