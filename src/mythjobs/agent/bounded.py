"""A bound on the time that searching for an author's expression may take."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

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
