"""`mythjobs schedules` and `mythjobs schedule`: jobs that are submitted by the calendar."""

from __future__ import annotations

from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.commands import schedule_files
from mythjobs.cli.options import (
    DURATION,
    INSTANT,
    PAST,
    SCHEDULE,
    TEXT,
    IntegerType,
    find_end_ms,
)
from mythjobs.cli.session import Session, command, json_option, pass_session, yes_option
from mythjobs.cli.terminal import Cell
from mythjobs.cli.times import format_end_time, format_short_time, format_time_left
from mythjobs.client.api_paths import schedule_path
from mythjobs.client.client import Json
from mythjobs.model.units import humanize_duration

_PAUSE_EXAMPLES: Final = """Examples:
  mythjobs schedule pause nightly-backup --for 3d --reason "the NAS is away"
  mythjobs schedule pause nightly-backup"""
_BACKFILL_EXAMPLES: Final = """Examples:
  mythjobs schedule backfill nightly-backup yesterday
  mythjobs schedule backfill nightly-backup 12h          (the last twelve hours)
  mythjobs schedule backfill nightly-backup "2026-11-01 12:00" 2026-11-08 --yes"""
_name = click.argument("name", type=SCHEDULE)


@command("schedules")
@json_option
@pass_session
def schedules(session: Session, as_json: bool) -> None:
    """List the schedules: next run, last run, interval."""
    found = session.client().get("schedules")["schedules"]
    if as_json:
        terminal.print_json(found)
        return
    now_ms = clock.master_now().wall_ms
    rows = [
        (
            each["name"],
            each["command"],
            each["when"],
            _describe_next(each, now_ms),
            _describe_last(each, now_ms),
            each["cadence"]["sentence"] if each["cadence"] else "",
        )
        for each in found
    ]
    headings = ("schedule", "command", "when", "next run", "last run", "interval")
    terminal.print_table(headings, rows)
    if not found:
        terminal.print_message("there are no schedules; see `mythjobs schedule add --help`")


def _describe_next(of: Json, now_ms: int) -> Cell:
    if of["error"]:
        return Cell(f"never: {of['error']}", "failed")
    if of["paused"] and of["next_ms"] is None:
        why = f": {of['pause_reason']}" if of["pause_reason"] else ""
        return Cell(f"paused{why}", "disabled")
    if of["next_ms"] is None:
        return Cell("never")
    left = format_time_left(of["next_ms"], now_ms)
    paused = ""
    if of["paused"]:
        paused = f", paused until {format_end_time(of['paused_until_ms'], now_ms)}"
    return Cell(f"{of['next_local']}, in {left}{paused}", "disabled" if paused else "")


def _describe_last(of: Json, now_ms: int) -> Cell:
    last = of["last"]
    if last is None:
        return Cell("")
    times = f" {last['ticks']} times" if last["ticks"] > 1 else ""
    text = f"{last['outcome']}{times} {format_short_time(last['last_ms'], now_ms)}"
    return Cell(text, last["outcome"])


@command("show", epilog="Example:\n  mythjobs schedule show nightly-backup")
@_name
@click.option("--ticks", type=IntegerType(0, 1000), default=10, metavar="N",
              help="Number of past ticks. Default: 10.")  # fmt: skip
@click.option("--next", "coming", type=IntegerType(0, 1000), default=5, metavar="N",
              help="Number of coming runs. Default: 5.")  # fmt: skip
@click.option("--definition", is_flag=True, help="Show the definition, as `schedule add` reads it.")
@json_option
@pass_session
def show(
    session: Session, name: str, ticks: int, coming: int, definition: bool, as_json: bool
) -> None:
    """Show a schedule's next runs, and its last ticks with what became of each."""
    found = session.client().get(schedule_path(name), {"ticks": ticks, "next": coming})
    if as_json:
        terminal.print_json(found)
        return
    if definition:
        from mythjobs.cli.files.toml_text import format_toml

        print(format_toml(found["definition"]), end="")
        return
    origin = "" if found["is_own_zone"] else " (the master's)"
    cadence = found["cadence"]
    terminal.print_fields(
        [
            ("schedule", f"{found['name']}: {found['summary']}".removesuffix(": ")),
            ("command", found["command"]),
            ("when", found["when"]),
            ("time zone", f"{found['zone']}{origin}"),
            ("where", found["where"]),
            ("paused", _describe_pause(found)),
            ("error", found["error"]),
            ("jobs", ", ".join(map(str, found["jobs"]))),
            ("interval", cadence["sentence"] if cadence else ""),
        ]
    )
    if coming:
        terminal.print_line("next runs")
        schedule_files.print_runs(found["next"])
    if found["ticks"]:
        terminal.print_line()
        _print_ticks(found["ticks"])


def _describe_pause(found: Json) -> str:
    if not found["paused"]:
        return ""
    until = "until it is resumed"
    if found["paused_until_ms"] is not None:
        until = f"until {format_end_time(found['paused_until_ms'], clock.master_now().wall_ms)}"
    return until + (f": {found['pause_reason']}" if found["pause_reason"] else "")


def _print_ticks(ticks: list[Json]) -> None:
    rows = []
    for each in ticks:
        is_now = each["ticks"] == 0
        rows.append(
            (
                each["local"] + (f" and {each['ticks'] - 1} more" if each["ticks"] > 1 else ""),
                Cell(each["outcome"], each["outcome"]),
                each["machine"],
                "" if each["job"] is None else each["job"],
                "" if is_now else _format_span(each["at_ms"], each["started_ms"]),
                _format_span(each["started_ms"], each["ended_ms"]),
                each["reason"],
            )
        )
    headings = ("tick", "outcome", "machine", "job", "waited", "ran", "reason")
    terminal.print_table(headings, rows, ("job", "waited", "ran"))


def _format_span(from_ms: int | None, to_ms: int | None) -> str:
    if from_ms is None or to_ms is None:
        return ""
    return humanize_duration(max(0, to_ms - from_ms) / 1000)


@command("run", epilog="Example:\n  mythjobs schedule run nightly-backup")
@_name
@json_option
@pass_session
def run(session: Session, name: str, as_json: bool) -> None:
    """Submit a job of a schedule now. The calendar does not change."""
    done = session.client().post(f"{schedule_path(name)}/run", {})
    if as_json:
        terminal.print_json(done)
        return
    for each in done["jobs"]:
        terminal.print_line(f"job {each} submitted; follow it with `mythjobs log {each} -f`")


@command("pause", epilog=_PAUSE_EXAMPLES)
@_name
@click.option("--until", "until_ms", type=INSTANT, metavar="TIME", help="End of the pause.")
@click.option("--for", "for_s", type=DURATION, metavar="DURATION", help="Duration of the pause.")
@click.option("--reason", type=TEXT, default="", help="Why; shown with the schedule.")
@json_option
@pass_session
def pause(
    session: Session,
    name: str,
    until_ms: int | None,
    for_s: float | None,
    reason: str,
    as_json: bool,
) -> None:
    """Submit no jobs of a schedule for some time, or until `schedule resume`.

    Jobs that were submitted before are not affected.
    """
    until_ms = find_end_ms(for_s, until_ms)
    _set_paused(session, name, {"on": True, "until_ms": until_ms, "reason": reason}, as_json)


@command("resume", epilog="Example:\n  mythjobs schedule resume nightly-backup")
@_name
@json_option
@pass_session
def resume(session: Session, name: str, as_json: bool) -> None:
    """End the pause of a schedule. Ticks during the pause stay skipped; see `backfill`."""
    _set_paused(session, name, {"on": False}, as_json)


def _set_paused(session: Session, name: str, body: Json, as_json: bool) -> None:
    done = session.client().post(f"{schedule_path(name)}/paused", body)
    if as_json:
        terminal.print_json(done)
        return
    until = "until `mythjobs schedule resume`"
    if body.get("until_ms") is not None:
        until = f"until {format_end_time(body['until_ms'], clock.master_now().wall_ms)}"
    terminal.print_line(f"schedule {name} is {f'paused {until}' if done['paused'] else 'active'}")


@command("backfill", epilog=_BACKFILL_EXAMPLES)
@_name
@click.argument("from_ms", metavar="FROM", type=PAST)
@click.argument("to_ms", metavar="[TO]", type=PAST, required=False)
@click.option("--dry-run", is_flag=True, help="Only list the ticks.")
@yes_option
@json_option
@pass_session
def backfill(
    session: Session,
    name: str,
    from_ms: int,
    to_ms: int | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    """Submit jobs for the past ticks from FROM to TO (default: now) that have none.

    A time is like 2h (ago), 06:00 (the last), yesterday, or 2026-11-03 22:00. Lists the ticks first
    and asks. The jobs run one after the other.
    """
    client = session.client()
    path = f"{schedule_path(name)}/backfill"
    end_ms = clock.master_now().wall_ms if to_ms is None else to_ms
    body: Json = {"from_ms": from_ms, "to_ms": end_ms, "dry_run": True}
    plan = client.post(path, body)
    missing = sum(each["outcome"] == "to submit" for each in plan["ticks"])
    if not dry_run and missing:
        if not as_json:
            _print_backfill(plan)
        terminal.confirm(f"{missing} job{'' if missing == 1 else 's'} would be submitted", yes)
        plan = client.post(path, body | {"dry_run": False})
    if as_json:
        terminal.print_json(plan)
        return
    if dry_run or not missing:
        _print_backfill(plan)
        if not missing:
            terminal.print_line("each of these ticks has a job; nothing to submit")
        return
    done = [each for each in plan["ticks"] if each["outcome"] == "submitted"]
    refused = [each for each in plan["ticks"] if each["outcome"] == "refused"]
    if done:
        first, last = done[0]["job"], done[-1]["job"]
        jobs = f"job {first}" if len(done) == 1 else f"{len(done)} jobs, {first} to {last},"
        terminal.print_line(f"{jobs} submitted")
    for each in refused:
        terminal.print_message(f"{each['local']}: {each['reason']}")


def _print_backfill(plan: Json) -> None:
    rows: list[tuple[Any, ...]] = [
        (
            each["local"],
            f"job {each['job']}" if each["outcome"] == "ran" else each["outcome"],
        )
        for each in plan["ticks"]
    ]
    terminal.print_table(("tick", "state"), rows)


@command("remove", epilog="Example:\n  mythjobs schedule remove nightly-backup")
@_name
@yes_option
@json_option
@pass_session
def remove(session: Session, name: str, yes: bool, as_json: bool) -> None:
    """Remove a schedule and the record of its ticks. Its jobs stay."""
    client = session.client()
    found = client.get(schedule_path(name), {"ticks": 0, "next": 0})
    terminal.confirm(f"schedule {found['name']} ({found['when']}) would be removed", yes)
    removed = client.delete(schedule_path(name))
    if as_json:
        terminal.print_json(removed)
        return
    terminal.print_line(f"schedule {name} removed")


schedule_group = click.Group(
    "schedule",
    commands=[
        schedule_files.add,
        show,
        run,
        pause,
        resume,
        backfill,
        schedule_files.edit,
        schedule_files.test,
        remove,
    ],
    no_args_is_help=True,
    help="Submit jobs by the calendar: backups at night, scrubs once a month.",
)
