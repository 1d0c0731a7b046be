"""Marks and seek table of a recording: tables recordedmarkup and recordedseek."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from mythjobs.mythtv.database.connection import MythDatabase, RecordingKey

_LAST_FRAME: Final = 2**23  # recordedmarkup.mark is a mediumint; above it MythTV has no frame


class MarkType(IntEnum):
    UPDATED_CUT = -3
    CUT_END = 0
    CUT_START = 1
    BOOKMARK = 2
    BLANK_FRAME = 3
    COMM_START = 4
    COMM_END = 5
    GOP_BYFRAME = 9
    DURATION_MS = 33
    TOTAL_FRAMES = 34
    UTIL_PROGSTART = 40
    UTIL_LASTPLAYPOS = 41


CUT_TYPES: Final = (MarkType.CUT_END, MarkType.CUT_START)
BREAK_TYPES: Final = (MarkType.COMM_START, MarkType.COMM_END)


class Mark(NamedTuple):
    frame: int
    type: int
    data: int | None = None


class SeekEntry(NamedTuple):
    """Position of a key frame: its frame (or the time in ms, by type) and its byte."""

    mark: int
    offset: int
    type: int


def read_marks(
    database: MythDatabase, key: RecordingKey, types: Collection[int] = ()
) -> list[Mark]:
    """Return the marks of the given types (empty: all), by frame."""
    rows = database.query(
        f"SELECT mark, type, data FROM recordedmarkup WHERE {_KEY}{_of(types)} ORDER BY mark, type",
        *key.columns,
    )
    return [Mark(int(each["mark"]), int(each["type"]), each["data"]) for each in rows]


def replace_marks(
    database: MythDatabase, key: RecordingKey, types: Collection[int], marks: Iterable[Mark]
) -> None:
    """Replace the marks of these types, and no others, hidden from readers by a lock."""
    with database.locked("recordedmarkup"):
        database.execute(f"DELETE FROM recordedmarkup WHERE {_KEY}{_of(types)}", *key.columns)
        database.execute_many(
            "INSERT INTO recordedmarkup (chanid, starttime, mark, type, data) "
            "VALUES (%s, %s, %s, %s, %s)",
            [(*key.columns, each.frame, int(each.type), each.data) for each in marks],
        )


def read_seek_table(database: MythDatabase, key: RecordingKey) -> list[SeekEntry]:
    rows = database.query(
        f"SELECT mark, `offset`, type FROM recordedseek WHERE {_KEY} ORDER BY type, mark",
        *key.columns,
    )
    return [SeekEntry(int(each["mark"]), int(each["offset"]), int(each["type"])) for each in rows]


def replace_seek_table(
    database: MythDatabase, key: RecordingKey, entries: Sequence[SeekEntry]
) -> None:
    """Replace the seek table; an empty one makes MythTV's player seek without it."""
    with database.locked("recordedseek"):
        database.execute(f"DELETE FROM recordedseek WHERE {_KEY}", *key.columns)
        database.execute_many(
            "INSERT INTO recordedseek (chanid, starttime, mark, `offset`, type) "
            "VALUES (%s, %s, %s, %s, %s)",
            [(*key.columns, each.mark, each.offset, int(each.type)) for each in entries],
        )


def pair_marks(marks: Iterable[Mark], first: int, last: int) -> tuple[tuple[int, int], ...]:
    """Return the ranges between marks of the types `first` and `last`.

    An end without a start begins at frame 0, as in MythTV's player; a start without an end reaches
    to the end of the recording, for which frame 2**23 stands.
    """
    ranges: list[tuple[int, int]] = []
    start: int | None = None
    for each in sorted(marks):
        if each.type == first and start is None:
            start = each.frame
        elif each.type == last and (start is not None or not ranges):
            ranges.append((start or 0, each.frame))
            start = None
    if start is not None:
        ranges.append((start, _LAST_FRAME))
    return tuple(ranges)


def marks_of_ranges(ranges: Iterable[tuple[int, int]], first: int, last: int) -> list[Mark]:
    return [
        Mark(frame, kind) for start, end in ranges for frame, kind in ((start, first), (end, last))
    ]


_KEY: Final = "chanid = %s AND starttime = %s"


def _of(types: Collection[int]) -> str:
    return f" AND type IN ({', '.join(str(int(each)) for each in types)})" if types else ""
