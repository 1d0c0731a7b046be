"""`mythjobs what-if`: a replay of the last week's jobs under changed settings."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any, Final

import click

from mythjobs import clock
from mythjobs.cli import terminal
from mythjobs.cli.files import definition_file
from mythjobs.cli.files.toml_lines import find_line
from mythjobs.cli.options import IntegerType
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.cli.times import format_short_time, format_time
from mythjobs.client.client import Json
from mythjobs.errors import DefinitionError
from mythjobs.model.units import humanize_duration

_KEYS: Final = ("machines", "commands", "semaphores")
_EXAMPLE: Final = """Example, with this file night.toml:

  [machines.attic]
  jobs = 1
  windows = { open = ["22:00-06:00"], closing = "freeze" }

  [commands.transcode-h264]
  limits = { wall = "4h" }

  mythjobs what-if night.toml"""


@command("what-if", epilog=_EXAMPLE)
@click.argument("file", type=click.Path(allow_dash=True))
@click.option(
    "--limit", default=20, show_default=True, type=IntegerType(min=0), metavar="N",
    help="Show at most N of the jobs whose times differ.",
)  # fmt: skip
@json_option
@pass_session
def what_if(session: Session, file: str, limit: int, as_json: bool) -> None:
    """Replay the last week's jobs under changed settings.

    The jobs are also replayed under the present settings, for comparison. FILE has
    [machines.NAME] and [commands.NAME] with the keys to change, as in a machine policy or a
    definition, and [semaphores]. Nothing is changed. Every job takes as long as it did.
    """
    text = definition_file.read_text(file)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DefinitionError("", definition_file.describe_syntax_error(str(error), file)) from None
    unknown = [each for each in table if each not in _KEYS]
    if unknown:
        line = find_line(text, unknown[0])
        place = f"{file} line {line}" if line else file
        raise DefinitionError(
            "", f"{place}: unknown key {unknown[0]}; known are {', '.join(_KEYS)}"
        )
    try:
        found = session.client().post("what-if", table, timeout_s=None)
    except DefinitionError as error:
        line = find_line(text, error.sentence.partition(": ")[0])
        place = f"{file} line {line}" if line else file
        raise DefinitionError("", f"{place}: {error.sentence}") from None
    if as_json:
        terminal.print_json(found)
        return
    terminal.print_line(f"{found['jobs']} jobs since {format_time(found['since_ms'])}")
    _print_commands(found["commands"])
    _print_changed(found["changed"], limit)


def _print_commands(commands: list[Json]) -> None:
    if not commands:
        return
    now_ms = clock.master_now().wall_ms
    rows = [
        (each["command"], each["jobs"], settings, *_format_sums(each[key], now_ms))
        for each in commands
        for settings, key in (("present", "now"), ("changed", "then"))
    ]
    terminal.print_line()
    headings = ("command", "jobs", "settings", "mean wait", "last end", "not completed")
    terminal.print_table(headings, rows, ("jobs",))


def _format_sums(sums: Json, now_ms: int) -> Iterator[str]:
    yield "" if sums["mean_wait_s"] is None else humanize_duration(sums["mean_wait_s"])
    yield format_short_time(sums["last_end_ms"], now_ms)
    yield _format_lost(sums)


def _format_lost(sums: Json) -> str:
    parts = [f"{sums['never']} never" if sums["never"] else ""]
    parts.append(f"{sums['cut']} cut" if sums["cut"] else "")
    return ", ".join(part for part in parts if part)


def _print_changed(changed: list[dict[str, Any]], limit: int) -> None:
    terminal.print_line()
    if not changed:
        terminal.print_line("no job would have run at another time or place")
        return
    rows = [
        (each["id"], each["command"], *_format_runs(each["now"], each["then"])) for each in changed
    ]
    if limit:
        terminal.print_table(("job", "command", "present", "changed"), rows[:limit], ("job",))
    if len(rows) > limit:
        terminal.print_line(f"{len(rows) - limit} more differ; see --limit and --json")


def _format_runs(now: Json, then: Json) -> tuple[str, str]:
    """Return two runs as texts that differ: with seconds if they are alike to the minute."""
    present, changed = _format_run(now, 16), _format_run(then, 16)
    if present == changed:
        return _format_run(now, 19), _format_run(then, 19)
    return present, changed


def _format_run(run: Json, length: int) -> str:
    """Return machine, start and end of a run: `attic 2026-11-03 22:00 to 23:10`.

    length: letters of a time that are shown.
    """
    if run["start_ms"] is None:
        return "never"
    start, end = format_time(run["start_ms"])[:length], format_time(run["end_ms"])[:length]
    end = end[11:] if end[:10] == start[:10] else end
    cut = ", cut short" if run["cut"] else ""
    return f"{run['machine']} {start} to {end or 'never'}{cut}"
