"""Progress of a job, parsed from its output with presets and regular expressions."""

from __future__ import annotations

import math
import re
from typing import Final

# Values of `progress` in a definition. With `status` the output is not parsed: the program
# reports its progress through a FIFO.
PRESETS: Final = ("ffmpeg", "comskip", "percent", "status")

_FFMPEG_DURATION: Final = re.compile(rb"Duration: (\d+):(\d\d):(\d\d(?:\.\d+)?)")
_FFMPEG_TIME: Final = re.compile(rb"time=(\d+):(\d\d):(\d\d(?:\.\d+)?)")
# Percentage, as in comskip's line:
# "12:34 - 1234 frames in 5.6 sec(220.36 fps), 1.00 sec(230.00 fps), 37%".
_PERCENT: Final = re.compile(rb"(\d{1,3}(?:\.\d+)?) ?%")
# Maximum length of the part of a line that is searched. Progress lines are short; a longer line is
# data, on which a regular expression could take unbounded time.
_MAX_LINE_BYTES: Final = 4096


class ProgressReader:
    """Parses a job's output as it arrives; `percent` is the last progress found, or None.

    Lines end with a newline or a carriage return, with which programs redraw their progress.
    """

    def __init__(self, progress: str) -> None:
        self._duration_s = 0.0
        self._line = b""
        self.percent: float | None = None
        self._preset = progress
        self._regex = _compile_author_regex(progress) if progress.startswith("regex:") else _PERCENT

    def feed(self, data: bytes) -> None:
        *lines, rest = re.split(rb"[\r\n]", self._line + data)
        self._line = rest[-_MAX_LINE_BYTES:]
        for line in lines:
            self._parse_line(line[:_MAX_LINE_BYTES])

    def _parse_line(self, line: bytes) -> None:
        if self._preset == "ffmpeg":
            found = _FFMPEG_DURATION.search(line)
            # Only the first "Duration:" line counts, that of the first input. ffmpeg prints none
            # for the output, and a second input is not longer.
            if found and not self._duration_s:
                self._duration_s = _seconds(found)
            found = _FFMPEG_TIME.search(line)
            if found and self._duration_s:
                self._set_percent(100 * _seconds(found) / self._duration_s)
            return
        for found in self._regex.finditer(line):
            try:
                percent = float(found[1])
            except (TypeError, ValueError):
                continue
            if math.isfinite(percent):
                self._set_percent(percent)

    def _set_percent(self, percent: float) -> None:
        self.percent = round(min(max(percent, 0.0), 100.0), 1)


def _compile_author_regex(progress: str) -> re.Pattern[bytes]:
    try:
        return re.compile(progress.removeprefix("regex:").encode())
    except re.error:
        # Another version of Python accepted this expression in the definition, but this one rejects
        # it: match nothing.
        return re.compile(rb"(?!)")


def _seconds(found: re.Match[bytes]) -> float:
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
