"""How long programs that are not jobs wait for disks, by the pressure files of their cgroups."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from mythjobs.agent.measurement.job_cgroup import find_mount_point, read_cgroup_path
from mythjobs.process.cgroup.mounts import read_cgroup_mounts
from mythjobs.process.cgroup.pool import POOL_PREFIX

_STALL: Final = re.compile(rb"^some .*total=(\d+)", re.MULTILINE)
# Programs start and end meanwhile, but the cgroups of services stay.
_READINGS: Final = 10


class ForeignPressure:
    """Reads io.pressure (psi.rst) of the cgroups that have neither this process, nor a reaper, nor
    jobs below them. Without v2 cgroups, or if all programs share one, nothing is known.
    """

    def __init__(self, root: str | None = None) -> None:
        """root: where the v2 hierarchy is mounted; by default it is looked up."""
        self._root = root or find_mount_point(read_cgroup_mounts())
        self._paths: list[str] = []
        self._readings = 0
        self._last: dict[str, float] = {}
        self._total_s = 0.0

    def read_stall_s(self, reaper_pids: Iterable[int]) -> float | None:
        """Return a total in seconds, to which each call adds the longest wait of one of these
        cgroups since the call before. None if none of them can be read."""
        if self._root is None:
            return None
        if self._readings % _READINGS == 0:
            own = map(read_cgroup_path, ["self", *map(str, reaper_pids)])
            self._paths = find_foreign(self._root, [each for each in own if each is not None])
        self._readings += 1
        found = {}
        for path in self._paths:
            with suppress(OSError):
                stall = _STALL.search(Path(path, "io.pressure").read_bytes())
                if stall is not None:
                    found[path] = int(stall[1]) / 1e6
        if not found:
            return None
        last, self._last = self._last, found
        grown = (stall_s - last[path] for path, stall_s in found.items() if path in last)
        self._total_s += max(grown, default=0.0)
        return self._total_s


def find_foreign(root: str, own_paths: Iterable[str]) -> list[str]:
    """Return the highest cgroups that contain none of the own ones: the pressure of a cgroup
    includes that of all below it."""
    inner = {root}
    for path in own_paths:
        directory = root
        for name in filter(None, path.split("/")):
            directory = f"{directory}/{name}"
            inner.add(directory)
    found = []
    for directory in sorted(inner):
        with suppress(OSError), os.scandir(directory) as entries:
            found += [
                each.path
                for each in entries
                if each.path not in inner
                and not each.name.startswith(POOL_PREFIX)
                and each.is_dir(follow_symlinks=False)
            ]
    return found
