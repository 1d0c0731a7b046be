"""Use of GPUs by the processes of a job."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from mythjobs.process import procfs

_DEVICES: Final = ("/dev/dri/render*", "/dev/nvidia[0-9]*")
_DRM_MAJOR: Final = 226
_NVIDIA_MAJOR: Final = 195
_NVIDIA_MAX_MINOR: Final = 127  # above are the devices that control all GPUs
_CLIENT: Final = re.compile(r"^drm-(?:client-id|pdev|driver):\s*(\S+)$", re.MULTILINE)
_BUSY: Final = re.compile(r"^drm-engine-(?!capacity-)(\S+):\s*(\d+) ns$", re.MULTILINE)
_CAPACITY: Final = re.compile(r"^drm-engine-capacity-(\S+):\s*(\d+)$", re.MULTILINE)


class GpuUsage(NamedTuple):
    """busy_s: time of the engine that the processes have used most. has_session: whether one of
    them has a GPU open whose driver does not count its time."""

    busy_s: float
    has_session: bool


def has_gpu(devices: Iterable[str] = _DEVICES) -> bool:
    """Return whether there is a device file of a GPU. devices: patterns of their paths."""
    return any(glob.glob(each) for each in devices)


def read_gpu_usage(pids: Iterable[int], proc: Path = Path("/proc")) -> GpuUsage:
    """Return the use of GPUs by processes since their start (drm-usage-stats.rst).

    A client may be open in several descriptors and processes; each counts once.
    """
    busy_s: defaultdict[str, float] = defaultdict(float)
    clients: set[tuple[str, ...]] = set()
    has_session = False
    for pid in pids:
        for name, device in _list_devices(proc / str(pid) / "fd"):
            if os.major(device) == _NVIDIA_MAJOR and os.minor(device) <= _NVIDIA_MAX_MINOR:
                has_session = True
            elif os.major(device) == _DRM_MAJOR:
                text = _read(proc / str(pid) / "fdinfo" / name)
                client = tuple(sorted(_CLIENT.findall(text)))
                if client not in clients:
                    clients.add(client)
                    for engine, seconds in parse_engines(text).items():
                        busy_s[engine] += seconds
    return GpuUsage(max(busy_s.values(), default=0.0), has_session)


def parse_engines(text: str) -> dict[str, float]:
    """Return the busy time of each kind of engine in seconds, from the fdinfo of a DRM client: as a
    share of all engines of the kind."""
    capacity = {engine: int(count) for engine, count in _CAPACITY.findall(text)}
    return {
        engine: int(ns) / 1e9 / max(capacity.get(engine, 1), 1)
        for engine, ns in _BUSY.findall(text)
    }


def _list_devices(directory: Path) -> Iterable[tuple[str, int]]:
    """Yield the descriptors that are character devices, with the number of the device."""
    try:
        names = procfs.list_directory(str(directory))
    except OSError:
        return  # the process is gone, or belongs to another user
    for name in names:
        try:
            status = os.stat(directory / name)
        except OSError:
            continue
        if stat.S_ISCHR(status.st_mode):
            yield name, status.st_rdev


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""
