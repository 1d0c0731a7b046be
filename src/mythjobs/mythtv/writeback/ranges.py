"""Ranges of frames: mythutil's notation, edit lists, comskip's output. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from mythjobs.errors import BadRequest
from mythjobs.mythtv.parameters import OPEN_END

Ranges = tuple[tuple[int, int], ...]

_FRAMES: Final = re.compile(r"(\d{0,8})-(\d{0,8})")
_EDL: Final = re.compile(r"(\d+(?:\.\d*)?)\s+(\d+(?:\.\d*)?)(?:\s+([0-9]))?")
_COMSKIP_HEADER: Final = re.compile(r"FILE PROCESSING COMPLETE\s+(\d+) FRAMES AT\s+(\d+)")
_COMSKIP_RANGE: Final = re.compile(r"(\d+)\s+(\d+)")
# Types of an edit list (MPlayer, Kodi): cut and commercial break; 1 is mute, 2 is a scene.
_SKIPPED: Final = ("", "0", "3")


def parse_frames(text: str) -> Ranges:
    """Parse `0-100,2500-2600`; `2500-` reaches to the end. Raises BadRequest."""
    found = []
    for piece in filter(None, (each.strip() for each in text.split(","))):
        match = _FRAMES.fullmatch(piece)
        if match is None or piece == "-":
            raise BadRequest(f'"{piece:.40}" is not a range of frames; write it like 100-2500')
        found.append((int(match[1] or 0), int(match[2]) if match[2] else OPEN_END))
    return normalize(found)


def parse_edl(text: str, fps: float) -> Ranges:
    """Parse an edit list: a range in seconds and its type in each line. Raises BadRequest.

    Ranges of other types than cut (0) and commercial (3) are left out.
    """
    if fps <= 0:
        raise BadRequest(
            "the frame rate of the recording is not known, so seconds cannot become frames; give "
            "it with --fps"
        )
    found = []
    for number, line in _lines(text):
        match = _EDL.fullmatch(line)
        if match is None:
            raise BadRequest(
                f'line {number} of the edit list, "{line:.40}", is not like 10.5 60.0 3'
            )
        if (match[3] or "") in _SKIPPED:
            found.append((round(float(match[1]) * fps), round(float(match[2]) * fps)))
    return normalize(found)


def parse_comskip(text: str) -> Ranges:
    """Parse comskip's .txt file: ranges in frames below a header. Raises BadRequest."""
    lines = list(_lines(text))
    if not lines or not _COMSKIP_HEADER.match(lines[0][1]):
        raise BadRequest(
            'it does not begin with "FILE PROCESSING COMPLETE", as the .txt file of comskip does '
            "(output_default = 1 in comskip.ini)"
        )
    found = []
    for number, line in lines[1:]:
        if set(line) == {"-"}:
            continue
        match = _COMSKIP_RANGE.fullmatch(line)
        if match is None:
            raise BadRequest(
                f'line {number} of comskip\'s file, "{line:.40}", is not a range of frames'
            )
        found.append((int(match[1]), int(match[2])))
    return normalize(found)


def normalize(ranges: Iterable[tuple[int, int]]) -> Ranges:
    """Return the ranges by their start, overlapping ones joined. Raises BadRequest if one ends
    before it begins."""
    found: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        if last < first:
            raise BadRequest(f"the range {first}-{last} ends before it begins")
        if last > OPEN_END:
            raise BadRequest(f"frame {last} is above {OPEN_END}, the last that MythTV can store")
        if found and first <= found[-1][1]:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return tuple(found)


def _lines(text: str) -> Iterable[tuple[int, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if stripped := line.strip():
            yield number, stripped
