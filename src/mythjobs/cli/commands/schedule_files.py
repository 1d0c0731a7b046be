"""`mythjobs schedule add`, `edit` and `test`: definitions of schedules."""

from __future__ import annotations

from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.files import definition_file
from mythjobs.cli.options import (
    COMMAND,
    MACHINE,
    PARAMETER,
    SCHEDULE,
    TEXT,
    IntegerType,
    refuse_duplicates,
)
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.times import format_time_left
from mythjobs.client.api_paths import schedule_path
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest, Conflict, DefinitionError
from mythjobs.model.contradictions import new_schedule_from_table
from mythjobs.model.schedule import CATCH_UP, DST, OVERLAP

_EXAMPLES: Final = """Examples:
  mythjobs schedule add nightly-backup.toml
  mythjobs schedule add nightly-backup --command backup --cron "30 2 * * *"
  mythjobs schedule add guide --command mythfilldatabase --between "02:00-05:00"
  mythjobs schedule add scrub --command scrub --cron "0 3 1 * *" --param pool=tank --dry-run"""
_TEST_EXAMPLES: Final = """Examples:
  mythjobs schedule test "30 2 * * *"
  mythjobs schedule test "0 9 * * mon#1" --zone America/New_York"""
# Options of `schedule add` that are keys of a definition, in its order.
_KEYS: Final = (
    "command", "summary", "cron", "between", "every", "start", "zone", "where", "dst", "catch_up",
    "overlap", "at_most", "spread", "start_within", "late_after", "priority",
)  # fmt: skip


@command("add", epilog=_EXAMPLES)
@click.argument("name", metavar="FILE|NAME")
@click.option("--command", "command", type=COMMAND, help="The command to run.")
@click.option("--cron", type=TEXT, multiple=True, metavar="CRON",
              help='Minute, hour, day of month, month, day of week: "30 2 * * *", or "@daily". '
              "Repeatable.")  # fmt: skip
@click.option("--between", type=TEXT, metavar="HOURS",
              help='Once a day in these hours: "02:00-05:00", "mon-fri 22:00-06:00".')  # fmt: skip
@click.option("--every", type=TEXT, metavar="DURATION", help='An interval: "6h", "90s".')
@click.option("--start", type=TEXT, metavar="TIME",
              help="With --every: its first run. Default: the last midnight.")  # fmt: skip
@click.option("-p", "--param", "params", multiple=True, type=PARAMETER, metavar="NAME=VALUE",
              callback=refuse_duplicates,
              help="An argument. Paths may be relative to the current directory.")  # fmt: skip
@click.option("--zone", type=TEXT, help="Time zone, like Europe/Berlin. Default: the master's.")
@click.option("--where", type=MACHINE, metavar="MACHINE",
              help='A machine, "any machine" (default) or "each machine".')  # fmt: skip
@click.option("--catch-up", type=click.Choice(CATCH_UP),
              help="Missed runs that are made up for. Default: last.")  # fmt: skip
@click.option("--overlap", type=click.Choice(OVERLAP),
              help="If an earlier job has not ended. Default: skip.")  # fmt: skip
@click.option("--at-most", type=IntegerType(), metavar="N",
              help="With --catch-up all or --overlap queue: number of jobs.")  # fmt: skip
@click.option("--dst", type=click.Choice(DST),
              help="Times that clocks skip or show twice: once, or as clocks show.")  # fmt: skip
@click.option("--spread", type=TEXT, metavar="DURATION",
              help="Start each job up to this much later.")  # fmt: skip
@click.option("--start-within", type=TEXT, metavar="DURATION",
              help="Cancel a job that has not started this long after its start time.")  # fmt: skip
@click.option("--late-after", type=TEXT, metavar="DURATION",
              help="A job not started this long after its start time is late.")  # fmt: skip
@click.option("--priority", type=IntegerType(-100, 100), help="Priority of its jobs.")
@click.option("--summary", type=TEXT, help="What it is for.")
@click.option("--replace", is_flag=True, help="Replace the schedule if it exists.")
@click.option(
    "--paused", is_flag=True, help="A new schedule begins paused, until `schedule resume`."
)
@click.option("--dry-run", is_flag=True, help="Show the next runs; store nothing.")
@json_option
@pass_session
def add(
    session: Session,
    /,
    name: str,
    replace: bool,
    paused: bool,
    dry_run: bool,
    as_json: bool,
    **given: Any,
) -> None:
    """Add a schedule from a TOML file (-: stdin), or from options under a name."""
    client = session.client()
    if given["command"] is None:
        options = [key for key in (*_KEYS, "params") if given[key] not in (None, ())]
        if options:
            option = "--param" if options[0] == "params" else f"--{options[0].replace('_', '-')}"
            raise click.UsageError(
                f"{option} needs --command and a name; a file has its own keys",
                click.get_current_context(),
            )
        table = definition_file.parse_definition(
            definition_file.read_text(name), name, new_schedule_from_table
        )
    else:
        table = _build_table(client, name, given)
    body = {"definition": table, "replace": replace, "dry_run": dry_run, "paused": paused}
    try:
        done = client.post("schedules", body)
    except Conflict as error:
        if "is taken" not in error.sentence:
            raise
        raise Conflict(
            f"schedule {table['name']} exists already; use `mythjobs schedule edit "
            f"{table['name']}`, or add --replace"
        ) from None
    if as_json:
        terminal.print_json(done)
    else:
        _print_defined(done, dry_run=dry_run)


def _build_table(client: Client, name: str, given: dict[str, Any]) -> definition_file.Table:
    from mythjobs.cli.commands.submit import build_defaults

    table: definition_file.Table = {"name": name}
    for key in _KEYS:
        value = given[key]
        if key == "cron":
            value = value[0] if len(value) == 1 else list(value) or None
        if value is not None:
            table[key] = value
    params = given["params"]
    defaults = build_defaults(client, given["command"], params, has_arguments=bool(params))
    if defaults.values:
        table["arguments"] = defaults.values
    try:
        new_schedule_from_table(table, known_zone=False)
    except DefinitionError as error:
        if error.key not in _KEYS:
            raise
        what = error.sentence.removeprefix(f"{error.key}: ")
        raise BadRequest(f"--{error.key.replace('_', '-')}: {what}") from None
    return table


def _print_defined(done: Json, *, dry_run: bool) -> None:
    if dry_run:
        terminal.print_line(f"schedule {done['name']} is valid; its next runs would be")
    elif done["changed"]:
        terminal.print_line(f"schedule {done['name']} stored; its next runs are")
    else:
        terminal.print_line(f"schedule {done['name']} is unchanged; its next runs are")
    print_runs(done["next"])


def print_runs(runs: list[Json]) -> None:
    """Print coming runs, one per line, with what daylight saving does to them."""
    now_ms = clock.master_now().wall_ms
    for each in runs:
        note = f"  ({each['note']})" if each["note"] else ""
        left = format_time_left(each["at_ms"], now_ms)
        terminal.print_line(f"  {each['local']}  in {left}{note}")
    if not runs:
        terminal.print_line("  none")


@command("edit", epilog="Example:\n  EDITOR=nano mythjobs schedule edit nightly-backup")
@click.argument("name", type=SCHEDULE)
@pass_session
def edit(session: Session, name: str) -> None:
    """Edit a schedule's definition in $EDITOR. Jobs that were submitted do not change."""
    from mythjobs.cli.files.editor import edit_table

    client = session.client()

    def store(text: str, path: str) -> Json:
        table = definition_file.parse_definition(text, path, new_schedule_from_table)
        if table["name"] != name:
            raise BadRequest(f"{path}: the name cannot be changed; add a new schedule instead")
        return client.post("schedules", {"definition": table, "replace": True})

    done = edit_table(name, client.get(schedule_path(name))["definition"], store)
    _print_defined(done, dry_run=False)


@command("test", epilog=_TEST_EXAMPLES)
@click.argument("cron", type=TEXT)
@click.option("--zone", type=TEXT, help="Time zone. Default: this machine's.")
@click.option("--dst", type=click.Choice(DST),
              help="Times that clocks skip or show twice: once, or as clocks show.")  # fmt: skip
@click.option("--count", type=IntegerType(1, 1000), default=5, help="Number of runs. Default: 5.")
@json_option
def test(cron: str, zone: str | None, dst: str | None, count: int, as_json: bool) -> None:
    """Show when a cron expression runs next. Needs no master."""
    import os

    from mythjobs.config.time_zone import find_time_zone
    from mythjobs.model.zone import format_zoned_time
    from mythjobs.scheduler.ticks import check_when, next_ticks

    table = {"name": "test", "command": "test", "cron": cron, "zone": zone or ""}
    schedule = check_when(new_schedule_from_table(table | ({"dst": dst} if dst else {})))
    used = zone or find_time_zone(os.environ)
    now_ms = clock.master_now().wall_ms
    runs = [
        {"at_ms": each.at_ms, "local": format_zoned_time(each.at_ms, used), "note": each.note}
        for each in next_ticks(schedule.when, used, now_ms, count)
    ]
    if as_json:
        terminal.print_json(runs)
    else:
        terminal.print_line(f"next runs, time zone {used or 'UTC'}")
        print_runs(runs)
