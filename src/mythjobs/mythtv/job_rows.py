"""Rows of MythTV's table `jobqueue`: its numbers for types, states and commands, and QueueTable,
the interface through which the bridge accesses the table.

The numbers are those of MythTV's jobqueue.h, the same in versions 0.25 to 36.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from enum import IntEnum, IntFlag
from typing import Final, Protocol

# varchar(128), and three bytes a character at most (utf8mb3).
COMMENT_LENGTH: Final = 128


class RowType(IntEnum):
    TRANSCODE = 0x1
    COMMFLAG = 0x2
    METADATA = 0x4
    PREVIEW = 0x8
    USERJOB1 = 0x100
    USERJOB2 = 0x200
    USERJOB3 = 0x400
    USERJOB4 = 0x800


# MythTV may run these two for a recording that still goes on.
DURING_RECORDING: Final = (RowType.COMMFLAG, RowType.METADATA)


class RowState(IntEnum):
    UNKNOWN = 0
    QUEUED = 1
    PENDING = 2
    STARTING = 3
    RUNNING = 4
    STOPPING = 5
    PAUSED = 6
    RETRY = 7
    ERRORING = 8
    ABORTING = 9
    FINISHED = 272
    ABORTED = 288
    ERRORED = 304
    CANCELLED = 320


class RowCommand(IntEnum):
    """What MythTV's screens write into the column `cmds`."""

    RUN = 0
    PAUSE = 1
    RESUME = 2
    STOP = 4
    RESTART = 8


class RowFlag(IntFlag):
    USE_CUTLIST = 1
    LIVE_RECORDING = 2
    EXTERNAL = 4
    REBUILD = 8


_DONE: Final = 0x100


@dataclass(frozen=True)
class JobRow:
    """One row. `recordedid` is that of the recording with the row's key, None if there is none.

    `state` and `command` are plain numbers, because the table may hold others than the named ones.
    `hostname` is empty while no host has claimed the row.
    """

    row_id: int
    chanid: int
    start_ms: int
    inserted_ms: int
    type: int
    command: int
    flags: int
    state: int
    hostname: str
    arguments: str
    comment: str
    not_before_ms: int
    recordedid: int | None

    @property
    def is_done(self) -> bool:
        return bool(self.state & _DONE)


@dataclass(frozen=True)
class RowChange:
    """What to write into a row; None leaves a column alone.

    handled_command: `cmds` becomes 0 if it still has this value, so that a command that arrived
    meanwhile is not lost.
    """

    state: RowState | None = None
    comment: str | None = None
    handled_command: int | None = None


class QueueTable(Protocol):
    """Access to the table. Every method raises Unreachable if the database cannot be reached."""

    def read_rows(self) -> list[JobRow]:
        """Return all rows in MythTV's order of execution (schedruntime, id)."""
        ...

    def claim(self, row_id: int, *, expected_host: str, host: str) -> bool:
        """Give a queued row of `expected_host` (empty: unclaimed) to `host`. Return whether it was
        still such a row."""
        ...

    def release(self, row_id: int, *, host: str) -> bool:
        """Make a row of `host` queued and unclaimed, without a comment. Return whether it was such
        a row."""
        ...

    def write(self, row_id: int, *, host: str, state: int, change: RowChange) -> bool:
        """Change a row of `host` that has this state, and its `statustime` in any case. Return
        False if the row is gone, another host's, or has another state."""
        ...

    def mark_in_use(self, keys: Collection[tuple[int, int]], *, host: str) -> None:
        """Let the marks `jobqueue` of `host` in `inuseprograms` be exactly those of these
        recordings, given as (chanid, start in ms), and refresh them."""
        ...


def name_type(row_type: int) -> str:
    """Return the key of `[commands]` for a type of row, such as `userjob1`; "" for a type that no
    MythTV program runs."""
    if row_type == RowType.PREVIEW or row_type not in RowType._value2member_map_:
        return ""
    return RowType(row_type).name.lower()


def shorten_comment(text: str) -> str:
    """Return text that fits into the column: one line, at most 128 characters of the Basic
    Multilingual Plane, which is what the column can store."""
    plain = "".join(c if ord(c) <= 0xFFFF and not _is_hidden(c) else "?" for c in text)
    line = " ".join(plain.split())
    return line if len(line) <= COMMENT_LENGTH else line[: COMMENT_LENGTH - 1] + "…"


def _is_hidden(character: str) -> bool:
    """Return whether a screen cannot show it: a control character that is no space, or a half of a
    character (surrogate), which no table can store."""
    return unicodedata.category(character) in ("Cc", "Cs") and not character.isspace()
