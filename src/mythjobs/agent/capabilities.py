"""What this machine says of itself to the master: its time zone, and what it enforces."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mythjobs.model.zone import load_zone
from mythjobs.process.cgroup import Groups, best_here

_LOCALTIME: Final = Path("/etc/localtime")
_TIMEZONE: Final = Path("/etc/timezone")
_MARK: Final = "zoneinfo/"

# By timers, by looking at what a tree used, and by what the kernel gives every process.
_ALWAYS: Final = (
    "leases", "windows", "freeze", "wall", "cpu", "idle", "output", "nice", "io",
)  # fmt: skip


def machine_zone(
    environ: Mapping[str, str], localtime: Path = _LOCALTIME, timezone: Path = _TIMEZONE
) -> str:
    """The IANA name of this machine's zone; "" where it has none that is known (UTC then)."""
    for name in (environ.get("TZ", "").lstrip(":"), _linked(localtime), _written(timezone)):
        if name and _is_known(name):
            return name
    return ""


def _linked(path: Path) -> str:
    try:
        target = os.readlink(path)
    except OSError:
        return ""
    _, found, name = target.partition(_MARK)
    return name if found else ""


def _written(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _is_known(name: str) -> bool:
    try:
        load_zone(name)
    except ValueError:
        return False
    return True


def abilities(groups: Groups | None) -> tuple[str, ...]:
    """What this machine enforces by itself, its agent dead included; words of messages.CAN.

    `groups` is what holds the trees of processes here, if anything does. Memory and
    processes are only said where the kernel holds to them: looking now and then comes late.
    """
    if groups is None:
        return _ALWAYS
    return (*_ALWAYS, "contain", *sorted(groups.enforces()))


def abilities_here() -> tuple[str, ...]:
    """Found by trying, and left as it was found."""
    groups = best_here()
    try:
        return abilities(groups)
    finally:
        if groups is not None:
            groups.close()
