"""`mythjobs command`: the commands that jobs run; looking at them, and on and off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.commands import definitions
from mythjobs.cli.files.toml_text import format_toml
from mythjobs.cli.session import COMMAND, Session, command, json_option, pass_session
from mythjobs.cli.texts import sanitize
from mythjobs.cli.times import format_time
from mythjobs.client.client import Json
from mythjobs.client.paths import command_path
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
            "" if each["enabled"] else "disabled",
            " ".join(each["parameters"]),
            each["summary"],
        )
        for each in found
    ]
    terminal.print_table(("command", "revision", "", "parameters", "summary"), rows, ("revision",))


@command("show", epilog=_SHOW)
@_name
@click.option("--revisions", is_flag=True, help="List its revisions instead, the newest first.")
@click.option("--revision", type=click.IntRange(min=1), metavar="N", help="Show an older one.")
@json_option
@pass_session
def show(session: Session, name: str, revisions: bool, revision: int | None, as_json: bool) -> None:
    """Show a definition, and what its last jobs were like.

    As TOML that `command add` takes.
    """
    client = session.client()
    if revisions:
        if revision is not None:
            raise click.UsageError("--revisions lists all; leave --revision out")
        _print_revisions(client.get(f"{command_path(name)}/revisions")["revisions"], as_json)
        return
    found = client.get(command_path(name), {"revision": revision, "statistics": True})
    if as_json:
        terminal.print_json(found)
        return
    for line in _format_header(found):
        terminal.print_line(sanitize(f"# {line}"))
    # Control characters stand escaped in it, as TOML demands.
    print(format_toml(found["definition"]), end="")


def _print_revisions(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        terminal.print_json(found)
        return
    rows = [(each["revision"], format_time(each["created_ms"])) for each in found]
    terminal.print_table(("revision", "made"), rows, ("revision",))


def _format_header(found: Json) -> Iterator[str]:
    disabled = "" if found["enabled"] else ", disabled: none of its jobs starts"
    yield f"revision {found['revision']} of {format_time(found['revised_ms'])}{disabled}"
    if found["put_off_ms"] is not None:
        why = f": {found['put_off_reason']}" if found["put_off_reason"] else ""
        yield f"put off until {format_time(found['put_off_ms'])}{why}"
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
        f"{of['runs']} runs: half took up to {humanize_duration(of['median_s'])}, nine of ten up to "
        f"{humanize_duration(of['p90_s'])}"
    )
    read, written = humanize_size(of["read_bytes"]), humanize_size(of["written_bytes"])
    yield (
        f"CPU: half took up to {humanize_duration(of['cpu_median_s'] or 0)}, all together "
        f"{humanize_duration(of['cpu_total_s'])}; most memory {humanize_size(of['peak_bytes'])}; "
        f"read {read}, wrote {written}"
    )


@command("enable", epilog="Example:\n  mythjobs command enable transcode-h264")
@_name
@json_option
@pass_session
def enable(session: Session, name: str, as_json: bool) -> None:
    """Let jobs of a command start again.

    At once, also where it was put off.
    """
    _set_enabled(session, name, True, as_json)


@command("disable", epilog="Example:\n  mythjobs command disable transcode-h264")
@_name
@json_option
@pass_session
def disable(session: Session, name: str, as_json: bool) -> None:
    """Let no job of a command start. Those that run go on, and new ones are taken in and wait."""
    _set_enabled(session, name, False, as_json)


def _set_enabled(session: Session, name: str, on: bool, as_json: bool) -> None:
    done = session.client().post(f"{command_path(name)}/enabled", {"on": on})
    if as_json:
        terminal.print_json(done)
    else:
        terminal.print_line(
            sanitize(f"command {done['name']} is {'enabled' if on else 'disabled'}")
        )


@command("remove")
@_name
@pass_session
def remove(session: Session, name: str) -> None:
    """Remove a command. Jobs that are over stay in the list."""
    session.client().delete(command_path(name))
    terminal.print_line(sanitize(f"command {name} removed"))


command_group = click.Group(
    "command",
    commands=[
        definitions.add,
        list_,
        show,
        definitions.edit,
        enable,
        disable,
        definitions.export,
        definitions.import_,
        remove,
    ],
    no_args_is_help=True,
    help="Define commands: what jobs run.",
)
