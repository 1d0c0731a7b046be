"""Checks of new definitions: settings that are valid alone, but of which one has no effect beside
another; a summary that is too long for lists.

Definitions that are stored already are not checked: after an upgrade no command or schedule may
stop because of a check that its version did not have.
"""

from __future__ import annotations

from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model import toml_values as toml
from mythjobs.model.command import Command, ParameterType
from mythjobs.model.definition import command_from_table
from mythjobs.model.schedule import Between, Schedule, schedule_from_table
from mythjobs.model.units import format_duration

_BREACHED: Final = "breached"
# Characters of a summary, which every list of commands or schedules has.
_MAX_SUMMARY: Final = 1000


def new_command_from_table(table: toml.Table) -> Command:
    """Parse the definition of a new command. Raises DefinitionError, which names the key."""
    command = command_from_table(table)
    _check_summary(command.summary)
    wall_s, idle_s = command.limits.wall_s, command.limits.idle_s
    if wall_s is not None and idle_s is not None and idle_s >= wall_s:
        raise DefinitionError(
            "limits.idle",
            f"must be shorter than wall ({format_duration(wall_s)}), which ends the job first",
        )
    retry = table.get("retry")
    if command.on_breach and isinstance(retry, dict) and "on" in retry:
        if (command.on_breach == "retry") != (_BREACHED in command.retry.on):
            raise DefinitionError(
                "limits.on_breach",
                f'"{command.on_breach}" contradicts retry.on, which '
                f'{"has" if _BREACHED in command.retry.on else "lacks"} "{_BREACHED}"; '
                "remove one of them",
            )
    if command.windows.closing == "freeze" and command.windows.grace_s is not None:
        raise DefinitionError(
            "windows.grace",
            'closing = "freeze" ends no job, so a grace has no effect; remove one of them',
        )
    if command.notify.kinds == () and command.notify.template:
        raise DefinitionError(
            "notify.template",
            "has no effect, because events = [] sends nothing; remove one of them",
        )
    for each in command.parameters:
        if each.dash and each.type is ParameterType.PATH:
            raise DefinitionError(
                f"parameters.{each.name}.dash",
                "is not for type path, whose values are absolute paths; remove it",
            )
    return command


def new_schedule_from_table(table: toml.Table, *, known_zone: bool = True) -> Schedule:
    """Parse the definition of a new schedule. Raises DefinitionError, which names the key.

    Cron expressions are checked only by scheduler/ticks.py. known_zone: refuse a zone that this
    machine does not know.
    """
    schedule = schedule_from_table(table, known_zone=known_zone)
    _check_summary(schedule.summary)
    if isinstance(schedule.when, Between):
        _check_hours(schedule, 60.0 * schedule.when.minutes)
    late_s, within_s = schedule.late_after_s, schedule.start_within_s
    if late_s is not None and within_s is not None and late_s >= within_s:
        raise DefinitionError(
            "late_after",
            f"must be shorter than start_within ({format_duration(within_s)}), which cancels the "
            "job first",
        )
    return schedule


def _check_summary(summary: str) -> None:
    if len(summary) > _MAX_SUMMARY:
        raise DefinitionError(
            "summary", f"has {len(summary)} characters; give at most {_MAX_SUMMARY}"
        )


def _check_hours(schedule: Schedule, hours_s: float) -> None:
    """Check that delays are shorter than the hours of `between`, whose end cancels a job."""
    backoff_s = schedule.backoff_s if schedule.failures else None
    for key, delay_s in (
        ("spread", schedule.spread_s),
        ("late_after", schedule.late_after_s),
        ("retry.backoff", backoff_s),
    ):
        if delay_s is not None and delay_s >= hours_s:
            raise DefinitionError(
                key,
                f"must be shorter than the hours of between ({format_duration(hours_s)}): a job "
                "that has not started at their end is cancelled",
            )
