"""`mythjobs command`: list, show, enable, disable and remove commands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.commands import definitions, progress_tester
from mythjobs.cli.options import COMMAND
from mythjobs.cli.session import Session, command, json_option, pass_session
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
    """List the commands."""
    found = session.client().get("commands")["commands"]
    if as_json:
        terminal.print_json(found)
        return
    rows = [
        (
            each["name"],
            each["revision"],
            Cell("", "") if each["enabled"] else Cell("disabled", "disabled"),
            " ".join(each["parameters"]),
            each["summary"],
        )
        for each in found
    ]
    terminal.print_table(
        ("command", "revision", "state", "parameters", "summary"), rows, ("revision",)
    )


@command("show", epilog=_SHOW)
@_name
@click.option("--revisions", is_flag=True, help="List the revisions, newest first.")
@click.option("--revision", type=click.IntRange(min=1), metavar="N", help="Show this revision.")
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
    yield from _format_statistics(found["statistics"])


def _format_statistics(of: Json) -> Iterator[str]:
    if not of["jobs"]:
        return
    rate = "" if of["success_rate"] is None else f" ({100 * of['success_rate']:.0f} % success)"
    counts = ", ".join(f"{of[each]} {each}" for each in ("succeeded", "failed", "cancelled"))
    yield f"last {of['jobs']} jobs: {counts}{rate}"
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


@command("disable", epilog="Example:\n  mythjobs command disable transcode-h264")
@_name
@json_option
@pass_session
def disable(session: Session, name: str, as_json: bool) -> None:
    """Let no job of a command start. Running jobs continue; new jobs are accepted and wait."""
    _set_enabled(session, name, False, as_json)


def _set_enabled(session: Session, name: str, on: bool, as_json: bool) -> None:
    done = session.client().post(f"{command_path(name)}/enabled", {"on": on})
    if as_json:
        terminal.print_json(done)
    else:
        terminal.print_line(f"command {done['name']} is {'enabled' if on else 'disabled'}")


@command("remove")
@_name
@pass_session
def remove(session: Session, name: str) -> None:
    """Remove a command. Its ended jobs remain in the list."""
    session.client().delete(command_path(name))
    terminal.print_line(f"command {name} removed")


command_group = click.Group(
    "command",
    commands=[
        definitions.add,
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
