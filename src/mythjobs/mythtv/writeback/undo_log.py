"""Undo log: a table of mythjobs in MythTV's database, with the state before and after each change.

MythTV's tables have no transactions. So a change is first written to this table, which has them;
whoever changes the recording next finishes a change that was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final

from mythjobs.errors import MythJobsError
from mythjobs.mythtv.database import marks, recordings
from mythjobs.mythtv.database.connection import MythDatabase, RecordingKey, Row
from mythjobs.mythtv.database.marks import Mark, SeekEntry

PENDING: Final = "pending"
DONE: Final = "done"
UNDOING: Final = "undoing"
_KEPT: Final = 20  # changes of one recording that can be undone
_LOCK_TIMEOUT_S: Final = 30
_TABLE: Final = """
CREATE TABLE IF NOT EXISTS mythjobs_undo (
    id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    recordedid INT UNSIGNED NOT NULL,
    state VARCHAR(8) NOT NULL,
    made DATETIME NOT NULL,
    summary VARCHAR(255) NOT NULL,
    data LONGTEXT NOT NULL,
    KEY recordedid (recordedid)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""


class RecordingBusy(MythJobsError):
    """Another program changes or uses the recording; try again later."""

    code = "recording_busy"
    exit_code = 75  # EX_TEMPFAIL: the job is tried again later


@dataclass(frozen=True)
class RecordedPart:
    """One side of a change: what it sets. None and {} leave a part alone. columns: of `recorded`.
    file_columns: of `recordedfile`. marks: of the change's types. seek: the whole seek table."""

    columns: dict[str, Any] = field(default_factory=dict)
    file_columns: dict[str, Any] = field(default_factory=dict)
    marks: tuple[Mark, ...] | None = None
    seek: tuple[SeekEntry, ...] | None = None


@dataclass(frozen=True)
class RecordedChange:
    """A change of a recording. types: of the marks that it replaces, no others. replaced: names of
    the old and the new file and their directory, if the file is replaced."""

    recordedid: int
    key: RecordingKey
    summary: str
    types: tuple[int, ...]
    before: RecordedPart
    after: RecordedPart
    replaced: tuple[str, str, str] | None = None


@dataclass(frozen=True)
class UndoEntry:
    id: int
    state: str
    made: str
    change: RecordedChange


@contextmanager
def locked_recording(
    database: MythDatabase, recordedid: int, *, timeout_s: int = _LOCK_TIMEOUT_S
) -> Iterator[None]:
    """Let no other helper change the recording until the end of the block. Raises RecordingBusy."""
    name = f"mythjobs {recordedid} {database.address.name}"[:64]
    rows = database.query("SELECT GET_LOCK(%s, %s) AS got", name, timeout_s)
    if not rows[0]["got"]:
        raise RecordingBusy(f"recording {recordedid} is being changed by another command")
    try:
        database.execute(_TABLE)
        yield
    finally:
        if database.is_connected:
            database.query("SELECT RELEASE_LOCK(%s)", name)


def begin_change(database: MythDatabase, change: RecordedChange) -> int:
    """Write a change to the log before it is made; return its id."""
    return database.insert(
        "INSERT INTO mythjobs_undo (recordedid, state, made, summary, data) "
        "VALUES (%s, %s, UTC_TIMESTAMP(), %s, %s)",
        change.recordedid,
        PENDING,
        change.summary[:255],
        _encode(change),
    )


def set_state(database: MythDatabase, entry_id: int, state: str) -> None:
    database.execute("UPDATE mythjobs_undo SET state = %s WHERE id = %s", state, entry_id)


def remove_entry(database: MythDatabase, entry_id: int) -> None:
    database.execute("DELETE FROM mythjobs_undo WHERE id = %s", entry_id)


def list_entries(database: MythDatabase, recordedid: int) -> list[UndoEntry]:
    """Return the changes of a recording, the newest first."""
    rows = database.query(
        "SELECT id, state, made, data FROM mythjobs_undo WHERE recordedid = %s ORDER BY id DESC",
        recordedid,
    )
    return [_parse(each) for each in rows]


def prune(database: MythDatabase, recordedid: int) -> None:
    """Remove old changes of the recording, and those of recordings that are gone. An entry of a
    replaced file stays as long as the old file is kept (remove_kept_files())."""
    done = [each for each in list_entries(database, recordedid) if each.state == DONE]
    for each in (*done[_KEPT:], *list_orphans(database)):
        if each.change.replaced is None:
            remove_entry(database, each.id)


def list_orphans(database: MythDatabase) -> list[UndoEntry]:
    """Return the changes of recordings that MythTV has deleted."""
    rows = database.query(
        "SELECT u.id, u.state, u.made, u.data FROM mythjobs_undo u LEFT JOIN recorded r "
        "ON r.recordedid = u.recordedid WHERE r.recordedid IS NULL"
    )
    return [_parse(each) for each in rows]


def apply_part(database: MythDatabase, change: RecordedChange, part: RecordedPart) -> None:
    """Make one side of a change. It can be repeated: the result is the same.

    The columns come first: with a replaced file, their update is the step that decides which file
    is the recording's.
    """
    if part.columns:
        recordings.update_row(database, "recorded", change.recordedid, part.columns)
    if part.file_columns:
        recordings.update_row(database, "recordedfile", change.recordedid, part.file_columns)
    if part.marks is not None:
        marks.replace_marks(database, change.key, change.types, part.marks)
    if part.seek is not None:
        marks.replace_seek_table(database, change.key, part.seek)


def finish_interrupted(database: MythDatabase, recordedid: int) -> list[str]:
    """Finish changes of marks that were interrupted; return their summaries. An interrupted
    replacement of a file is left to the machine that has the file."""
    finished = []
    for entry in reversed(list_entries(database, recordedid)):
        if entry.state == DONE or entry.change.replaced is not None:
            continue
        if entry.state == PENDING:
            apply_part(database, entry.change, entry.change.after)
            set_state(database, entry.id, DONE)
        else:
            apply_part(database, entry.change, entry.change.before)
            remove_entry(database, entry.id)
        finished.append(entry.change.summary)
    return finished


def _parse(row: Row) -> UndoEntry:
    return UndoEntry(int(row["id"]), str(row["state"]), str(row["made"]), _decode(row["data"]))


def _encode(change: RecordedChange) -> str:
    return json.dumps(
        {
            "recordedid": change.recordedid,
            "key": change.key,
            "summary": change.summary,
            "types": [int(each) for each in change.types],
            "before": _encode_part(change.before),
            "after": _encode_part(change.after),
            "replaced": change.replaced,
        },
        ensure_ascii=False,
    )


def _encode_part(part: RecordedPart) -> dict[str, Any]:
    return {
        "columns": part.columns,
        "file_columns": part.file_columns,
        "marks": part.marks,
        "seek": part.seek,
    }


def _decode(text: str) -> RecordedChange:
    value = json.loads(text)
    change = RecordedChange(
        recordedid=value["recordedid"],
        key=RecordingKey(*value["key"]),
        summary=value["summary"],
        types=tuple(value["types"]),
        before=_decode_part(value["before"]),
        after=_decode_part(value["after"]),
    )
    replaced = value["replaced"]
    return change if replaced is None else replace(change, replaced=tuple(replaced))


def _decode_part(value: dict[str, Any]) -> RecordedPart:
    found, seek = value["marks"], value["seek"]
    return RecordedPart(
        columns=value["columns"],
        file_columns=value["file_columns"],
        marks=None if found is None else tuple(Mark(*each) for each in found),
        seek=None if seek is None else tuple(SeekEntry(*each) for each in seek),
    )
