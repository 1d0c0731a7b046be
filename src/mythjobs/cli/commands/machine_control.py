"""`mythjobs machine drain`, `pause` and `resume`: stop a machine from working, for now."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.options import DURATION, INSTANT, MACHINE, find_end_ms
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.times import format_end_time
from mythjobs.cli.waiting import RetryWindow
from mythjobs.client.api_paths import machine_path
from mythjobs.client.client import Json
from mythjobs.errors import BadRequest

_DRAIN_EXAMPLES: Final = """Examples:
  mythjobs machine drain attic
  mythjobs machine drain attic --wait && ssh attic reboot
  mythjobs machine drain --all --wait          (before a power cut)"""
_PAUSE_EXAMPLES: Final = """Examples:
  mythjobs machine pause attic                 (until `mythjobs machine resume attic`)
  mythjobs machine pause attic --for 30m
  mythjobs machine pause attic until 07:00
  mythjobs machine pause --all --for 2h        (no job runs until then)"""
_POLL_S: Final = 1.0


def _machine_arguments(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument and the option that select one machine or all."""
    all_option = click.option(
        "--all", "is_for_all", is_flag=True, help="Every machine that has joined by now."
    )
    argument = click.argument("machine", metavar="[MACHINE]", type=MACHINE, required=False)
    return argument(all_option(function))


@command("drain", epilog=_DRAIN_EXAMPLES)
@_machine_arguments
@click.option("--wait", "is_waiting", is_flag=True, help="Return when the machine has no job left.")
@json_option
@pass_session
def drain(
    session: Session, machine: str | None, is_for_all: bool, is_waiting: bool, as_json: bool
) -> int:
    """Let a machine start no more jobs; those that run continue to their end.

    Lasts until `mythjobs machine resume`, also over restarts. Jobs granted to the machine that have
    not started run elsewhere. With --wait it exits with 1 if the machine is resumed meanwhile.
    """
    names = _list_names(session, machine, is_for_all)
    drained = _post_each(session, names, {"action": "drain"}, None if as_json else _print_drain)
    code = 0
    if is_waiting:
        # By now all of them start no more jobs, so it does not matter which one is empty first.
        drained = [_wait_until_empty(session, each["name"], each) for each in drained]
        code = int(not all(each["control"]["drained"] for each in drained))
    if as_json:
        _print_json(drained, is_for_all)
    elif is_waiting:
        for each in drained:
            _print_wait(each)
    return code


def _print_wait(found: Json) -> None:
    name = found["name"]
    if found["control"]["drained"]:
        terminal.print_line(f"{name} has no job left")
    else:
        terminal.print_message(f"{name} was resumed meanwhile: it is not drained any more")


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
@_machine_arguments
@click.argument("when", metavar="[for DURATION|until TIME]", nargs=-1)
@click.option("--for", "for_s", type=DURATION, metavar="DURATION", help="Duration.")
@click.option("--until", "until_ms", type=INSTANT, metavar="TIME", help="End.")
@json_option
@pass_session
def pause(
    session: Session,
    machine: str | None,
    is_for_all: bool,
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
    if is_for_all and machine is not None and machine in ("for", "until"):
        when = (machine, *when)  # `pause --all for 30m`
        machine = None
    if when:
        if for_s is not None or until_ms is not None:
            raise click.UsageError(
                "give the end of the pause only once", click.get_current_context()
            )
        for_s, until_ms = _parse_when(when)
    until_ms = find_end_ms(for_s, until_ms)
    now_ms = clock.master_now().wall_ms
    names = _list_names(session, machine, is_for_all)
    report = None if as_json else partial(_print_pause, until_ms=until_ms, now_ms=now_ms)
    paused = _post_each(session, names, {"action": "pause", "until_ms": until_ms}, report)
    if as_json:
        _print_json(paused, is_for_all)


def _print_pause(found: Json, *, until_ms: int | None, now_ms: int) -> None:
    machine = found["name"]
    end = "" if until_ms is None else f" until {format_end_time(until_ms, now_ms)}"
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


@command(
    "resume", epilog="Examples:\n  mythjobs machine resume attic\n  mythjobs machine resume --all"
)
@_machine_arguments
@json_option
@pass_session
def resume(session: Session, machine: str | None, is_for_all: bool, as_json: bool) -> None:
    """End `drain` and `pause`: the machine works again.

    Jobs that a user has paused one by one stay paused (`mythjobs resume JOB`), and run windows,
    also those of `machine close`, apply as before.
    """
    names = _list_names(session, machine, is_for_all)
    resumed = _post_each(session, names, {"action": "resume"}, None if as_json else _print_resume)
    if as_json:
        _print_json(resumed, is_for_all)


def _print_resume(found: Json) -> None:
    terminal.print_line(f"{found['name']} is resumed: neither drained nor paused")


def _list_names(session: Session, machine: str | None, is_for_all: bool) -> list[str]:
    if (machine is None) != is_for_all:
        raise click.UsageError("name a machine, or give --all", click.get_current_context())
    if machine is not None:
        return [machine]
    names = [str(each["name"]) for each in session.client().get("machines")["machines"]]
    if not names:
        raise BadRequest("no machine has joined yet")
    return names


def _print_json(machines: list[Json], is_for_all: bool) -> None:
    """Print a list if all machines were meant, even if there is only one."""
    terminal.print_json(machines if is_for_all else machines[0])


def _post_each(
    session: Session, names: list[str], body: Json, report: Callable[[Json], None] | None
) -> list[Json]:
    """Post an action for each machine and return the answers. Each is reported at once, so that an
    error about a later machine does not hide what was done."""
    answers: list[Json] = []
    for each in names:
        answers.append(session.client().post(f"{machine_path(each)}/control", body))
        if report:
            report(answers[-1])
    return answers


def _count_jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"
