"""Formats of progress in the output of programs: one parser for each preset."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple, Protocol, TypeVar

# A number as programs print it in English and in locales with a decimal comma (de_DE: 42,5).
_NUMBER: Final = rb"\d+(?:[.,]\d+)?"
# Not within another number: otherwise a search of a long run of digits would take quadratic time.
_START: Final = rb"(?<!\d)(?<!\d[.,])"
# Between number and percent sign: a space, or the no-break spaces of French and German text.
_SPACE: Final = rb"(?:\s|\xc2\xa0|\xe2\x80\xaf)?"
_TIME_UNITS: Final = re.compile(r"(?:(\d+)h)?\s*(?:(\d+)m)?\s*(?:(\d+(?:[.,]\d+)?)s)?")
_GROUPED: Final = re.compile(r"\d{1,3}(?:,\d{3})+")

T = TypeVar("T")


class Reading(NamedTuple):
    """Progress found in a line; None for what is not in the line. eta_s: seconds left."""

    percent: float | None = None
    comment: str | None = None
    eta_s: float | None = None

    def update(self, later: Reading) -> Reading:
        """Return this reading with the values that `later` has."""
        return self._replace(**{k: v for k, v in later._asdict().items() if v is not None})


class Format(Protocol):
    """Parser of one program's output. It may keep values of earlier lines."""

    def parse(self, line: bytes, end: bytes) -> Reading | None:
        """Return the last progress in a line, or None.

        end: what ended the line, empty while the line is unfinished. Of an unfinished line only
        values are used that other text follows, because the rest of a number may be missing.
        """


class _PatternFormat:
    """A format whose lines have the percentage, between 0 and 100, as the expression's group 1."""

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern

    def parse(self, line: bytes, end: bytes) -> Reading | None:
        percent = None
        for found in self._pattern.finditer(line):
            if end or found.end(1) < len(line):
                percent = _clamp(parse_number(found[1].decode()))
        return None if percent is None else Reading(percent)


class _FfmpegFormat:
    """`Duration: 00:04:00.00` of each input, then lines with `time=00:01:12.34`; also `-progress`
    output. The longest input counts: others may be a logo or a cover picture."""

    # Begins the list of the inputs, also that of the next ffmpeg that a script calls.
    _FIRST_INPUT: Final = b"Input #0, "

    _DURATION: Final = re.compile(rb"Duration: (\d{1,6}):(\d\d):(\d\d(?:\.\d+)?)")
    _TIME: Final = re.compile(rb"time=(\d{1,6}):(\d\d):(\d\d(?:\.\d+)?)")

    def __init__(self) -> None:
        self._duration_s = 0.0

    def parse(self, line: bytes, end: bytes) -> Reading | None:
        if end and self._FIRST_INPUT in line:
            self._duration_s = 0.0
        if end and (found := self._DURATION.search(line)):  # ffmpeg prints none for an output
            self._duration_s = max(self._duration_s, _to_seconds(found))
        found = self._TIME.search(line)
        if not found or not self._duration_s or not (end or found.end() < len(line)):
            return None
        return Reading(_clamp(100 * _to_seconds(found) / self._duration_s))


class _HandBrakeFormat:
    """`Encoding: task 1 of 2, 26.00 %`; the tasks are scans for subtitles and passes, and count
    equally. The percentages of its scan of the source are no progress of the job."""

    _ENCODING: Final = re.compile(
        rb"Encoding: task (\d{1,4}) of (\d{1,4}), +(" + _NUMBER + rb") ?%"
    )

    def parse(self, line: bytes, end: bytes) -> Reading | None:
        found = self._ENCODING.search(line)
        percent = parse_number(found[3].decode()) if found else None
        if found is None or percent is None or not int(found[2]):
            return None
        task, tasks = int(found[1]), int(found[2])
        comment = f"task {task} of {tasks}" if tasks > 1 else None
        return Reading(_clamp((100 * (task - 1) + percent) / tasks), comment)


class _RsyncFormat:
    """`--info=progress2`: `210,922,000  99%  7.82MB/s  0:00:25 (xfr#599, to-chk=1/621)`.

    With `--progress` the percentage is that of one file, so the bytes before it fall at the next
    file; then the progress is the number of files that rsync has checked, by `to-chk`.
    """

    _REPORT: Final = re.compile(rb"\s*(\d[\d,.']*)([KMGTP]?) +(\d{1,3})% .*\d:\d\d:\d\d")
    # While rsync still reads directories it prints ir-chk, and the total is not yet known.
    # openrsync, and rsync before 3.1, print to-check.
    _CHECKED: Final = re.compile(rb"to-ch(?:ec)?k=(\d{1,12})/(\d{1,12})\)")

    def __init__(self) -> None:
        self._done_bytes = 0.0
        self._is_per_file = False

    def parse(self, line: bytes, end: bytes) -> Reading | None:
        found = self._REPORT.match(line)
        if found is None:
            return None
        done_bytes = self._parse_bytes(found[1], found[2])
        self._is_per_file = self._is_per_file or done_bytes < self._done_bytes
        self._done_bytes = done_bytes
        percent = float(found[3])
        checked = self._CHECKED.search(line, found.end())
        if percent >= 100 and not checked and not end:
            return None  # to-chk follows
        if checked and int(checked[2]) and (self._is_per_file or percent >= 100):
            percent = 100 * (1 - int(checked[1]) / int(checked[2]))
        elif self._is_per_file:
            return None
        return Reading(_clamp(percent))

    @staticmethod
    def _parse_bytes(digits: bytes, unit: bytes) -> float:
        """Return the number of bytes that rsync prints as `210,922,000`, or with its option -h as
        `210.92M` (in a German locale `210,92M`)."""
        if not unit:
            return float(re.sub(rb"\D", b"", digits))
        exponent = 1 + b"KMGTP".index(unit)
        return (parse_number(digits.decode()) or 0.0) * 1000.0**exponent


class _TqdmFormat:
    """` 42%|████▏     | 42/100 [00:02<00:03, 19.9it/s]`.

    Of nested bars only the outer one counts. tqdm draws an inner bar in a line below and then moves
    the cursor up (CSI A).
    """

    # The percentage may have decimals: bar_format="{percentage:.1f}%|{bar}|".
    _BAR: Final = re.compile(_START + rb"(" + _NUMBER + rb")%\|")

    def __init__(self) -> None:
        self._is_nested = False

    def parse(self, line: bytes, end: bytes) -> Reading | None:
        self._is_nested = self._is_nested or end.endswith(b"A")
        if end.endswith(b"A") or (self._is_nested and not end):
            return None
        found = self._BAR.search(line)
        percent = parse_number(found[1].decode()) if found else None
        return None if percent is None or percent > 100 else Reading(_clamp(percent))


class _PercentFormat:
    """Any percentage from 0 to 100, the last one in a line."""

    _PERCENT: Final = re.compile(_START + rb"(" + _NUMBER + rb")" + _SPACE + rb"%")

    def parse(self, line: bytes, end: bytes) -> Reading | None:
        values = [parse_number(each[1].decode()) for each in self._PERCENT.finditer(line)]
        valid = [each for each in values if each is not None and each <= 100]
        return Reading(_clamp(valid[-1])) if valid else None


class AuthorFormat:
    """The regular expression of a command's author.

    The percentage is the group `percent`, else `done` divided by `total`, else the first group
    without a name of these. The groups `comment` and `eta` are optional.
    """

    def __init__(self, pattern: re.Pattern[bytes]) -> None:
        self._pattern = pattern
        names = pattern.groupindex
        self._comment, self._eta = names.get("comment", 0), names.get("eta", 0)
        self._done, self._total = names.get("done", 0), names.get("total", 0)
        others = {self._comment, self._eta, self._done, self._total}
        free = [each for each in range(1, pattern.groups + 1) if each not in others]
        self._percent = names.get("percent", 0) or (free[0] if free and not self._total else 0)

    def parse(self, line: bytes, end: bytes) -> Reading | None:
        reading = None
        for found in self._pattern.finditer(line):
            last = max(found.end(each) for each in range(1, self._pattern.groups + 1))
            if end or last < len(line):
                one = self._read_match(found)
                if one != Reading():
                    reading = one if reading is None else reading.update(one)
        return reading

    def _read_match(self, found: re.Match[bytes]) -> Reading:
        percent = _read(found, self._percent, parse_number)
        done, total = (
            _read(found, self._done, parse_number),
            _read(found, self._total, parse_number),
        )
        if done is not None and total:
            percent = 100 * done / total
        comment = _read(found, self._comment, str.strip)
        return Reading(_clamp(percent), comment, _read(found, self._eta, parse_time_s))


def _read(found: re.Match[bytes], group: int, parse: Callable[[str], T]) -> T | None:
    """Return a group's parsed text; None if the expression lacks the group or it did not match."""
    text = found[group] if group else None
    return None if text is None else parse(text.decode("utf-8", "replace"))


def parse_number(text: str) -> float | None:
    """Return a number with decimal point or comma, or with commas between thousands, else None."""
    text = text.strip()
    if _GROUPED.fullmatch(text):
        text = text.replace(",", "")
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def parse_time_s(text: str) -> float | None:
    """Return the seconds in text like `310`, `05:10`, `1:05:10` or `00h05m10s`, else None."""
    text = text.strip()
    if ":" not in text:
        number = parse_number(text)
        found = _TIME_UNITS.fullmatch(text)
        if number is not None or found is None or not text:
            return number
        parts = [each or "0" for each in found.groups()]
    else:
        parts = text.split(":")
    total = 0.0
    for part in parts:
        number = parse_number(part)
        if number is None or len(parts) > 3:
            return None
        total = 60 * total + number
    return total if math.isfinite(total) else None


def _clamp(percent: float | None) -> float | None:
    if percent is None or not math.isfinite(percent):
        return None
    return round(min(max(percent, 0.0), 100.0), 1)


def _to_seconds(found: re.Match[bytes]) -> float:
    hours, minutes, seconds = found.groups()
    return int(hours) * 3600 + int(minutes) * 60 + float(seconds)


def _make_comskip() -> Format:
    # "12:34 - 1234 frames in 5.6 sec(220.36 fps), 1.00 sec(230.00 fps), 37%"
    return _PatternFormat(re.compile(rb"fps\), +(\d{1,3})%"))


def _make_mythtranscode() -> Format:
    # "mythtranscode: 12% Completed @ 37.5 fps.", and without re-encoding "12.3% complete".
    return _PatternFormat(re.compile(_START + rb"(" + _NUMBER + rb")%{1,2} [Cc]omplete"))


def _make_mythcommflag() -> Format:
    # On a terminal " 12%/ 37.00fps", in the log "10%% Completed @ 37 fps.".
    return _PatternFormat(re.compile(_START + rb"(" + _NUMBER + rb")%(?:%? Completed|/ *\d)"))


FORMATS: Final[Mapping[str, Callable[[], Format]]] = {
    "ffmpeg": _FfmpegFormat,
    "handbrake": _HandBrakeFormat,
    "comskip": _make_comskip,
    "mythtranscode": _make_mythtranscode,
    "mythcommflag": _make_mythcommflag,
    "rsync": _RsyncFormat,
    "tqdm": _TqdmFormat,
    "percent": _PercentFormat,
}
