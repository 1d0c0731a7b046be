"""Model of a disk after a power cut: random contents that the log of a RecordingDisk allows.

The model allows what POSIX allows, which is more than ext4 does:
- Data written to a file before its last fsync or fdatasync survives. Each 512-byte sector written
  later has any of its later versions, independent of the others; the length is any later length.
- The names in a directory at its last fsync survive. Of later creations, renames and removals any
  prefix, in order, has happened. An fsync of a file does not cover its name.
- Data of a failed fsync is not written by a later fsync, because Linux marks those pages clean,
  but only if it is written again. Until the cut, reads return it.
The model assumes that a sector is old or new, never mixed, and that synced data survives.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tests.support.recording_disk import ROOT, Record

SECTOR: Final = 512
_HOLE: Final = bytes(SECTOR)


@dataclass(slots=True)
class _FileModel:
    mode: int
    # Contents of the page cache.
    cached: dict[int, bytes] = field(default_factory=dict)
    size: int = 0
    # Contents that survive any cut.
    durable: dict[int, bytes] = field(default_factory=dict)
    durable_size: int = 0
    # Later versions of sectors, and lengths. A later sync does not write those in `lost`.
    unsynced: dict[int, list[bytes]] = field(default_factory=dict)
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
        self.unsynced.setdefault(number, self.lost.pop(number, [])).append(sector)

    def _resize(self, size: int) -> None:
        self.size = size
        self.sizes.append(size)

    def sync(self) -> None:
        for number, versions in self.unsynced.items():
            self.durable[number] = versions[-1]
        self.unsynced.clear()
        if self.sizes:
            self.durable_size = self.sizes[-1]
            self.sizes.clear()

    def fail_sync(self) -> None:
        self.lost |= self.unsynced
        self.unsynced = {}

    def durable_bytes(self) -> bytes:
        return _join_sectors(self.durable, self.durable_size)

    def draw(self, random: Random, luck: float) -> bytes:
        """Return random contents; unsynced data survives with probability `luck`."""
        sectors = dict(self.durable)
        for number, versions in (self.unsynced | self.lost).items():
            if random.random() < luck:
                sectors[number] = versions[-1] if luck == 1.0 else random.choice(versions)
        size = self.durable_size
        if self.sizes and random.random() < luck:
            size = self.sizes[-1] if luck == 1.0 else random.choice(self.sizes)
        return _join_sectors(sectors, size)


def _join_sectors(sectors: dict[int, bytes], size: int) -> bytes:
    whole = b"".join(sectors.get(number, _HOLE) for number in range(-(-size // SECTOR)))
    return whole[:size]


@dataclass(slots=True)
class _DirectoryModel:
    durable: dict[str, int] = field(default_factory=dict)
    pending: list[Record] = field(default_factory=list)

    def sync(self) -> None:
        self.durable = self.names_after(len(self.pending))
        self.pending.clear()

    def names_after(self, count: int) -> dict[str, int]:
        names = dict(self.durable)
        for kind, *what in self.pending[:count]:
            if kind == "link":
                names[what[0]] = what[1]
            elif kind == "unlink":
                names.pop(what[0], None)
            else:
                names[what[1]] = names.pop(what[0])
        return names

    def draw(self, random: Random, luck: float) -> dict[str, int]:
        if luck in (0.0, 1.0):
            return self.names_after(round(luck * len(self.pending)))
        return self.names_after(random.randint(0, len(self.pending)))


@dataclass
class DiskContents:
    """Contents after a cut: directories, files, and the synced part of the files."""

    directories: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    durable: dict[str, bytes] = field(default_factory=dict)

    def write_to(self, root: Path) -> None:

        for path in self.directories:
            (root / path).mkdir(mode=0o700, exist_ok=True)
        for path, data in self.files.items():
            with open(os.open(root / path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
                file.write(data)


class DiskModel:
    """State of the disk after the replayed records of the log."""

    def __init__(self) -> None:
        self._files: dict[int, _FileModel] = {}
        self._directories = {ROOT: _DirectoryModel()}
        self.marks: list[str] = []
        self.syncs = 0

    def replay(self, records: Iterable[Record]) -> None:
        for record in records:
            self._apply(*record)

    def _apply(self, kind: str, *what: Any) -> None:
        if kind == "mark":
            self.marks.append(what[0])
        elif kind == "new":
            number, mode = what
            if stat.S_ISDIR(mode):
                self._directories[number] = _DirectoryModel()
            else:
                self._files[number] = _FileModel(mode)
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
            self._files[what[0]].fail_sync()

    def cut_power(self, random: Random) -> DiskContents:
        """Return random contents that a power cut may leave.

        In a quarter of the cuts no unsynced data survives, in a quarter all of it.
        """
        luck = random.choice([0.0, 1.0, random.random(), random.random()])
        remains = DiskContents()
        self._draw(ROOT, "", random, luck, remains)
        return remains

    def _draw(
        self, number: int, at: str, random: Random, luck: float, remains: DiskContents
    ) -> None:
        for name, each in self._directories[number].draw(random, luck).items():
            path = f"{at}{name}"
            if each in self._directories:
                remains.directories.append(path)
                self._draw(each, f"{path}/", random, luck, remains)
            elif stat.S_ISREG(self._files[each].mode):
                remains.files[path] = self._files[each].draw(random, luck)
                remains.durable[path] = self._files[each].durable_bytes()
