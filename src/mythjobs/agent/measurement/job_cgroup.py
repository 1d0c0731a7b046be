"""The cgroup (v2) of a running job: its processes, also orphans, and what they have used.

Needs no controller: the kernel counts the CPU time of every v2 cgroup.
"""

from __future__ import annotations

import os
import re
from typing import Final

from mythjobs.process.cgroup.group import CgroupDirectory
from mythjobs.process.cgroup.mounts import CgroupMounts
from mythjobs.process.cgroup.pool import POOL_PREFIX

_V2_LINE: Final = re.compile(r"^0::(/.*)$", re.MULTILINE)
_IO_LINE: Final = re.compile(r"^(\d+):(\d+) (.*)$", re.MULTILINE)
_IO_BYTES: Final = re.compile(r"\b[rw]bytes=(\d+)")


def find_mount_point(mounts: CgroupMounts) -> str | None:
    """Return where the v2 hierarchy is mounted; None if it is not."""
    own = read_cgroup_path("self")
    if mounts.unified is None or own is None:
        return None
    if own == "/":
        return mounts.unified
    return mounts.unified.removesuffix(own) if mounts.unified.endswith(own) else None


def read_cgroup_path(process: str | int) -> str | None:
    """Return the v2 cgroup of a process, below the root of the hierarchy; None if unknown."""
    try:
        with open(f"/proc/{process}/cgroup", encoding="utf-8", errors="surrogateescape") as file:
            found = _V2_LINE.search(file.read())
    except OSError:
        return None
    return found[1] if found else None


class JobCgroup:
    """Cgroup that a reaper has given to one job. A reaper uses it again for a later job, so its
    counters do not begin at 0."""

    def __init__(self, path: str) -> None:
        self._directory = CgroupDirectory(path)

    @staticmethod
    def find(mount_point: str | None, leader: int) -> JobCgroup | None:
        """Return the cgroup of a job by the pid of its leader; None if the job has none, or if it
        cannot be read."""
        path = None if mount_point is None else read_cgroup_path(leader)
        if path is None or not path.rpartition("/")[0].rpartition("/")[2].startswith(POOL_PREFIX):
            return None
        found = JobCgroup(f"{mount_point}{path}")
        return found if leader in found.list_pids() else None

    def list_pids(self) -> list[int]:
        return self._directory.list_pids()

    def read_cpu_s(self) -> float | None:
        """Return the CPU time of all processes since the cgroup was created; None if it is gone."""
        usec = self._directory.read_keyed_numbers("cpu.stat").get("usage_usec")
        return None if usec is None else usec / 1e6

    def read_moved_bytes(self) -> dict[int, int]:
        """Return the bytes read and written by device number; empty without the io controller."""
        return parse_io_stat(self._directory.read("io.stat"))


def parse_io_stat(text: str) -> dict[int, int]:
    """Return the bytes read and written by device number, from io.stat (cgroup-v2.rst)."""
    return {
        os.makedev(int(major), int(minor)): sum(map(int, _IO_BYTES.findall(rest)))
        for major, minor, rest in _IO_LINE.findall(text)
    }
