"""Capabilities of this machine: its time zone, and the limits that it can enforce."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mythjobs.model.zone import load_zone
from mythjobs.process.cgroup import CgroupProvider, open_cgroup_pool

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
        _zone_of_link(localtime),
        _zone_in_file(timezone),
    ):
        if name and _is_known_zone(name):
            return name
    return ""


def _zone_of_link(path: Path) -> str:
    try:
        target = os.readlink(path)
    except OSError:
        return ""
    _, found, name = target.partition(_ZONE_DIRECTORY)
    return name if found else ""


def _zone_in_file(path: Path) -> str:
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


def capabilities_with(groups: CgroupProvider | None) -> tuple[str, ...]:
    """Return what this machine enforces even without an agent, as names in messages.CAN.

    `memory` and `processes` need a cgroup that enforces them: sampling would notice too late.
    """
    if groups is None:
        return _ALWAYS
    return (*_ALWAYS, "contain", *sorted(groups.enforced_limits()))


def detect_capabilities() -> tuple[str, ...]:
    """Detect the capabilities by creating cgroups, which are removed afterwards."""
    groups = open_cgroup_pool()
    try:
        return capabilities_with(groups)
    finally:
        if groups is not None:
            groups.close()
