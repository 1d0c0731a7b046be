"""Model of a machine's disk: written data survive a kill, synced data survive a power cut."""

from __future__ import annotations

import errno
from collections.abc import Callable
from random import Random
from typing import Final

from tests.simulation.simulator import Simulator

_SYNC_MS: Final = 6


class SimDisk:
    """State shared by all files of a machine."""

    def __init__(self, sim: Simulator) -> None:
        self.sim = sim
        self.full_faults = 0  # active faults that fill the disk
        self.extra_sync_ms = 0

    def draw_sync_ms(self) -> int:
        return self.extra_sync_ms + self.sim.random.randrange(_SYNC_MS)


class AppendOnlyFile:
    """File of lines on a SimDisk."""

    def __init__(self, disk: SimDisk, first_line: bytes = b"") -> None:
        """`first_line` is durable, as in a file that was renamed into place."""
        self.disk = disk
        self.lines = [first_line] if first_line else []
        self._durable_lines = len(self.lines)

    def append(self, line: bytes) -> None:
        """Raises OSError if the disk is full."""
        if self.disk.full_faults:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.lines.append(line)

    def sync(self, on_synced: Callable[[], object]) -> None:
        """Call `on_synced` when the lines written until now are durable."""
        count = len(self.lines)
        self.disk.sim.call_later(self.disk.draw_sync_ms(), self._synced, count, on_synced)

    def _synced(self, count: int, on_synced: Callable[[], object]) -> None:
        self._durable_lines = max(self._durable_lines, min(count, len(self.lines)))
        on_synced()

    def cut_power(self, random: Random | None) -> None:
        """Keep durable lines and a random prefix of the rest; none of the rest without `random`."""
        durable = self._durable_lines
        kept = random.randint(durable, len(self.lines)) if random else durable
        self.lines = self.lines[:kept]
        self._durable_lines = len(self.lines)

    def sync_now(self) -> None:
        self._durable_lines = len(self.lines)

    def read_bytes(self) -> bytes:
        return b"".join(self.lines)
