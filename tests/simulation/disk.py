"""The disk of a machine: what was written survives a kill, what was synced a power cut as well."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import Final

from tests.simulation.world import World

_SYNC_MS: Final = 6


class Disk:
    """What all files of a machine share."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.full = 0  # how many faults fill it now
        self.slow_ms = 0

    def sync_ms(self) -> int:
        return self.slow_ms + self.world.random.randrange(_SYNC_MS)


class Log:
    """A file of lines that is only appended to."""

    def __init__(self, disk: Disk, first: bytes = b"") -> None:
        """`first` is durable: a file that replaced another."""
        self._disk = disk
        self._lines = [first] if first else []
        self._durable = len(self._lines)

    @property
    def disk(self) -> Disk:
        return self._disk

    def append(self, line: bytes) -> None:
        """Raises OSError."""
        if self._disk.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        self._lines.append(line)

    def sync(self, done: Callable[[], object]) -> None:
        """What is written by now is durable when `done` is called."""
        upto = len(self._lines)
        self._disk.world.after(self._disk.sync_ms(), self._synced, upto, done)

    def _synced(self, upto: int, done: Callable[[], object]) -> None:
        self._durable = max(self._durable, min(upto, len(self._lines)))
        done()

    def power_cut(self, random: Random | None) -> None:
        """The kernel may have written some of the rest, from its beginning; None: it has not."""
        kept = random.randint(self._durable, len(self._lines)) if random else self._durable
        self._lines = self._lines[:kept]
        self._durable = len(self._lines)

    def make_durable(self) -> None:
        self._durable = len(self._lines)

    @property
    def lines(self) -> list[bytes]:
        return self._lines

    def read_bytes(self) -> bytes:
        return b"".join(self._lines)
