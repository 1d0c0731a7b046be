"""`mythjobs command`: list, show, enable, disable and remove commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.commands import command_from_job, definitions, progress_tester
from mythjobs.cli.options import COMMAND, DURATION, INSTANT, IntegerType, find_end_ms
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.status_text import format_command_note
from mythjobs.cli.terminal import Cell
from mythjobs.cli.times import format_time
from mythjobs.client.api_paths import command_path
from mythjobs.client.client import Json
from mythjobs.model.units import humanize_duration, humanize_size

_SHOW: Final = """Examples:
  mythjobs command show transcode-h264
  mythjobs command show transcode-h264 --revisions
  mythjobs command show transcode-h264 --revision 2"""
_name = click.argument("name", type=COMMAND)


@command("list")
@json_option
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the commands, and how the last 50 jobs of each went."""
    found = session.client().get("commands", {"statistics": True})["commands"]
    if as_json:
        terminal.print_json(found)
        return
    now_ms = clock.master_now().wall_ms
    rows = [
        (
            each["name"],
            each["revision"],
            _format_state(each, now_ms),
            *_format_recent(each.get("recent")),
            " ".join(each["parameters"]),
            each["summary"],
        )
        for each in found
    ]
    terminal.print_table(
        ("command", "revision", "state", "success", "usually", "parameters", "summary"),
        rows,
        ("revision", "success"),
    )


def _format_state(command: Json, now_ms: int) -> Cell:
    """Return why no job of a command starts on any machine, empty if jobs may start."""
    note = format_command_note(command, now_ms)
    return Cell(note, "disabled" if note else "")


def _format_recent(recent: Json | None) -> tuple[str, str]:
    """Return the success rate and the usual run time of a command's last jobs; "" if unknown."""
    if recent is None:  # a master of an older version
        return "", ""
    usual_s = recent["usual_s"]
    usual = "" if usual_s is None else humanize_duration(usual_s)
    return _format_rate(recent["success_rate"]), usual


def _format_rate(rate: float | None) -> str:
    return "" if rate is None else f"{100 * rate:.0f} %"


@command("show", epilog=_SHOW)
@_name
@click.option("--revisions", is_flag=True, help="List the revisions, newest first.")
@click.option("--revision", type=IntegerType(min=1), metavar="N", help="Show this revision.")
@json_option
@pass_session
def show(session: Session, name: str, revisions: bool, revision: int | None, as_json: bool) -> None:
    """Show a definition, as TOML that `command add` reads, and statistics of its last jobs."""
    from mythjobs.cli.files.toml_text import format_toml

    client = session.client()
    if revisions:
        if revision is not None:
            raise click.UsageError("--revisions lists all revisions; omit --revision")
        _print_revisions(client.get(f"{command_path(name)}/revisions")["revisions"], as_json)
        return
    found = client.get(command_path(name), {"revision": revision, "statistics": True})
    if as_json:
        terminal.print_json(found)
        return
    for line in _format_comments(found):
        terminal.print_line(f"# {line}")
    # Safe on a terminal, because TOML has control characters escaped.
    print(format_toml(found["definition"]), end="")


def _print_revisions(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        terminal.print_json(found)
        return
    rows = [(each["revision"], format_time(each["created_ms"])) for each in found]
    terminal.print_table(("revision", "created"), rows, ("revision",))


def _format_comments(found: Json) -> Iterator[str]:
    disabled = "" if found["enabled"] else ", disabled: its jobs do not start"
    yield f"revision {found['revision']} of {format_time(found['revised_ms'])}{disabled}"
    if found["put_off_ms"] is not None:
        why = f": {found['put_off_reason']}" if found["put_off_reason"] else ""
        yield f"deferred until {format_time(found['put_off_ms'])}{why}"
    yield from _format_statistics(found["statistics"], found.get("recent"))


def _format_statistics(of: Json, recent: Json | None) -> Iterator[str]:
    if not of["jobs"]:
        return
    rate, usual = _format_recent(recent)
    took = f", usually in {usual}" if usual else ""
    if recent is not None and recent["jobs"] < of["jobs"] and rate:
        yield f"last {recent['jobs']} jobs: {rate} success{took}"
        took = ""
    rate = _format_rate(of["success_rate"])
    counts = ", ".join(f"{of[each]} {each}" for each in ("succeeded", "failed", "cancelled"))
    yield f"last {of['jobs']} jobs: {counts}{f' ({rate} success)' if rate else ''}{took}"
    if of["median_s"] is None:
        return
    yield (
        f"{of['runs']} runs: half took up to {humanize_duration(of['median_s'])}, 90 % up to "
        f"{humanize_duration(of['p90_s'])}"
    )
    read, written = humanize_size(of["read_bytes"]), humanize_size(of["written_bytes"])
    yield (
        f"CPU: half took up to {humanize_duration(of['cpu_median_s'] or 0)}, in total "
        f"{humanize_duration(of['cpu_total_s'])}; peak memory {humanize_size(of['peak_bytes'])}; "
        f"read {read}, wrote {written}"
    )


@command("enable", epilog="Example:\n  mythjobs command enable transcode-h264")
@_name
@json_option
@pass_session
def enable(session: Session, name: str, as_json: bool) -> None:
    """Let jobs of a command start again, at once, even if the command was deferred."""
    _set_enabled(session, name, True, as_json)


@command(
    "disable",
    epilog="Examples:\n  mythjobs command disable transcode-h264\n"
    "  mythjobs command disable transcode-h264 --for 2h",
)
@_name
@click.option("--for", "for_s", type=DURATION, metavar="DURATION", help="Enable it after this.")
@click.option("--until", "until_ms", type=INSTANT, metavar="TIME", help="Enable it at this time.")
@json_option
@pass_session
def disable(
    session: Session, name: str, for_s: float | None, until_ms: int | None, as_json: bool
) -> None:
    """Let no job of a command start. Running jobs continue; new jobs are accepted and wait.

    Lasts until `mythjobs command enable`, or until DURATION has passed or TIME.
    """
    _set_enabled(session, name, False, as_json, find_end_ms(for_s, until_ms))


def _set_enabled(
    session: Session, name: str, is_enabled: bool, as_json: bool, until_ms: int | None = None
) -> None:
    # A master of an older version refuses a field that it does not know.
    end = {} if until_ms is None else {"until_ms": until_ms}
    done = session.client().post(f"{command_path(name)}/enabled", {"on": is_enabled, **end})
    if as_json:
        terminal.print_json(done)
        return
    until = f" until {format_time(until_ms)}" if until_ms is not None else ""
    terminal.print_line(
        f"command {done['name']} is {'enabled' if is_enabled else 'disabled'}{until}"
    )


@command("remove", epilog="Example:\n  mythjobs command remove transcode-h264")
@_name
@json_option
@pass_session
def remove(session: Session, name: str, as_json: bool) -> None:
    """Remove a command. Its ended jobs remain in the list."""
    removed = session.client().delete(command_path(name))
    if as_json:
        terminal.print_json(removed)
        return
    terminal.print_line(f"command {name} removed")


command_group = click.Group(
    "command",
    commands=[
        definitions.add,
        command_from_job.from_job,
        list_,
        show,
        definitions.edit,
        progress_tester.test_progress,
        enable,
        disable,
        definitions.export,
        definitions.import_,
        remove,
    ],
    no_args_is_help=True,
    help="Define the commands that jobs run.",
)
