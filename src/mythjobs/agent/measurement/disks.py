"""Disks of this machine: which disk a file is on, and the disks' counters in /proc/diskstats."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mythjobs.agent.scaling.counters import DiskCounters
from mythjobs.model.mountinfo import find_mount, parse_mountinfo

_SECTOR_BYTES: Final = 512  # of /proc/diskstats, whatever the disk's own sectors are


class DiskMap:
    """Finds the disk of a file by the device number of its file system.

    A partition counts as its whole disk. A device of the device mapper (LVM, for example)
    counts as itself. A file system without a block device (tmpfs, NFS) has no disk.
    """

    def __init__(
        self,
        sys_block: Path = Path("/sys/dev/block"),
        mountinfo: Path = Path("/proc/self/mountinfo"),
    ) -> None:
        self._sys_block = sys_block
        self._mountinfo = mountinfo
        self._by_device: dict[int, str | None] = {}
        # The last content of a mountinfo file, and the devices of its mounts by their ids.
        self._content = b""
        self._devices: dict[int, int] = {}

    @property
    def names(self) -> set[str]:
        """The disks found so far."""
        return {name for name in self._by_device.values() if name is not None}

    def find(self, device: int) -> str | None:
        """Return the kernel's name of the disk (`sda`) of a file whose `st_dev` is `device`; None
        without a disk."""
        if device not in self._by_device:
            self._by_device[device] = self._look_up(device)
        return self._by_device[device]

    def parse_mounts(self, content: bytes) -> Mapping[int, int]:
        """Return the devices of the mounts in /proc/PID/mountinfo by their ids, for find()."""
        if content != self._content:
            self._content = content
            self._devices = {each.mount_id: each.device for each in parse_mountinfo(content)}
        return self._devices

    def find_for_path(self, path: str) -> str | None:
        """Return the disk of a path; None if it has none or does not exist."""
        try:
            return self.find(os.stat(path).st_dev)
        except OSError:
            return None

    def _look_up(self, device: int) -> str | None:
        if os.major(device) == 0:
            # A file system with several subvolumes, such as btrfs, has device numbers of its own.
            source = self._find_source(device)
            if source is None:
                return None
            try:
                device = os.stat(source).st_rdev
            except OSError:
                return None
        link = self._sys_block / f"{os.major(device)}:{os.minor(device)}"
        try:
            directory = link.resolve(strict=True)
        except OSError:
            return None
        return directory.parent.name if (directory / "partition").exists() else directory.name

    def _find_source(self, device: int) -> str | None:
        """Return the path of the block device of a mounted file system; None if it has none."""
        try:
            mount = find_mount(self._mountinfo.read_bytes(), device)
        except OSError:
            return None
        # Only below /dev: another source, such as that of bindfs, may be on a disk that hangs.
        return mount.source if mount and mount.source.startswith("/dev/") else None


def parse_diskstats(text: bytes, names: set[str]) -> dict[str, DiskCounters]:
    """Return the counters of the named disks from /proc/diskstats (iostats.rst)."""
    found = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 13 and (name := fields[2].decode("ascii", "replace")) in names:
            sectors = int(fields[5]) + int(fields[9])
            found[name] = DiskCounters(sectors * _SECTOR_BYTES, int(fields[12]) / 1000)
    return found
