"""`mythjobs machine drain`, `pause` and `resume`: stop a machine from working, for now."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.options import DURATION, INSTANT, MACHINE
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.times import format_short_time
from mythjobs.cli.waiting import RetryWindow
from mythjobs.client.api_paths import machine_path
from mythjobs.client.client import Json

_DRAIN_EXAMPLES: Final = """Examples:
  mythjobs machine drain attic
  mythjobs machine drain attic --wait && ssh attic reboot"""
_PAUSE_EXAMPLES: Final = """Examples:
  mythjobs machine pause attic                 (until `mythjobs machine resume attic`)
  mythjobs machine pause attic --for 30m
  mythjobs machine pause attic until 07:00"""
_POLL_S: Final = 1.0
_machine_argument = click.argument("machine", type=MACHINE)


@command("drain", epilog=_DRAIN_EXAMPLES)
@_machine_argument
@click.option("--wait", "is_waiting", is_flag=True, help="Return when the machine has no job left.")
@json_option
@pass_session
def drain(session: Session, machine: str, is_waiting: bool, as_json: bool) -> int:
    """Let a machine start no more jobs; those that run continue to their end.

    Lasts until `mythjobs machine resume`, also over restarts. Jobs granted to the machine that have
    not started run elsewhere. With --wait it exits with 1 if the machine is resumed meanwhile.
    """
    found = _post(session, machine, {"action": "drain"})
    if not as_json:
        _print_drain(found)
    if is_waiting:
        found = _wait_until_empty(session, machine, found)
    is_resumed = is_waiting and not found["control"]["drained"]
    if as_json:
        terminal.print_json(found)
    elif is_resumed:
        terminal.print_message(f"{machine} was resumed meanwhile: it is not drained any more")
    elif is_waiting:
        terminal.print_line(f"{machine} has no job left")
    return int(is_resumed)


def _print_drain(found: Json) -> None:
    name = found["name"]
    left = _count_jobs(found["leased"]) + " left to finish" if found["leased"] else "no job left"
    terminal.print_line(f"{name} is drained: it starts no jobs, {left}")
    if found["control"]["paused"] and found["leased"]:
        terminal.print_message(
            f"{name} is also paused: its jobs finish after `mythjobs machine resume {name}`, or "
            "when the pause ends"
        )
    if found["state"] == "away" and found["leased"]:
        terminal.print_message(f"{name} is not connected: the master does not know if they run")


def _wait_until_empty(session: Session, machine: str, found: Json) -> Json:
    retry = RetryWindow(session)
    while found["leased"] and found["control"]["drained"]:
        time.sleep(_POLL_S)
        found = retry.call(lambda client: client.get(machine_path(machine)))
    return found


@command("pause", epilog=_PAUSE_EXAMPLES)
@_machine_argument
@click.argument("when", metavar="[for DURATION|until TIME]", nargs=-1)
@click.option("--for", "for_s", type=DURATION, metavar="DURATION", help="Duration.")
@click.option("--until", "until_ms", type=INSTANT, metavar="TIME", help="End.")
@json_option
@pass_session
def pause(
    session: Session,
    machine: str,
    when: tuple[str, ...],
    for_s: float | None,
    until_ms: int | None,
    as_json: bool,
) -> None:
    """Freeze all jobs of a machine at once, and let it start none.

    Lasts until DURATION has passed, TIME, or `mythjobs machine resume`, also over restarts and
    while the machine does not reach the master. The jobs keep their memory and their slots, and
    continue where they were; their time limits are suspended. No job counts as lost. To close only
    the run windows, with the closing policy of each command, use `mythjobs machine close`.
    """
    if when:
        if for_s is not None or until_ms is not None:
            raise click.UsageError(
                "give the end of the pause only once", click.get_current_context()
            )
        for_s, until_ms = _parse_when(when)
    if for_s is not None and until_ms is not None:
        raise click.UsageError("give either --for or --until", click.get_current_context())
    now_ms = clock.master_now().wall_ms
    if for_s is not None:
        until_ms = now_ms + round(1000 * for_s)
    found = _post(session, machine, {"action": "pause", "until_ms": until_ms})
    if as_json:
        terminal.print_json(found)
        return
    end = "" if until_ms is None else f" until {format_short_time(until_ms, now_ms)}"
    jobs = f"; freezing {_count_jobs(found['leased'])}" if found["leased"] else ""
    terminal.print_line(f"{machine} is paused{end}{jobs}")
    if found["state"] == "away":
        terminal.print_message(f"{machine} is not connected: it learns that when it is again")
    elif not found["control"]["enforced"] and found["leased"]:
        terminal.print_message(
            f"the agent of {machine} is an older version, which cannot pause: its jobs run on"
        )


def _parse_when(when: tuple[str, ...]) -> tuple[float | None, int | None]:
    """Return (duration in seconds, end) as in `for 30m` or `until 07:00`; one of them is None."""
    context = click.get_current_context()
    word, text = when[0], " ".join(when[1:])
    if word == "for" and text:
        return DURATION.convert(text, None, context), None
    if word == "until" and text:
        return None, INSTANT.convert(text, None, context)
    raise click.UsageError("the end is `for DURATION` or `until TIME`, like `for 30m`", context)


@command("resume", epilog="Example:\n  mythjobs machine resume attic")
@_machine_argument
@json_option
@pass_session
def resume(session: Session, machine: str, as_json: bool) -> None:
    """End `drain` and `pause`: the machine works again.

    Jobs that a user has paused one by one stay paused (`mythjobs resume JOB`), and run windows,
    also those of `machine close`, apply as before.
    """
    found = _post(session, machine, {"action": "resume"})
    if as_json:
        terminal.print_json(found)
        return
    terminal.print_line(f"{machine} is resumed: neither drained nor paused")


def _post(session: Session, machine: str, body: Json) -> Any:
    return session.client().post(f"{machine_path(machine)}/control", body)


def _count_jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
