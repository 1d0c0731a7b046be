"""Progress read from the output of running attempts, as it grows."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mythjobs.agent.core.attempt import Attempt, Key, Output
from mythjobs.model.output_window import OutputWindow
from mythjobs.model.progress import PRESETS, ProgressReader
from mythjobs.process.reaper.output import read_range, stream_path

# At the beginning stands what the figures refer to (ffmpeg's "Duration:"); of what comes
# between two looks only the end says how far it is.
_HEAD_BYTES: Final = 64 * 1024
_LAST_BYTES: Final = 16 * 1024
log = logging.getLogger(__name__)


class Followers:
    def __init__(self, output: Path) -> None:
        self._output = output
        self._followed: dict[Attempt, dict[int, _Stream]] = {}

    def grew(self, attempt: Attempt) -> float | None:
        """How many percent are done now, if what is new in the output says so."""
        streams = self._followed.setdefault(attempt, {})
        percent = None
        for number, kept in enumerate(attempt.output, 1):
            stream = streams.get(number) or streams.setdefault(number, _Stream(attempt.progress))
            path = stream_path(self._output, *attempt.key, number)
            if stream.read(path, OutputWindow(*kept)):
                percent = stream.reader.percent
        if attempt.over:
            del self._followed[attempt]
        return percent


class _Stream:
    def __init__(self, progress: str) -> None:
        self.reader = ProgressReader(progress)
        # Ours are fast; a regular expression is its author's.
        self._is_ours = progress in PRESETS
        self._given_up = False
        self._offset = 0

    def read(self, path: str, kept: OutputWindow) -> bool:
        """Whether the figure has changed."""
        before = self.reader.percent
        if self._offset < _HEAD_BYTES:
            self._feed(path, kept, _HEAD_BYTES - self._offset)
        if self._offset < kept.written - _LAST_BYTES:
            # A line that is cut here has no figure yet, or a wrong one: end it, and pass it.
            self._offset = kept.written - _LAST_BYTES
            self._read(b"\n")
        self._feed(path, kept, _LAST_BYTES)
        return self.reader.percent != before

    def _feed(self, path: str, kept: OutputWindow, size: int) -> None:
        begin, data = read_range(path, kept, self._offset, size)
        self._offset = begin + len(data)
        self._read(data)

    def _read(self, data: bytes) -> None:
        if self._is_ours:
            self.reader.feed(data)
        elif not self._given_up:
            try:
                with bounded():
                    self.reader.feed(data)
            except TooLong:
                self._given_up = True
                log.warning("a progress expression took too long; it is looked for no more")


# What a program says of its failure stands at the end.
_TAIL_BYTES: Final = 64 * 1024
_LONGEST_LINE: Final = 4096
_MOST_SAID: Final = 200
_DONE: Final = {"kind": "exited", "code": 0}


def look(directory: Path, ended: Any, expression: str) -> str:
    """The text that the expression matched in the kept tail of a failed run; "" if none did."""
    if not expression or not ended["output"] or ended["outcome"] == _DONE:
        return ""
    return found(directory, (ended["job"], ended["n"]), ended["output"], expression)


def found(directory: Path, key: Key, output: Output | Sequence[Any], expression: str) -> str:
    try:
        lines = [line for data in _tails(directory, key, output) for line in reversed(data)]
    except OSError as error:
        log.warning("the output of job %d cannot be read for its retry.later: %s", key[0], error)
        return ""
    pattern = _pattern(expression)
    try:
        with bounded():
            return _first(lines, pattern)
    except TooLong:
        log.warning(
            "job %d: its retry.later took too long to look for; it counts as not found", key[0]
        )
        return ""


def _first(lines: Sequence[str], pattern: re.Pattern[str]) -> str:
    for line in lines:
        if match := pattern.search(line[:_LONGEST_LINE]):
            return (match[0] or line)[:_MOST_SAID]
    return ""


def _tails(directory: Path, key: Key, output: Output | Sequence[Any]) -> Iterator[list[str]]:
    for stream, (written, head, tail) in enumerate(output, 1):
        begin = max(0, written - _TAIL_BYTES)
        path = stream_path(directory, *key, stream)
        kept = OutputWindow(written, head, tail)
        data = b""
        while begin < written:
            begin, more = read_range(path, kept, begin, written - begin)
            if not more:
                break
            begin += len(more)
            data += more
        yield data.decode("utf-8", "replace").splitlines()


@lru_cache(maxsize=64)
def _pattern(expression: str) -> re.Pattern[str]:
    try:
        return re.compile(expression)
    except re.error:
        # Another Python's: what cannot be looked for is not found.
        return re.compile(r"(?!)")


# Of CPU: a machine that is busy with something else takes nothing from it.
MOST_S: Final = 0.1


class TooLong(Exception):
    """It was broken off."""


@contextmanager
def bounded(seconds: float = MOST_S) -> Iterator[None]:
    """Raises TooLong once the block has computed for so long. In the main thread only.

    An expression like `(a+)+b` may take for ever on a short line, and everything else that this
    machine runs would wait for it. CPython looks for signals while `re` searches (_sre.c), so a
    timer ends it. The block may be broken off anywhere: it must touch nothing.
    """
    before = signal.signal(signal.SIGVTALRM, _break_off)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)


def _break_off(*_: object) -> None:
    raise TooLong
