"""What a disk holds after the power was cut: drawn from the log of a PowerDisk. Pure.

As adversarial as POSIX allows, and more so than ext4 is:
- Of a file, what was written before its last fsync or fdatasync is there. Of every 512-byte sector
  that was written since, any of the versions since may be there, each sector for itself; the length
  is any that the file had since.
- Of a directory, the names at its last fsync are there; of what was made, renamed and removed in it
  since, any first part, in order. An fsync of a file says nothing about its name.
- What an fsync that failed was to write is never written by a later one (Linux calls those pages
  clean), only if it is written again; until then the living still read it.
Assumed is that a sector is old or new, never mixed, and that what was synced stays.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.support.powerdisk import ROOT, Record

SECTOR: Final = 512
_HOLE: Final = bytes(SECTOR)


@dataclass(slots=True)
class _File:
    mode: int
    # What the living read.
    cached: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    # What is on the disk for sure.
    durable: dict[int, bytes] = field(default_factory=dict)
    durable_size: int = 0
    # Versions of a sector, and lengths, since; `lost` are those no later sync will write.
    newer: dict[int, list[bytes]] = field(default_factory=dict)
    sizes: list[int] = field(default_factory=list)
    lost: dict[int, list[bytes]] = field(default_factory=dict)

    def write(self, offset: int, data: bytes) -> None:
        end = offset + len(data)
        for number in range(offset // SECTOR, -(-end // SECTOR)):
            start = number * SECTOR
            low, high = max(offset, start), min(end, start + SECTOR)
            old = self.cached.get(number, _HOLE)
            new = old[: low - start] + data[low - offset : high - offset] + old[high - start :]
            self._put(number, new)
        if end > self.size:
            self._resize(end)

    def truncate(self, size: int) -> None:
        for number in [each for each in self.cached if each * SECTOR >= size]:
            self._put(number, _HOLE)
        if size % SECTOR and size < self.size:
            number = size // SECTOR
            kept = self.cached.get(number, _HOLE)[: size % SECTOR]
            self._put(number, kept.ljust(SECTOR, b"\0"))
        self._resize(size)

    def _put(self, number: int, sector: bytes) -> None:
        self.cached[number] = sector
        self.newer.setdefault(number, self.lost.pop(number, [])).append(sector)

    def _resize(self, size: int) -> None:
        self.size = size
        self.sizes.append(size)

    def sync(self) -> None:
        for number, versions in self.newer.items():
            self.durable[number] = versions[-1]
        self.newer.clear()
        if self.sizes:
            self.durable_size = self.sizes[-1]
            self.sizes.clear()

    def sync_failed(self) -> None:
        self.lost |= self.newer
        self.newer = {}

    def durable_bytes(self) -> bytes:
        return _joined(self.durable, self.durable_size)

    def drawn(self, random: Random, luck: float) -> bytes:
        """`luck` is how likely something unsynced is there."""
        sectors = dict(self.durable)
        for number, versions in (self.newer | self.lost).items():
            if random.random() < luck:
                sectors[number] = versions[-1] if luck == 1.0 else random.choice(versions)
        size = self.durable_size
        if self.sizes and random.random() < luck:
            size = self.sizes[-1] if luck == 1.0 else random.choice(self.sizes)
        return _joined(sectors, size)


def _joined(sectors: dict[int, bytes], size: int) -> bytes:
    whole = b"".join(sectors.get(number, _HOLE) for number in range(-(-size // SECTOR)))
    return whole[:size]


@dataclass(slots=True)
class _Directory:
    durable: dict[str, int] = field(default_factory=dict)
    pending: list[Record] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = self.after(len(self.pending))
        self.pending.clear()

    def after(self, count: int) -> dict[str, int]:
        names = dict(self.durable)
        for kind, *what in self.pending[:count]:
            if kind == "link":
                names[what[0]] = what[1]
            elif kind == "unlink":
                names.pop(what[0], None)
            else:
                names[what[1]] = names.pop(what[0])
        return names

    def drawn(self, random: Random, luck: float) -> dict[str, int]:
        if luck in (0.0, 1.0):
            return self.after(round(luck * len(self.pending)))
        return self.after(random.randint(0, len(self.pending)))


@dataclass
class Remains:
    """What is there after the cut: directories, regular files, and what of these was synced."""

    directories: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    durable: dict[str, bytes] = field(default_factory=dict)

    def put(self, root: Path) -> None:
        """Writes them below `root`, which is there."""
        for path in self.directories:
            (root / path).mkdir(mode=0o700, exist_ok=True)
        for path, data in self.files.items():
            with open(os.open(root / path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(data)


class Disk:
    """Follows the log record by record; a cut may be drawn after any of them."""

    def __init__(self) -> None:
        self._files: dict[int, _File] = {}
        self._directories = {ROOT: _Directory()}
        self.marks: list[str] = []
        self.syncs = 0

    def follow(self, records: Iterable[Record]) -> None:
        for record in records:
            self._take(*record)

    def _take(self, kind: str, *what: Any) -> None:
        if kind == "mark":
            self.marks.append(what[0])
        elif kind == "new":
            number, mode = what
            if stat.S_ISDIR(mode):
                self._directories[number] = _Directory()
            else:
                self._files[number] = _File(mode)
        elif kind in ("link", "unlink", "rename"):
            self._directories[what[0]].pending.append((kind, *what[1:]))
        elif kind == "write":
            self._files[what[0]].write(what[1], what[2])
        elif kind == "size":
            self._files[what[0]].truncate(what[1])
        elif kind == "sync":
            self.syncs += 1
            (self._files.get(what[0]) or self._directories[what[0]]).sync()
        elif kind == "failed" and what[0] in self._files:
            self._files[what[0]].sync_failed()

    def cut(self, random: Random) -> Remains:
        """One of the many things that may be left. In a quarter of them nothing unsynced is
        there, in a quarter all of it; those a sloppy program survives by luck, or does not."""
        luck = random.choice([0.0, 1.0, random.random(), random.random()])
        remains = Remains()
        self._draw(ROOT, "", random, luck, remains)
        return remains

    def _draw(self, number: int, at: str, random: Random, luck: float, remains: Remains) -> None:
        for name, each in self._directories[number].drawn(random, luck).items():
            path = f"{at}{name}"
            if each in self._directories:
                remains.directories.append(path)
                self._draw(each, f"{path}/", random, luck, remains)
            elif stat.S_ISREG(self._files[each].mode):
                remains.files[path] = self._files[each].drawn(random, luck)
                remains.durable[path] = self._files[each].durable_bytes()
