"""`mythjobs command test-progress`: what a progress setting recognizes in a program's output."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import click

from mythjobs.cli import terminal
from mythjobs.cli.options import COMMAND, TEXT
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.api_paths import command_path
from mythjobs.errors import BadRequest
from mythjobs.model.progress import PRESETS, STATUS, ProgressReader, check_regex
from mythjobs.model.progress_formats import Reading
from mythjobs.model.units import humanize_duration

_EXAMPLES: Final = """Examples:
  ffmpeg -i in.ts out.mp4 >output.txt 2>&1; mythjobs command test-progress output.txt
  mythjobs command test-progress output.txt --preset ffmpeg
  mythjobs command test-progress output.txt --regex 'frame (?P<done>\\d+)/(?P<total>\\d+)'
  mythjobs log 42 | mythjobs command test-progress - --command resize"""
_REDRAWN: Final = re.compile(rb"[^\r]*\r|[^\r]+")
# Exit code if nothing was recognized.
NOTHING_FOUND: Final = 1


class Found(NamedTuple):
    """A report in the output. line: number of its line, counted by line feeds from 1."""

    line: int
    reading: Reading


class Result(NamedTuple):
    """What one setting recognizes. falls: lines whose percentage is below the one before."""

    setting: str
    found: Sequence[Found]
    falls: Sequence[int]

    @property
    def percents(self) -> list[float]:
        return [each.reading.percent for each in self.found if each.reading.percent is not None]


@command("test-progress", epilog=_EXAMPLES)
@click.argument("file", type=click.File("rb"))
@click.option(
    "--preset",
    type=click.Choice([each for each in PRESETS if each != STATUS]),
    metavar="NAME",
    help="Try this preset: " + ", ".join(each for each in PRESETS if each != STATUS) + ".",
)
@click.option("--regex", type=TEXT, help="Try this regular expression.")
@click.option("--command", "of", type=COMMAND, metavar="NAME", help="Try the setting of a command.")
@json_option
@pass_session
def test_progress(
    session: Session,
    file: BinaryIO,
    preset: str | None,
    regex: str | None,
    of: str | None,
    as_json: bool,
) -> int:
    """Show which progress a setting recognizes in a program's output (FILE, -: stdin).

    Without an option, all presets are tried. The exit code is 1 if nothing is recognized.
    """
    if sum(each is not None for each in (preset, regex, of)) > 1:
        raise click.UsageError(
            "give one of --preset, --regex and --command", click.get_current_context()
        )
    setting = preset
    if regex is not None:
        try:
            check_regex(regex)
        except ValueError as error:
            raise BadRequest(f"--regex {error}") from None
        setting = f"regex:{regex}"
    elif of is not None:
        setting = _read_setting(session, of)
    output = file.read()
    settings = [each for each in PRESETS if each != STATUS] if setting is None else [setting]
    results = [_try_setting(each, output) for each in settings]
    if as_json:
        pages = [_to_json(each) for each in results]
        terminal.print_json(pages if setting is None else pages[0])
    elif setting is None:
        _print_comparison(results)
    else:
        _print_result(results[0], output)
    return 0 if any(each.found for each in results) else NOTHING_FOUND


def _read_setting(session: Session, name: str) -> str:
    """Return the setting `progress` of a command, as for ProgressReader. Raises BadRequest."""
    progress = session.client().get(command_path(name))["definition"].get("progress", "")
    if isinstance(progress, dict):
        return f"regex:{progress['regex']}"
    if progress in ("", STATUS):
        raise BadRequest(
            f"the output of {name} is not searched for progress: its definition has "
            + (f'progress = "{progress}"' if progress else "no setting `progress`")
        )
    return str(progress)


def _try_setting(setting: str, output: bytes) -> Result:
    found = list(_find_reports(setting, output))
    falls, before = [], 0.0
    for line, reading in found:
        if reading.percent is not None:
            if reading.percent < before:
                falls.append(line)
            before = reading.percent
    return Result(setting, found, falls)


def _find_reports(setting: str, output: bytes) -> Iterator[Found]:
    """Yield the reports in each line, as the agent finds them."""
    from mythjobs.agent.output_scan import SearchTimeout, limit_search

    reader = ProgressReader(setting)
    for number, line in enumerate(output.split(b"\n"), 1):
        # A program that redraws its line ends each report with a carriage return.
        for piece in [*_REDRAWN.findall(line), b"\n"]:
            before = reader.count
            try:
                with limit_search():
                    reader.feed(piece)
            except SearchTimeout:
                terminal.print_message(
                    f"line {number}: the search takes too long, and a job's further progress would "
                    "be ignored; avoid nested repetitions like (a+)+"
                )
                return
            if reader.count > before:
                yield Found(number, reader.reading)


def _print_result(result: Result, output: bytes) -> None:
    rows = [
        (
            line,
            "" if reading.percent is None else f"{reading.percent:g} %",
            "" if reading.eta_s is None else humanize_duration(reading.eta_s),
            reading.comment or "",
        )
        for line, reading in result.found
    ]
    if rows:
        terminal.print_table(("line", "progress", "left", "comment"), rows, ("line", "progress"))
    terminal.print_line(_summarize(result, output.count(b"\n") + (output[-1:] not in (b"", b"\n"))))


def _summarize(result: Result, lines: int) -> str:
    if not result.found:
        return f"no progress in {lines} lines"
    first, last = result.found[0], result.found[-1]
    text = f"{len(result.found)} reports in {lines} lines"
    if percents := result.percents:
        text += (
            f": {percents[0]:g} % in line {first.line} to {percents[-1]:g} % in line {last.line}"
        )
    if result.falls:
        text += f"; falls {len(result.falls)} times, first in line {result.falls[0]}"
    return text


def _print_comparison(results: Sequence[Result]) -> None:
    rows = [
        (
            each.setting,
            len(each.found) or "",
            f"{each.percents[0]:g} %" if each.percents else "",
            f"{each.percents[-1]:g} %" if each.percents else "",
            len(each.falls) or "",
        )
        for each in results
    ]
    headings = ("preset", "reports", "first", "last", "falls")
    terminal.print_table(headings, rows, headings[1:])


def _to_json(result: Result) -> dict[str, Any]:
    return {
        "progress": result.setting,
        "found": [{"line": line, **reading._asdict()} for line, reading in result.found],
        "falls": list(result.falls),
    }
