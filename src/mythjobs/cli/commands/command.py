"""`mythjobs command`: the commands that jobs run; looking at them, and on and off."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import click

from mythjobs.cli import terminal
from mythjobs.cli.commands import definitions
from mythjobs.cli.files.toml_text import toml_text
from mythjobs.cli.session import COMMAND, Session, as_json, command, pass_session
from mythjobs.cli.texts import clean
from mythjobs.cli.times import say_time
from mythjobs.client.client import Json
from mythjobs.client.paths import of_command
from mythjobs.model.units import humanize_duration, humanize_size

_SHOW: Final = """Examples:
  mythjobs command show transcode-h264
  mythjobs command show transcode-h264 --revisions
  mythjobs command show transcode-h264 --revision 2"""
_name = click.argument("name", type=COMMAND)


@command("list")
@as_json
@pass_session
def list_(session: Session, as_json: bool) -> None:
    """List the commands."""
    found = session.client().get("commands")["commands"]
    if as_json:
        terminal.say_json(found)
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
    terminal.table(("command", "revision", "", "parameters", "summary"), rows, ("revision",))


@command("show", epilog=_SHOW)
@_name
@click.option("--revisions", is_flag=True, help="List its revisions instead, the newest first.")
@click.option("--revision", type=click.IntRange(min=1), metavar="N", help="Show an older one.")
@as_json
@pass_session
def show(session: Session, name: str, revisions: bool, revision: int | None, as_json: bool) -> None:
    """Show a definition, and what its last jobs were like.

    As TOML that `command add` takes.
    """
    client = session.client()
    if revisions:
        if revision is not None:
            raise click.UsageError("--revisions lists all; leave --revision out")
        _revisions(client.get(f"{of_command(name)}/revisions")["revisions"], as_json)
        return
    found = client.get(of_command(name), {"revision": revision, "statistics": True})
    if as_json:
        terminal.say_json(found)
        return
    for line in _remarks(found):
        terminal.say(clean(f"# {line}"))
    # Control characters stand escaped in it, as TOML demands.
    print(toml_text(found["definition"]), end="")


def _revisions(found: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        terminal.say_json(found)
        return
    rows = [(each["revision"], say_time(each["created_ms"])) for each in found]
    terminal.table(("revision", "made"), rows, ("revision",))


def _remarks(found: Json) -> Iterator[str]:
    disabled = "" if found["enabled"] else ", disabled: none of its jobs starts"
    yield f"revision {found['revision']} of {say_time(found['revised_ms'])}{disabled}"
    if found["put_off_ms"] is not None:
        why = f": {found['put_off_reason']}" if found["put_off_reason"] else ""
        yield f"put off until {say_time(found['put_off_ms'])}{why}"
    yield from _statistics(found["statistics"])


def _statistics(of: Json) -> Iterator[str]:
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
@as_json
@pass_session
def enable(session: Session, name: str, as_json: bool) -> None:
    """Let jobs of a command start again.

    At once, also where it was put off.
    """
    _switch(session, name, True, as_json)


@command("disable", epilog="Example:\n  mythjobs command disable transcode-h264")
@_name
@as_json
@pass_session
def disable(session: Session, name: str, as_json: bool) -> None:
    """Let no job of a command start. Those that run go on, and new ones are taken in and wait."""
    _switch(session, name, False, as_json)


def _switch(session: Session, name: str, on: bool, as_json: bool) -> None:
    done = session.client().post(f"{of_command(name)}/enabled", {"on": on})
    if as_json:
        terminal.say_json(done)
    else:
        terminal.say(clean(f"command {done['name']} is {'enabled' if on else 'disabled'}"))


@command("remove")
@_name
@pass_session
def remove(session: Session, name: str) -> None:
    """Remove a command. Jobs that are over stay in the list."""
    session.client().delete(of_command(name))
    terminal.say(clean(f"command {name} removed"))


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
