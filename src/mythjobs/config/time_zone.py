"""Time zone of this machine, by its IANA name."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mythjobs.model.zone import load_zone

_LOCALTIME: Final = Path("/etc/localtime")
_TIMEZONE: Final = Path("/etc/timezone")
_ZONE_DIRECTORY: Final = "zoneinfo/"


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
