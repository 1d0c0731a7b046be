"""Ranges of frames: mythutil's notation, edit lists, comskip's output. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from mythjobs.errors import BadRequest
from mythjobs.mythtv.parameters import OPEN_END

Ranges = tuple[tuple[int, int], ...]

_FRAMES: Final = re.compile(r"(\d{0,8})-(\d{0,8})")
# Seconds, minutes and seconds, or hours too; `#` begins a number of frames.
_POINT: Final = r"(#\d{1,9}|(?:\d{1,4}:){0,2}\d{1,9}(?:\.\d*)?)"
_EDL: Final = re.compile(rf"{_POINT}\s+{_POINT}(?:\s+([0-9]))?")
_EDL_COMMENT: Final = "##"
# comskip's first versions wrote no more. Others add the number of frames and their rate.
_COMSKIP_HEADER: Final = "FILE PROCESSING COMPLETE"
_COMSKIP_RANGE: Final = re.compile(r"(\d{1,9})\s+(\d{1,9})")
# Types of an edit list (MPlayer, Kodi): cut and commercial break; 1 is mute, 2 is a scene.
_SKIPPED: Final = ("", "0", "3")
_SCENE: Final = "2"


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
    """Parse an edit list: a range and its type in each line. Raises BadRequest.

    Ranges of other types than cut (0) and commercial (3) are left out, and so are comments and
    scene markers, which have one time: `12.5 2`.
    """
    if fps <= 0:
        raise BadRequest(
            "the frame rate of the recording is not known, so seconds cannot become frames; give "
            "it with --fps"
        )
    found = []
    for number, line in _lines(text):
        if line.startswith(_EDL_COMMENT):
            continue
        match = _EDL.fullmatch(line)
        if match is None:
            raise BadRequest(
                f'line {number} of the edit list, "{line:.40}", is not like 10.5 60.0 3'
            )
        is_marker = match[3] is None and match[2] == _SCENE
        if (match[3] or "") in _SKIPPED and not is_marker:
            found.append((_to_frame(match[1], fps), _to_frame(match[2], fps)))
    return normalize(found)


def _to_frame(point: str, fps: float) -> int:
    if point.startswith("#"):
        return int(point[1:])
    seconds = 0.0
    for part in point.split(":"):
        seconds = 60 * seconds + float(part)
    return round(seconds * fps)


def parse_comskip(text: str) -> Ranges:
    """Parse comskip's .txt file: ranges in frames below a header. Raises BadRequest."""
    lines = list(_lines(text))
    if not lines or not lines[0][1].startswith(_COMSKIP_HEADER):
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
