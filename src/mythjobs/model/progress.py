"""Progress of a job, parsed from its output with presets and regular expressions."""

from __future__ import annotations

import re
from typing import Final

from mythjobs.model.progress_formats import FORMATS, AuthorFormat, Format, Reading

# Values of `progress` in a definition. With `status` the output is not parsed: the program
# reports its progress through a FIFO.
STATUS: Final = "status"
PRESETS: Final = (*FORMATS, STATUS)

# What ends a line: line breaks, carriage returns and backspaces, with which programs redraw their
# progress, and the escape sequences that move the cursor or erase (ECMA-48, CSI A to H, J, K, S, T,
# f). The longest run of backspaces is one end.
_LINE_ENDS: Final = re.compile(rb"([\r\n\x08]+|\x1b\[[0-9;]*[A-HJKSTf])")
# Escape sequences without effect on the position, like colours.
_ESCAPES: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])"
)
# Maximum length of the part of a line that is searched: its end. Progress lines are short; a longer
# line is data, on which a regular expression could take unbounded time.
_MAX_LINE_BYTES: Final = 4096


class ProgressReader:
    """Parses a job's output as it arrives; `reading` has the last value of each kind.

    count: how many progress reports were found in finished lines.

    An unfinished line is parsed too, because many programs begin each report with a carriage
    return and so finish it only with the next one.
    """

    def __init__(self, progress: str, other: ProgressReader | None = None) -> None:
        """progress: name of a preset, or `regex:` with a regular expression. other: reader of the
        program's other stream, whose lines may have what this one needs."""
        self._format: Format = other._format if other else make_format(progress)
        self._line = b""
        self.reading = Reading()
        self.count = 0

    @property
    def percent(self) -> float | None:
        return self.reading.percent

    def feed(self, data: bytes) -> None:
        """Parse the next part of the output."""
        *parts, rest = _LINE_ENDS.split(self._line + data)
        for line, end in zip(parts[::2], parts[1::2], strict=True):
            self._parse_line(line, end)
        self._line = rest[-_MAX_LINE_BYTES:]
        if rest:
            self._parse_line(self._line, b"")

    def _parse_line(self, line: bytes, end: bytes) -> None:
        if not line:
            return
        if b"\x1b" in line:
            line = _ESCAPES.sub(b"", line)
        found = self._format.parse(line[-_MAX_LINE_BYTES:], end)
        if found is not None:
            self.reading = self.reading.update(found)
            self.count += bool(end)


def make_format(progress: str) -> Format:
    """Return the parser for a preset or for `regex:` with a regular expression."""
    if not progress.startswith("regex:"):
        # A master of a later version may send a preset that this version lacks.
        return FORMATS.get(progress, FORMATS["percent"])()
    try:
        return AuthorFormat(re.compile(progress.removeprefix("regex:").encode()))
    except re.error:
        # Another version of Python accepted this expression in the definition, but this one rejects
        # it: match nothing.
        return AuthorFormat(re.compile(rb"(?!)()"))


def check_setting(progress: str) -> None:
    """Check a value of ProgressReader, or "" for none. Raises ValueError with what is wrong."""
    if progress.startswith("regex:"):
        check_regex(progress.removeprefix("regex:"))
    elif progress and progress not in PRESETS:
        raise ValueError(f"must be one of {', '.join(PRESETS)}, or regex: and an expression")


def check_regex(pattern: str) -> None:
    """Check an author's regular expression. Raises ValueError with what is wrong."""
    try:
        # Compile as bytes, like the output that is searched: \u and \N are invalid in bytes.
        compiled = re.compile(pattern.encode())
    except (re.error, UnicodeEncodeError) as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    if compiled.groups < 1:
        raise ValueError("needs a group () around the percentage")
    names = compiled.groupindex
    if ("done" in names) != ("total" in names):
        raise ValueError("needs both groups, (?P<done>…) and (?P<total>…), or neither")
