"""Frames of MythTV's protocol, and what differs between its versions. Pure.

A frame is the length of its payload in bytes, as eight characters, then the payload: UTF-8 text of
fields joined by a separator that is never escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mythjobs.errors import ProtocolError

SEPARATOR: Final = "[]:[]"
_LENGTH_SIZE: Final = 8
# The answer with all recordings is the longest: 1 kB for each.
MAX_PAYLOAD_BYTES: Final = 64 * 2**20

# Versions of the protocol and the token that a client must send with each (MythTV's history): a
# refusal names the backend's version, not its token. 91 is that of MythTV 29 to 36.
TOKENS: Final = {
    91: "BuzzOff",
    90: "BuzzCut",
    89: "BuzzKill",
    88: "XmasGift",
    77: "WindMark",
    75: "SweetRock",
    72: "D78EFD6F",
}
NEWEST: Final = 91

# Fields of a program, with the version from which on it has them.
_PROGRAM_FIELDS: Final = (
    ("title", 0), ("subtitle", 0), ("description", 0), ("season", 0), ("episode", 0),
    ("totalepisodes", 79), ("syndicatedepisode", 76), ("category", 0), ("chanid", 0),
    ("channum", 0), ("callsign", 0), ("channame", 0), ("filename", 0), ("filesize", 0),
    ("starttime", 0), ("endtime", 0), ("findid", 0), ("hostname", 0), ("sourceid", 0),
    ("cardid", 0), ("inputid", 0), ("recpriority", 0), ("recstatus", 0), ("recordid", 0),
    ("rectype", 0), ("dupin", 0), ("dupmethod", 0), ("recstartts", 0), ("recendts", 0),
    ("programflags", 0), ("recgroup", 0), ("outputfilters", 0), ("seriesid", 0),
    ("programid", 0), ("inetref", 0), ("lastmodified", 0), ("stars", 0), ("airdate", 0),
    ("playgroup", 0), ("recpriority2", 0), ("parentid", 0), ("storagegroup", 0),
    ("audioproperties", 0), ("videoproperties", 0), ("subtitletype", 0), ("year", 0),
    ("partnumber", 76), ("parttotal", 76), ("categorytype", 79), ("recordedid", 82),
    ("inputname", 86), ("bookmarkupdate", 86),
)  # fmt: skip


def encode_frame(*fields: str) -> bytes:
    """Return one frame. Raises ValueError for a field with the separator in it, which the backend
    would read as two fields."""
    if any(SEPARATOR in each for each in fields):
        raise ValueError(f"a field must not contain {SEPARATOR}")
    payload = SEPARATOR.join(fields).encode()
    return b"%-8d" % len(payload) + payload


class FrameDecoder:
    """Splits received bytes into frames, however the network has divided them."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def has_part(self) -> bool:
        """Whether the beginning of a frame has arrived, and its end has not."""
        return bool(self._buffer)

    def feed(self, data: bytes) -> list[list[str]]:
        """Return the fields of each frame completed by `data`. Raises ProtocolError."""
        self._buffer += data
        found = []
        while len(self._buffer) >= _LENGTH_SIZE:
            size = _parse_length(bytes(self._buffer[:_LENGTH_SIZE]))
            if len(self._buffer) < _LENGTH_SIZE + size:
                break
            payload = bytes(self._buffer[_LENGTH_SIZE : _LENGTH_SIZE + size])
            del self._buffer[: _LENGTH_SIZE + size]
            found.append(payload.decode("utf-8", "replace").split(SEPARATOR))
        return found


def _parse_length(prefix: bytes) -> int:
    text = prefix.strip()
    if not text.isdigit() or int(text) > MAX_PAYLOAD_BYTES:
        raise ProtocolError(
            f"the backend sent {prefix!r} as the length of a message; is it a MythTV backend?"
        )
    return int(text)


def program_fields(version: int) -> tuple[str, ...]:
    """Return the names of a program's fields in this version of the protocol, in their order."""
    return tuple(name for name, since in _PROGRAM_FIELDS if version >= since)


def parse_program(fields: Sequence[str], version: int) -> dict[str, str] | None:
    """Return the fields of one program by name; None if their number is wrong, because a text
    contains the separator."""
    names = program_fields(version)
    return dict(zip(names, fields, strict=True)) if len(fields) == len(names) else None
