"""`mythjobs command test-progress`: what a progress setting recognizes in a program's output."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, BinaryIO, Final, NamedTuple

import click

from mythjobs.cli import terminal
from mythjobs.cli.options import COMMAND, TEXT
from mythjobs.cli.session import Session, command, json_option, pass_session
from mythjobs.client.api_paths import command_path
from mythjobs.errors import BadRequest
from mythjobs.model.progress import PRESETS, STATUS, ProgressReader, check_regex
from mythjobs.model.progress_formats import Reading
from mythjobs.model.units import format_size, humanize_duration

_EXAMPLES: Final = """Examples:
  ffmpeg -i in.ts out.mp4 >output.txt 2>&1; mythjobs command test-progress output.txt
  mythjobs command test-progress output.txt --preset ffmpeg
  mythjobs command test-progress output.txt --regex 'frame (?P<done>\\d+)/(?P<total>\\d+)'
  mythjobs log 42 | mythjobs command test-progress - --command resize"""
_REDRAWN: Final = re.compile(rb"[^\r]*\r|[^\r]+")
_CHUNK_BYTES: Final = 64 * 1024
# A device has no end. A search takes about a minute per GiB and preset.
MAX_OUTPUT_BYTES: Final = 2**30
MAX_LISTED: Final = 10_000
# Exit code if nothing was recognized.
NOTHING_FOUND: Final = 1


class Found(NamedTuple):
    """A report in the output. line: number of its line, counted by line feeds from 1."""

    line: int
    reading: Reading


class Trial:
    """One setting, tried on output that arrives in pieces.

    found, falls: reports, and lines whose percentage is below the one before; of each the first
    `MAX_LISTED`. reports, fall_count: numbers of all.
    """

    def __init__(self, setting: str) -> None:
        self.setting = setting
        self.found: list[Found] = []
        self.falls: list[int] = []
        self.reports = self.fall_count = 0
        self.first_percent: float | None = None
        self.last_percent: float | None = None
        self.last_line = 0
        self._reader = ProgressReader(setting)
        self._is_stopped = False

    def feed(self, line: int, piece: bytes) -> None:
        """Search a piece of output, as the agent does. line: number of its line."""
        from mythjobs.agent.output_scan import SearchTimeout, limit_search

        if self._is_stopped:
            return
        before = self._reader.count
        try:
            with limit_search():
                self._reader.feed(piece)
        except SearchTimeout:
            self._is_stopped = True
            terminal.print_message(
                f"line {line}: the search takes too long, and a job's further progress would be "
                "ignored; avoid nested repetitions like (a+)+"
            )
            return
        if self._reader.count > before:
            self._add(Found(line, self._reader.reading))

    def _add(self, found: Found) -> None:
        self.reports += 1
        self.last_line = found.line
        if len(self.found) < MAX_LISTED:
            self.found.append(found)
        percent = found.reading.percent
        if percent is None:
            return
        if self.first_percent is None:
            self.first_percent = percent
        elif self.last_percent is not None and percent < self.last_percent:
            self.fall_count += 1
            if len(self.falls) < MAX_LISTED:
                self.falls.append(found.line)
        self.last_percent = percent


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
    settings = [each for each in PRESETS if each != STATUS] if setting is None else [setting]
    trials = [Trial(each) for each in settings]
    lines = _search(file, trials)
    if as_json:
        pages = [_to_json(each) for each in trials]
        terminal.print_json(pages if setting is None else pages[0])
    elif setting is None:
        _print_comparison(trials)
    else:
        _print_trial(trials[0], lines)
    return 0 if any(each.found for each in trials) else NOTHING_FOUND


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


def _search(file: BinaryIO, trials: Sequence[Trial]) -> int:
    """Try settings on a stream of any length. Return its number of lines. Raises BadRequest."""
    line, left, last = 1, MAX_OUTPUT_BYTES, b""
    try:
        while data := file.read(_CHUNK_BYTES):
            left -= len(data)
            if left < 0:
                size = format_size(MAX_OUTPUT_BYTES)
                raise BadRequest(
                    f"{file.name} has more than {size}, the largest size searched; search a part "
                    "of it, like `head -c 100M FILE | mythjobs command test-progress -`"
                )
            for number, part in enumerate(data.split(b"\n")):
                if number:
                    _feed(trials, line, b"\n")
                    line += 1
                # A program that redraws its line ends each report with a carriage return.
                for piece in _REDRAWN.findall(part):
                    _feed(trials, line, piece)
            last = data[-1:]
    except OSError as error:
        raise BadRequest(f"cannot read {file.name}: {error.strerror}") from None
    if last in (b"", b"\n"):
        return line - 1
    _feed(trials, line, b"\n")
    return line


def _feed(trials: Sequence[Trial], line: int, piece: bytes) -> None:
    for each in trials:
        each.feed(line, piece)


def _print_trial(trial: Trial, lines: int) -> None:
    rows = [
        (
            line,
            "" if reading.percent is None else f"{reading.percent:g} %",
            "" if reading.eta_s is None else humanize_duration(reading.eta_s),
            reading.comment or "",
        )
        for line, reading in trial.found
    ]
    if rows:
        terminal.print_table(("line", "progress", "left", "comment"), rows, ("line", "progress"))
    if trial.reports > len(rows):
        terminal.print_line(f"{trial.reports - len(rows)} more reports are not listed")
    terminal.print_line(_summarize(trial, lines))


def _summarize(trial: Trial, lines: int) -> str:
    if not trial.found:
        return f"no progress in {lines} lines"
    text = f"{trial.reports} reports in {lines} lines"
    if trial.first_percent is not None:
        text += (
            f": {trial.first_percent:g} % in line {trial.found[0].line} to "
            f"{trial.last_percent:g} % in line {trial.last_line}"
        )
    if trial.falls:
        text += f"; falls {trial.fall_count} times, first in line {trial.falls[0]}"
    return text


def _print_comparison(trials: Sequence[Trial]) -> None:
    rows = [
        (
            each.setting,
            each.reports or "",
            "" if each.first_percent is None else f"{each.first_percent:g} %",
            "" if each.last_percent is None else f"{each.last_percent:g} %",
            each.fall_count or "",
        )
        for each in trials
    ]
    headings = ("preset", "reports", "first", "last", "falls")
    terminal.print_table(headings, rows, headings[1:])


def _to_json(trial: Trial) -> dict[str, Any]:
    return {
        "progress": trial.setting,
        "reports": trial.reports,
        "found": [{"line": line, **reading._asdict()} for line, reading in trial.found],
        "falls": trial.falls,
    }
