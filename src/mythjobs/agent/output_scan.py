"""Output scanner: progress of running attempts, and the `retry.later` match of failed ones."""

from __future__ import annotations

import logging
import re
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mythjobs.agent.core.attempt import AgentAttempt, Key, OutputWindows
from mythjobs.model.output_window import OutputWindow
from mythjobs.model.progress import PRESETS, ProgressReader
from mythjobs.process.reaper.output import read_range, stream_path

# Progress may refer to figures at the start of the output (ffmpeg's "Duration:"). Of the output
# since the last scan only the end is needed.
_HEAD_BYTES: Final = 64 * 1024
_NEW_BYTES: Final = 16 * 1024
# Programs report the cause of a failure at the end of their output.
_TAIL_BYTES: Final = 64 * 1024
_MAX_LINE_LETTERS: Final = 4096
_MAX_MATCH_LETTERS: Final = 200
_SUCCESS: Final = {"kind": "exited", "code": 0}
# CPU time of one search. Load of the machine does not shorten it.
_SEARCH_CPU_S: Final = 0.1

log = logging.getLogger(__name__)


class OutputScanner:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._streams: dict[AgentAttempt, dict[int, _ProgressStream]] = {}

    def scan_progress(self, attempt: AgentAttempt) -> float | None:
        """Return the percentage in the new output, or None if it did not change."""
        streams = self._streams.setdefault(attempt, {})
        percent = None
        for number, window in enumerate(attempt.output, 1):
            if number not in streams:
                streams[number] = _ProgressStream(attempt.progress_source)
            path = stream_path(self._directory, *attempt.key, number)
            if streams[number].scan_new(path, OutputWindow(*window)):
                percent = streams[number].reader.percent
        if attempt.is_output_complete:
            del self._streams[attempt]
        return percent


class _ProgressStream:
    def __init__(self, progress: str) -> None:
        self.reader = ProgressReader(progress)
        # Presets are known to be fast. Expressions of authors need a time limit.
        self._is_preset = progress in PRESETS
        self._timed_out = False
        self._offset = 0

    def scan_new(self, path: str, window: OutputWindow) -> bool:
        """Scan the output since the last call. Return whether the percentage changed."""
        before = self.reader.percent
        if self._offset < _HEAD_BYTES:
            self._scan_range(path, window, _HEAD_BYTES - self._offset)
        if self._offset < window.written - _NEW_BYTES:
            # End the line that the gap cuts: joined with later text its figure would be wrong.
            self._offset = window.written - _NEW_BYTES
            self._scan(b"\n")
        self._scan_range(path, window, _NEW_BYTES)
        return self.reader.percent != before

    def _scan_range(self, path: str, window: OutputWindow, size_bytes: int) -> None:
        begin, data = read_range(path, window, self._offset, size_bytes)
        self._offset = begin + len(data)
        self._scan(data)

    def _scan(self, data: bytes) -> None:
        if self._is_preset:
            self.reader.feed(data)
        elif not self._timed_out:
            try:
                with _limit_search():
                    self.reader.feed(data)
            except SearchTimeout:
                self._timed_out = True
                log.warning("a progress expression took too long; ignoring it for this attempt")


def find_later_match(directory: Path, ended: Any, regex: str) -> str:
    """Return the last match of `retry.later` in the kept tail of a failed attempt's output.

    "" without a match, and if the output cannot be read or the search takes too long.
    """
    if not regex or not ended["output"] or ended["outcome"] == _SUCCESS:
        return ""
    key = (ended["job"], ended["n"])
    pattern = _compile(regex)
    try:
        tails = _read_tails(directory, key, ended["output"])
        lines = [line for tail in tails for line in reversed(tail)]
        with _limit_search():
            return _search_lines(lines, pattern)
    except OSError as error:
        log.warning("job %d: cannot read its output for retry.later: %s", key[0], error)
    except SearchTimeout:
        log.warning("job %d: search for retry.later took too long; counts as no match", key[0])
    return ""


def _search_lines(lines: Sequence[str], pattern: re.Pattern[str]) -> str:
    for line in lines:
        if match := pattern.search(line[:_MAX_LINE_LETTERS]):
            return (match[0] or line)[:_MAX_MATCH_LETTERS]
    return ""


def _read_tails(directory: Path, key: Key, output: OutputWindows) -> Iterator[list[str]]:
    """Yield the last lines of each stream."""
    for stream, sizes in enumerate(output, 1):
        path = stream_path(directory, *key, stream)
        window = OutputWindow(*sizes)
        begin = max(0, window.written - _TAIL_BYTES)
        data = b""
        while begin < window.written:
            begin, more = read_range(path, window, begin, window.written - begin)
            if not more:
                break
            begin += len(more)
            data += more
        yield data.decode("utf-8", "replace").splitlines()


@lru_cache(maxsize=64)
def _compile(regex: str) -> re.Pattern[str]:
    try:
        return re.compile(regex)
    except re.error:
        # The master's Python accepted the expression, this one does not: match nothing.
        return re.compile(r"(?!)")


class SearchTimeout(Exception):
    """The search of an expression exceeded its CPU time."""


@contextmanager
def _limit_search() -> Iterator[None]:
    """Raise SearchTimeout once the block has used _SEARCH_CPU_S of CPU. Main thread only.

    An expression like `(a+)+b` can take years on a short line and would block the whole agent.
    CPython checks for signals while `re` searches (_sre.c), so a timer can interrupt a search.
    The exception may arise anywhere in the block, which therefore must have no side effects.
    The package `regex` has timeouts, but is slower per line and reads `x{e}` as fuzzy matching.
    """
    before = signal.signal(signal.SIGVTALRM, _raise_timeout)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, _SEARCH_CPU_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)


def _raise_timeout(*_: object) -> None:
    raise SearchTimeout
