"""Capabilities of this machine: its time zone, and the limits that it can enforce."""

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

# Enforced by timers, by sampling the usage of process trees, and by kernel calls per process.
_ALWAYS: Final = (
    "leases", "windows", "freeze", "wall", "cpu", "idle", "output", "nice", "io",
)  # fmt: skip


def find_time_zone(
    environ: Mapping[str, str], localtime: Path = _LOCALTIME, timezone: Path = _TIMEZONE
) -> str:
    """Return the IANA name of this machine's time zone; "" if unknown, which means UTC."""
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
    """Return what this machine enforces even without an agent, a part of messages.CAPABILITIES.

    `cgroup_limits` are the limits that cgroups enforce, None if there are no cgroups. `memory`
    and `processes` count only if cgroups enforce them: sampling would notice too late.
    """
    if cgroup_limits is None:
        return _ALWAYS
    return (*_ALWAYS, "contain", *sorted(cgroup_limits))


def detect_capabilities() -> tuple[str, ...]:
    """Detect the capabilities by creating cgroups, which are removed afterwards."""
    pool = open_cgroup_pool()
    if pool is None:
        return list_capabilities(None)
    try:
        return list_capabilities(pool.enforced_limits())
    finally:
        pool.close()
