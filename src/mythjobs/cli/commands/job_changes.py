"""`mythjobs set` and `rerun`: queued jobs, and copies of ended ones, with other values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from mythjobs.cli.commands.submit import build_defaults
from mythjobs.cli.job_selection import JobAction, JobSelection, apply_action, selection_options
from mythjobs.cli.options import PAST
from mythjobs.cli.session import Session, command, pass_session
from mythjobs.cli.submit_options import ChangeOptions, change_options, new_job_options
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest
from mythjobs.model.life import FINAL

_RERUN: Final = JobAction("rerun", "submitted again", tuple(sorted(FINAL)), ("failed",))


def _select_or_rename(function: Callable[..., Any]) -> Callable[..., Any]:
    return selection_options(function, "Jobs with this subject; with JOB, the new subject.")


@command(
    "set",
    epilog="Examples:\n  mythjobs set 42 --priority 50\n"
    "  mythjobs set 42 --not-before 22:00\n"
    "  mythjobs set 42 --param preset=slow --not-before now\n"
    "  mythjobs set --command transcode-h264 --machine attic",
)
@_select_or_rename
@change_options
@pass_session
def set_(session: Session, /, as_json: bool, yes: bool, **options: Any) -> int:
    """Change queued jobs, also held ones: start time, arguments, priority, limits, machine, ….

    Jobs that run keep their values: cancel such a job and give the new ones to `mythjobs rerun`.
    """
    given, selection = _split(options)
    changes = _build_changes(session, given, selection)
    selection = _take_subject(selection, changes)
    if not changes:
        raise click.UsageError(
            "give what to change: --param, --not-before, --priority, …",
            click.get_current_context(),
        )
    if changes.keys() == {"priority"}:  # a request that masters of older versions know
        past = f"set to priority {given.priority}"
        action = JobAction("priority", past, ("queued",), fields=changes, phrase="change")
    else:
        action = JobAction(
            "set", "changed", ("queued",), fields={"changes": changes}, phrase="change"
        )
    return apply_action(session, action, selection, yes, as_json)


@command(
    "rerun",
    epilog="Examples:\n  mythjobs rerun --batch 7 --state failed,cancelled\n"
    "  mythjobs rerun --since 22:00      (what failed since last night)\n"
    "  mythjobs rerun 42 --param preset=slow --limit memory=8GiB --not-before 22:00",
)
@_select_or_rename
@click.option(
    "--since",
    "since_ms",
    type=PAST,
    metavar="TIME",
    help="Jobs that ended since TIME: 2h (ago), 22:00, yesterday, 2026-11-03 22:00.",
)
@change_options
@new_job_options
@pass_session
def rerun(
    session: Session,
    /,
    as_json: bool,
    yes: bool,
    after: tuple[Json, ...],
    key: str | None,
    hold: bool,
    **options: Any,
) -> int:
    """Submit ended jobs again, each as a new job, with other values if options give them.

    A filter without --state selects failed jobs. Jobs that waited for each other do so again.
    """
    given, selection = _split(options)
    changes = _build_changes(session, given, selection)
    new = {"after": list(after) or None, "key": key, "hold": hold or None}
    changes |= {name: value for name, value in new.items() if value is not None}
    selection = _take_subject(selection, changes)
    if key is not None and not selection.jobs:
        raise BadRequest("--key is for one job, so it needs the id of a job")
    # A master of an older version refuses fields that it does not know.
    action = _RERUN._replace(fields={"changes": changes}) if changes else _RERUN
    return apply_action(session, action, selection, yes, as_json)


def _split(options: dict[str, Any]) -> tuple[ChangeOptions, JobSelection]:
    given = ChangeOptions(**{name: options.pop(name) for name in ChangeOptions._fields})
    return given, JobSelection(**options)


def _take_subject(selection: JobSelection, changes: Json) -> JobSelection:
    """Move --subject from the selection to the changes if ids select the jobs: without a filter,
    the option is that of `submit`."""
    if not selection.jobs or selection.subject is None:
        return selection
    changes["subject"] = selection.subject
    return selection._replace(subject=None)


def _build_changes(session: Session, given: ChangeOptions, selection: JobSelection) -> Json:
    """Return the changes, with absolute paths."""
    if not given.params:
        return given.build_changes({})
    client = session.client()
    name = _find_command(client, selection)
    defaults = build_defaults(client, name, given.params, has_arguments=True)
    return given.build_changes(defaults.values)


def _find_command(client: Client, selection: JobSelection) -> str:
    """Return the command whose parameters the selected jobs have."""
    if selection.jobs:
        return str(client.get(f"jobs/{selection.jobs[0]}")["command"])
    if selection.command:
        return selection.command
    if selection.batch is None:
        raise BadRequest("--param needs jobs of one command: give ids, --command or --batch")
    return str(client.get(f"batches/{selection.batch}")["command"])
