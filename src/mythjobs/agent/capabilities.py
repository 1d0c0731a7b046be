"""Capabilities of this machine, for the agent's hello to the master: its time zone, and the job
limits that it can enforce."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mythjobs.model.zone import load_zone
from mythjobs.process.cgroup import open_cgroup_pool

_LOCALTIME: Final = Path("/etc/localtime")
_TIMEZONE: Final = Path("/etc/timezone")
_ZONE_DIRECTORY: Final = "zoneinfo/"

# Capabilities of every machine. None needs cgroups: timers, samples of each process tree's usage,
# and kernel calls per process (nice, ioprio) enforce them.
_ALWAYS: Final = (
    "leases", "windows", "freeze", "pause", "wall", "cpu", "idle", "output", "nice", "io",
)  # fmt: skip


def find_time_zone(
    environ: Mapping[str, str], localtime: Path = _LOCALTIME, timezone: Path = _TIMEZONE
) -> str:
    """Return the IANA name of this machine's time zone, or "" if it is unknown; the master then
    assumes UTC."""
    for name in (
        environ.get("TZ", "").lstrip(":"),
        _read_zone_link(localtime),
        _read_zone_file(timezone),
    ):
        if name and _is_known_zone(name):
            return name
    return ""


def _read_zone_link(path: Path) -> str:
    try:
        target = os.readlink(path)
    except OSError:
        return ""
    _, found, name = target.partition(_ZONE_DIRECTORY)
    return name if found else ""


def _read_zone_file(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _is_known_zone(name: str) -> bool:
    try:
        load_zone(name)
    except ValueError:
        return False
    return True


def list_capabilities(cgroup_limits: frozenset[str] | None) -> tuple[str, ...]:
    """Return the limits and features that this machine's reaper enforces, even while no agent runs:
    a subset of messages.CAPABILITIES.

    `cgroup_limits` are the limits that cgroups enforce; None if no cgroups can be created.
    The limits `memory` and `processes` are listed only if cgroups enforce them: without cgroups
    the usage is only sampled, which notices a breach too late.
    """
    if cgroup_limits is None:
        return _ALWAYS
    return (*_ALWAYS, "contain", *sorted(cgroup_limits))


def detect_capabilities() -> tuple[str, ...]:
    """Return this machine's capabilities; create cgroups to find those that cgroups enforce, and
    remove these cgroups again."""
    pool = open_cgroup_pool()
    if pool is None:
        return list_capabilities(None)
    try:
        return list_capabilities(pool.enforced_limits())
    finally:
        pool.close()
