"""Whether a job that failed said in its output that it is to be tried later."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from mythjobs.agent.bounded import TooLong, bounded
from mythjobs.agent.core.attempt import Key, Output
from mythjobs.model.output_window import Kept
from mythjobs.process.reaper.output import read_range, stream_path

# What a program says of its failure stands at the end.
_TAIL_BYTES: Final = 64 * 1024
_LONGEST_LINE: Final = 4096
_MOST_SAID: Final = 200
_DONE: Final = {"kind": "exited", "code": 0}
log = logging.getLogger(__name__)


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
        kept = Kept(written, head, tail)
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
