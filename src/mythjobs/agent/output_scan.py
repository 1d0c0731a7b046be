"""Progress read from the output of running attempts, as it grows."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from mythjobs.agent.bounded import TooLong, bounded
from mythjobs.agent.core.attempt import Attempt
from mythjobs.model.output_window import Kept
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
            if stream.read(path, Kept(*kept)):
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

    def read(self, path: str, kept: Kept) -> bool:
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

    def _feed(self, path: str, kept: Kept, size: int) -> None:
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
