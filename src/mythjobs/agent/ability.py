"""What this machine says of itself to the master: its time zone, and what it enforces."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mythjobs.model.zone import zone_of

_LOCALTIME: Final = Path("/etc/localtime")
_TIMEZONE: Final = Path("/etc/timezone")
_MARK: Final = "zoneinfo/"


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
        zone_of(name)
    except ValueError:
        return False
    return True


def abilities() -> list[str]:
    """What this machine enforces by itself, its agent dead included; words of messages.CAN."""
    return ["wall", "leases", "windows", "freeze"]
