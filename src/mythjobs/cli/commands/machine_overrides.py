"""`mythjobs machine open`, `close` and `hours`: one-off overrides of a machine's run windows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.options import COMMAND, DURATION, INSTANT, MACHINE, find_end_ms
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.times import format_end_time
from mythjobs.client.api_paths import machine_path
from mythjobs.client.client import Json

_OPEN_EXAMPLES: Final = """Examples:
  mythjobs machine open attic --until 23:00
  mythjobs machine open attic transcode-h264 --for 2h"""
_CLOSE_EXAMPLES: Final = """Examples:
  mythjobs machine close attic --for 2h
  mythjobs machine close attic transcode-h264 --until "2026-11-03 22:00\""""
_machine_argument = click.argument("machine", type=MACHINE)
_command_argument = click.argument("of", metavar="[COMMAND]", type=COMMAND, required=False)


def _override_options(function: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        pass_session,
        json_option,
        click.option("--for", "for_s", type=DURATION, metavar="DURATION", help="Duration."),
        click.option("--until", "until_ms", type=INSTANT, metavar="TIME", help="End."),
        _command_argument,
        _machine_argument,
    ):
        function = option(function)
    return function


@command("open", epilog=_OPEN_EXAMPLES)
@_override_options
def open_(session: Session, /, until_ms: int | None, for_s: float | None, **given: Any) -> None:
    """Let a machine run jobs for some time, outside its run windows.

    Applies to all jobs, or to those of one command.
    """
    _set_override(session, "allow", _compute_end_ms(until_ms, for_s), **given)


@command("close", epilog=_CLOSE_EXAMPLES)
@_override_options
def close(session: Session, /, until_ms: int | None, for_s: float | None, **given: Any) -> None:
    """Let a machine start no jobs for some time, inside its run windows.

    Applies to all jobs, or to those of one command. Running jobs are treated as at the end of a run
    window: the closing policy finishes, freezes, requeues or terminates them. To stop everything
    at once, use `mythjobs machine pause`.
    """
    _set_override(session, "pause", _compute_end_ms(until_ms, for_s), **given)


@command("hours", epilog="Example:\n  mythjobs machine hours attic transcode-h264")
@_machine_argument
@_command_argument
@json_option
@pass_session
def hours(session: Session, /, **given: Any) -> None:
    """End `open` or `close`: the run windows apply again."""
    _set_override(session, "hours", None, **given)


def _compute_end_ms(until_ms: int | None, for_s: float | None) -> int:
    if (until_ms is None) == (for_s is None):
        raise click.UsageError("give either --until or --for", click.get_current_context())
    end_ms = find_end_ms(for_s, until_ms)
    assert end_ms is not None
    return end_ms


def _set_override(
    session: Session,
    kind: str,
    until_ms: int | None,
    *,
    machine: str,
    of: str | None,
    as_json: bool,
) -> None:
    body: Json = {"kind": kind, "command": of, "until_ms": until_ms}
    found = session.client().post(f"{machine_path(machine)}/hours", body)
    if as_json:
        terminal.print_json(found)
        return
    commands = of or "every command"
    if until_ms is None:
        terminal.print_line(f"{machine} uses its run windows for {commands}")
        return
    state = "open" if kind == "allow" else "closed"
    end = format_end_time(until_ms, clock.master_now().wall_ms)
    terminal.print_line(
        f"{machine} is {state} for {commands} until {end}, regardless of run windows"
    )
    if kind == "allow" and "windows" in found["own_policy"]:
        terminal.print_message(
            f"but not of those in the policy file on {machine} itself, which always apply"
        )
