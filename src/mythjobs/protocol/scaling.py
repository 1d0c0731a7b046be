"""Structs of the link about a machine: what it can do, what it has room for, and its load."""

from __future__ import annotations

from typing import Any, TypedDict

from msgspec import Struct, field

# Footprint of a command (mythjobs.agent.scaling.footprint): number of runs, cores, peak memory in
# bytes, longest duration in seconds, share of the GPU, share of each disk.
FootprintRow = list[Any]


class Mount(Struct, frozen=True):
    """A mounted file system with files of users. source: device, or server and path; disk: name of
    the disk in LoadReport, "" if there is none."""

    path: str
    type: str
    source: str
    disk: str = ""


class MachineDescription(Struct, frozen=True):
    """What a machine can do, as its agent has found out. gpus, mounts: for people."""

    labels: list[str] = field(default_factory=list)
    gpus: list[str] = field(default_factory=list)
    mounts: list[Mount] = field(default_factory=list)


class Headroom(Struct, frozen=True):
    """What a machine that scales automatically has room for, by its own measurements.

    fits: for each command, how many further jobs could start if no job of another command starts.
    other: the same for a command that is not in `fits`. reasons: why no further job
    of a command fits, for people.
    """

    fits: dict[str, int] = field(default_factory=dict)
    other: int = 0
    reasons: dict[str, str] = field(default_factory=dict)


class DiskLoad(Struct, frozen=True):
    """Shares of a disk's time in which it is busy, and in which programs other than jobs use it."""

    busy: float
    foreign: float


class LoadReport(Struct, frozen=True):
    """Load of a machine. cpu: cores in use, of which own_cpu by jobs; foreign_cpu: by programs that
    are not jobs and have no low priority. available_bytes: memory that is free, or can be freed at
    once. pressure: by cpu, io and memory, percent of the last 10 s in which some, and in which all
    processes waited for it (/proc/pressure)."""

    cores: int
    cpu: float
    foreign_cpu: float
    memory_bytes: int
    available_bytes: int
    disks: dict[str, DiskLoad] = field(default_factory=dict)
    own_cpu: float = 0.0
    pressure: dict[str, tuple[float, float]] = field(default_factory=dict)


class ScalingDetails(TypedDict):
    """How a machine scales. sentence: why it runs as many jobs as it does. fits: how many further
    jobs of a command have room. reasons: why none has."""

    sentence: str
    fits: dict[str, int]
    reasons: dict[str, str]
