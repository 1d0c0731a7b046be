"""Output scanner: reads progress from the output of running attempts, and searches the output of
failed ones for the command's regular expression `retry.later`."""

from __future__ import annotations

import base64
import gc
import logging
import re
import signal
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mythjobs.agent.core.attempt import AgentAttempt, Key, OutputWindows
from mythjobs.model.output_window import OutputWindow
from mythjobs.model.progress import PRESETS, ProgressReader
from mythjobs.model.progress_formats import Reading
from mythjobs.process.reaper.output_file import read_range, stream_path

# Progress scans read the first _HEAD_BYTES of a stream completely, because a percentage may need a
# figure there (ffmpeg's "Duration:"). Of later output a scan reads only what is new since the last
# scan, and of this at most the last _NEW_BYTES.
_HEAD_BYTES: Final = 64 * 1024
_NEW_BYTES: Final = 16 * 1024
# The search for `retry.later` reads only the end of each stream, where programs report the cause of
# a failure.
_TAIL_BYTES: Final = 64 * 1024
_MAX_LINE_LETTERS: Final = 4096
_MAX_MATCH_LETTERS: Final = 200
_SUCCESS: Final = {"kind": "exited", "code": 0}
# Limit of one search with an author's regular expression. It is CPU time rather than wall time, so
# that load on the machine does not make searches fail.
_SEARCH_CPU_S: Final = 0.1
# A timer of 0 would never expire.
_MIN_TIMER_S: Final = 0.001

log = logging.getLogger(__name__)


class OutputScanner:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._streams: dict[AgentAttempt, dict[int, _ProgressStream]] = {}

    def scan_progress(self, attempt: AgentAttempt) -> Reading | None:
        """Scan the attempt's output since the last call. Return its progress, or None if that has
        not changed."""
        streams = self._streams.setdefault(attempt, {})
        reading = None
        for number, window in enumerate(attempt.output, 1):
            if number not in streams:
                other = next(iter(streams.values()), None)
                streams[number] = _ProgressStream(attempt.progress_source, other)
            path = stream_path(self._directory, *attempt.key, number)
            if streams[number].scan_new(path, OutputWindow(*window), attempt.is_output_complete):
                reading = streams[number].reader.reading
        if attempt.is_output_complete:
            del self._streams[attempt]
        return reading


class _ProgressStream:
    def __init__(self, progress: str, other: _ProgressStream | None) -> None:
        self.reader: ProgressReader = ProgressReader(progress, other.reader if other else None)
        # Regular expressions of presets are known to be fast. Those that command authors write need
        # a limit of CPU time.
        self._is_preset = progress in PRESETS
        self._timed_out = False
        self._offset = 0

    def scan_new(self, path: str, window: OutputWindow, is_complete: bool) -> bool:
        """Search the stream's output since the last call for the job's progress. Return whether the
        progress changed."""
        before = self.reader.reading
        if self._offset < _HEAD_BYTES:
            self._scan_range(path, window, _HEAD_BYTES - self._offset)
        if self._offset < window.written - _NEW_BYTES:
            # Output is skipped here. End the unfinished line before the gap: joined with the text
            # after the gap, it could show a wrong figure.
            self._offset = window.written - _NEW_BYTES
            self._scan(b"\n")
        self._scan_range(path, window, _NEW_BYTES)
        if is_complete:
            # The last line may have no end, and only then is a number at its end complete.
            self._scan(b"\n")
        return self.reader.reading != before

    def _scan_range(self, path: str, window: OutputWindow, size_bytes: int) -> None:
        begin, data = read_range(path, window, self._offset, size_bytes)
        self._offset = begin + len(data)
        self._scan(data)

    def _scan(self, data: bytes) -> None:
        if self._is_preset:
            self.reader.feed(data)
        elif not self._timed_out:
            try:
                with limit_search():
                    self.reader.feed(data)
            except SearchTimeout:
                self._timed_out = True
                log.warning("search for a progress expression took too long; no more progress")


def find_later_match(directory: Path, ended: Any, regex: str) -> str:
    """Return the last match of `regex` in the end of a failed attempt's output.

    The regex is the command's setting `retry.later`: output that asks for a retry later.

    Return "" if nothing matches, the output cannot be read, or the search takes too long.
    """
    if not regex or not ended["output"] or ended["outcome"] == _SUCCESS:
        return ""
    key = (ended["job"], ended["n"])
    pattern = _compile(regex)
    try:
        if data := ended.get("data"):
            texts = [base64.b64decode(each).decode("utf-8", "replace") for each in data]
            tails: Iterable[list[str]] = [text.splitlines() for text in texts]
        else:
            tails = _read_tails(directory, key, ended["output"])
        lines = [line for tail in tails for line in reversed(tail)]
        with limit_search():
            return _search_lines(lines, pattern)
    except OSError as error:
        log.warning(
            "job %d: cannot read its output for retry.later: %s",
            key[0],
            error,
            extra={"job": key[0]},
        )
    except SearchTimeout:
        log.warning(
            "job %d: search for retry.later took too long; counts as no match",
            key[0],
            extra={"job": key[0]},
        )
    return ""


def _search_lines(lines: Sequence[str], pattern: re.Pattern[str]) -> str:
    for line in lines:
        if match := pattern.search(line[:_MAX_LINE_LETTERS]):
            return (match[0] or line)[:_MAX_MATCH_LETTERS]
    return ""


def _read_tails(directory: Path, key: Key, output: OutputWindows) -> Iterator[list[str]]:
    """Yield, for each stream, the lines in its last _TAIL_BYTES."""
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
        # The master's Python version accepted the expression, but this one does not: use a pattern
        # that matches nothing.
        return re.compile(r"(?!)")


class SearchTimeout(Exception):
    """A search with an author's regular expression took more CPU time than _SEARCH_CPU_S."""


@contextmanager
def limit_search() -> Iterator[None]:
    """Raise SearchTimeout in the block once it has used _SEARCH_CPU_S of CPU time. Works in the
    main thread only.

    A search with an expression like `(a+)+b` can take years on a short line, and blocks the
    whole agent meanwhile. CPython checks for signals during a search by `re` (_sre.c), so a timer
    can interrupt it. The exception may arise anywhere in the block, which therefore must not have
    side effects. The package `regex` has timeouts, but is slower per line and reads `x{e}` as
    fuzzy matching.
    """
    begin_s = time.thread_time()

    def check_time(*_: object) -> None:
        # The timer measures all threads (setitimer(2)), and others may hash input files meanwhile.
        left_s = _SEARCH_CPU_S - (time.thread_time() - begin_s)
        if left_s <= 0:
            raise SearchTimeout
        signal.setitimer(signal.ITIMER_VIRTUAL, max(left_s, _MIN_TIMER_S))

    # A garbage collection would count as search, and takes longer than the limit in a process with
    # many objects. An exception that arises in a finalizer there would be lost.
    was_collecting = gc.isenabled()
    gc.disable()
    before = signal.signal(signal.SIGVTALRM, check_time)
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, _SEARCH_CPU_S)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    finally:
        signal.signal(signal.SIGVTALRM, before)
        if was_collecting:
            gc.enable()
