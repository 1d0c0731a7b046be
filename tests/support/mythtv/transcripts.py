"""Recorded conversations with a real MythTV backend (recordings/), read back as bytes.

A line of a transcript is `time socket > text` for what the client sent in one write, `<` for what
the backend sent, `!` for what happened to the connection. Text has escapes as in C: \\n, \\xNN.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RECORDINGS = Path(__file__).parent / "recordings"
_LINE = re.compile(r"\S+ (\w+) ([<>!]) ?(.*)", re.DOTALL)
_ESCAPE = re.compile(r"\\(\\|n|r|t|x[0-9a-f]{2})")


@dataclass(frozen=True)
class Line:
    socket: str
    direction: str  # < > !
    data: bytes


def read_transcript(path: Path) -> list[Line]:
    lines = []
    for text in path.read_text(encoding="utf-8").split("\n"):
        if text and not text.startswith("#"):
            found = _LINE.fullmatch(text)
            assert found, f"{path}: {text}"
            lines.append(Line(found[1], found[2], unescape(found[3])))
    return lines


def unescape(text: str) -> bytes:
    plain = {"\\": "\\", "n": "\n", "r": "\r", "t": "\t"}

    def replace(found: re.Match[str]) -> str:
        code = found[1]
        return plain.get(code) or bytes([int(code[1:], 16)]).decode("latin-1")

    return _ESCAPE.sub(replace, text).encode()


def payload(frame: bytes) -> bytes:
    """Return the payload of one whole frame."""
    size = int(frame[:8])
    assert len(frame) == 8 + size, frame
    return frame[8:]


def conversations(name: str = "protocol") -> list[Path]:
    return sorted((RECORDINGS / name).glob("*.txt"))


def events(name: str) -> list[bytes]:
    """Return the frames that a monitor received, in order. name: `10-…mode3-bridge3`."""
    lines = read_transcript(RECORDINGS / "events" / f"{name}.txt")
    return [
        each.data for each in lines if each.direction == "<" and b"BACKEND_MESSAGE" in each.data
    ]


def recorded_replies() -> dict[bytes, list[bytes]]:
    """Return the frames with which the backend answered each request of the recorded control
    sockets; none for a request that it did not answer."""
    replies: dict[bytes, list[bytes]] = {}
    for path in conversations():
        # Pipelined: a reply belongs to an earlier request. Or it depends on marks set before.
        if path.name.startswith(("15", "16", "41")):
            continue
        for request, frames in exchanges(path, "ctl"):
            if not replies.get(request):
                replies[request] = frames
    return replies


def exchanges(path: Path, socket: str) -> list[tuple[bytes, list[bytes]]]:
    """Return (write of the client, frames of the backend until its next write)."""
    found: list[tuple[bytes, list[bytes]]] = []
    for line in read_transcript(path):
        if line.socket != socket:
            continue
        if line.direction == ">":
            found.append((line.data, []))
        elif line.direction == "<" and found:
            found[-1][1].append(line.data)
    return found
