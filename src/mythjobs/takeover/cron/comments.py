"""Disabling of lines in crontabs by a comment before them, and its reversal, on bytes."""

from __future__ import annotations

import re
from typing import Final

from mythjobs.takeover.entry import Place

_MARKER: Final = re.compile(rb"#mythjobs [^#\s]+# ")


def is_disabled(data: bytes, place: Place) -> bool | None:
    """Return whether our marker is before the entry's line; None if the line is not there."""
    at = _find_line(data, place)
    return None if at is None else _MARKER.match(data, at) is not None


def disable_line(data: bytes, place: Place, name: str) -> bytes:
    """Return the content with our marker before the entry's line. Raises LookupError."""
    at = _find_line(data, place)
    if at is None:
        raise LookupError(place.line)
    if _MARKER.match(data, at):
        return data
    return data[:at] + f"#mythjobs {name}# ".encode() + data[at:]


def enable_line(data: bytes, place: Place) -> bytes:
    """Return the content without our marker before the entry's line. Raises LookupError."""
    at = _find_line(data, place)
    if at is None:
        raise LookupError(place.line)
    found = _MARKER.match(data, at)
    return data[:at] + data[found.end() :] if found else data


def remove_markers(data: bytes) -> bytes:
    """Return the content with all disabled lines enabled."""
    return b"\n".join(
        _MARKER.sub(b"", line, count=1) if _MARKER.match(line) else line
        for line in data.split(b"\n")
    )


def has_markers(data: bytes) -> bool:
    return any(_MARKER.match(line) for line in data.split(b"\n"))


def _find_line(data: bytes, place: Place) -> int | None:
    """Return the offset of the entry's line, with or without a marker.

    Equal lines are counted from the top, whether disabled or not.
    """
    wanted = place.line.encode(errors="surrogateescape")
    at, left = 0, place.occurrence
    for line in data.split(b"\n"):
        found = _MARKER.match(line)
        if line[found.end() if found else 0 :] == wanted:
            if not left:
                return at
            left -= 1
        at += len(line) + 1
    return None
