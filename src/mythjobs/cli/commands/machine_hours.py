"""`mythjobs machine open`, `close`, `hours` and `dead`: what an owner says once."""

from __future__ import annotations

from typing import Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.asking import confirm, yes_option
from mythjobs.cli.commands.machine_settings import machine_argument
from mythjobs.cli.options import DURATION, INSTANT
from mythjobs.cli.session import COMMAND, TEXT, Session, command, json_option, pass_session
from mythjobs.cli.texts import sanitize
from mythjobs.cli.times import format_short_time
from mythjobs.client.client import Json
from mythjobs.client.paths import machine_path

_OPEN: Final = """Examples:
  mythjobs machine open attic --until 23:00
  mythjobs machine open attic transcode-h264 --for 2h"""
_CLOSE: Final = """Examples:
  mythjobs machine close attic --for 2h
  mythjobs machine close attic transcode-h264 --until "2026-11-03 22:00\""""
_command_argument = click.argument("of", metavar="[COMMAND]", type=COMMAND, required=False)
_until_option = click.option(
    "--until", "until_ms", type=INSTANT, metavar="TIME", help="Until when."
)
_for_option = click.option(
    "--for", "for_s", type=DURATION, metavar="DURATION", help="For how long."
)


@command("open", epilog=_OPEN)
@machine_argument
@_command_argument
@_until_option
@_for_option
@json_option
@pass_session
def open_(
    session: Session,
    machine: str,
    of: str | None,
    until_ms: int | None,
    for_s: float | None,
    as_json: bool,
) -> None:
    """Let a machine run jobs until then, whatever its windows say.

    All jobs, or those of one command.
    """
    _set_override(session, machine, "allow", of, _parse_end_ms(until_ms, for_s), as_json)


@command("close", epilog=_CLOSE)
@machine_argument
@_command_argument
@_until_option
@_for_option
@json_option
@pass_session
def close(
    session: Session,
    machine: str,
    of: str | None,
    until_ms: int | None,
    for_s: float | None,
    as_json: bool,
) -> None:
    """Let a machine run no jobs until then, whatever its windows say.

    None at all, or none of one command. What runs is treated as when its window closes:
    finished, frozen, run again later or ended, as its command or the machine says.
    """
    _set_override(session, machine, "pause", of, _parse_end_ms(until_ms, for_s), as_json)


@command("hours", epilog="Example:\n  mythjobs machine hours attic transcode-h264")
@machine_argument
@_command_argument
@json_option
@pass_session
def hours(session: Session, machine: str, of: str | None, as_json: bool) -> None:
    """Take back `open` or `close`: the usual hours hold again."""
    _set_override(session, machine, "hours", of, None, as_json)


def _parse_end_ms(until_ms: int | None, for_s: float | None) -> int:
    if (until_ms is None) == (for_s is None):
        raise click.UsageError("give either --until or --for", click.get_current_context())
    if until_ms is not None:
        return until_ms
    assert for_s is not None
    return clock.master_now().wall_ms + round(1000 * for_s)


def _set_override(
    session: Session, machine: str, kind: str, of: str | None, until_ms: int | None, as_json: bool
) -> None:
    body: Json = {"kind": kind, "command": of, "until_ms": until_ms}
    found = session.client().post(f"{machine_path(machine)}/hours", body)
    if as_json:
        terminal.print_json(found)
        return
    what = of or "every command"
    if until_ms is None:
        terminal.print_line(sanitize(f"{machine} keeps its usual hours for {what}"))
        return
    word = "open" if kind == "allow" else "closed"
    when = format_short_time(until_ms, clock.master_now().wall_ms)
    terminal.print_line(
        sanitize(f"{machine} is {word} for {what} until {when}, whatever its windows say")
    )


@command(
    "dead", epilog='Example:\n  mythjobs machine dead attic --reason "its power supply burned"'
)
@machine_argument
@click.option("--reason", type=TEXT, required=True, help="How you know; kept with its jobs.")
@yes_option
@json_option
@pass_session
def dead(session: Session, machine: str, reason: str, yes: bool, as_json: bool) -> None:
    """Declare that a machine is gone and runs nothing any more.

    Its jobs are treated as lost at once, and most of them begun again elsewhere. If it does
    still run them, they run twice.
    """
    client = session.client()
    found = client.get(machine_path(machine))
    jobs = "1 job" if found["leased"] == 1 else f"{found['leased']} jobs"
    confirm(f"{machine} has {jobs}, which may be begun again elsewhere", yes)
    done = client.post(f"{machine_path(machine)}/dead", {"reason": reason})
    if as_json:
        terminal.print_json(done)
        return
    ids = ", ".join(map(str, done["jobs"]))
    terminal.print_line(
        sanitize(f"{machine} is declared dead" + (f"; it had jobs {ids}" if ids else ""))
    )
