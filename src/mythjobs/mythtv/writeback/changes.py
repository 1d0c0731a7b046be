"""Changes of marks and flags of a recording, and their undo."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from mythjobs.errors import BadRequest, MythJobsError, ProtocolError
from mythjobs.mythtv.database import marks, recordings, settings
from mythjobs.mythtv.database.connection import MythDatabase, RecordingKey
from mythjobs.mythtv.database.marks import BREAK_TYPES, CUT_TYPES, MarkType
from mythjobs.mythtv.database.recordings import RecordedState
from mythjobs.mythtv.parameters import format_frames
from mythjobs.mythtv.recording import parse_time
from mythjobs.mythtv.writeback import undo_log
from mythjobs.mythtv.writeback.ranges import Ranges
from mythjobs.mythtv.writeback.undo_log import (
    RecordedChange,
    RecordedPart,
    RecordingBusy,
)

# recorded.commflagged.
FLAGS: Final = {"no": 0, "yes": 1, "processing": 2, "free": 3}
_POLL_S: Final = 10.0
_MASTER_PORT: Final = 6543


def find_recording(database: MythDatabase, text: str) -> RecordedState:
    """Return the recording with this id, key (`1001_20260715181300`, UTC) or file name.

    Raises BadRequest if there is none.
    """
    name = text.rpartition("/")[2]
    found = None
    if text.isascii() and text.isdecimal() and len(text) < 10:
        found = recordings.read_recording(database, int(text))
    else:
        found = recordings.read_recording_by_file(database, name)
        if found is None and (key := _parse_key(name)) is not None:
            found = recordings.read_recording_by_key(database, key)
    if found is None:
        raise BadRequest(
            f'MythTV has no recording "{text:.80}"; give its id, its file, or channel and start in '
            "UTC like 1001_20260715181300"
        )
    return found


def _parse_key(name: str) -> RecordingKey | None:
    chanid, _, start = name.partition(".")[0].partition("_")
    if not (chanid.isdecimal() and start.isdecimal() and len(start) == 14):
        return None
    try:
        start_ms = parse_time(f"{start[:8]}T{start[8:]}Z")
    except ProtocolError:  # no such date
        return None
    return None if start_ms is None else RecordingKey(int(chanid), start_ms)


def set_breaks(database: MythDatabase, state: RecordedState, ranges: Ranges) -> None:
    """Replace the commercial breaks, and set `commflagged`."""
    summary = f"{len(ranges)} commercial breaks: {format_frames(ranges)}"
    new = marks.marks_of_ranges(ranges, MarkType.COMM_START, MarkType.COMM_END)
    _change_marks(database, state, summary, BREAK_TYPES, new, "commflagged", 1)


def clear_breaks(database: MythDatabase, state: RecordedState) -> None:
    """Remove the commercial breaks, and set `commflagged` to "no"."""
    _change_marks(database, state, "no commercial breaks", BREAK_TYPES, [], "commflagged", 0)


def set_cuts(database: MythDatabase, state: RecordedState, ranges: Ranges) -> None:
    """Replace the cut list; without ranges, the recording has none."""
    summary = f"cut list: {format_frames(ranges) or 'none'}"
    new = marks.marks_of_ranges(ranges, MarkType.CUT_START, MarkType.CUT_END)
    _change_marks(database, state, summary, CUT_TYPES, new, "cutlist", int(bool(ranges)))


def set_commflagged(database: MythDatabase, state: RecordedState, value: int) -> None:
    """Set the column `commflagged`; the marks stay."""
    after = RecordedPart(columns={"commflagged": value})
    _make(database, state, f"commflagged: {value}", (), after)


def _change_marks(
    database: MythDatabase,
    state: RecordedState,
    summary: str,
    types: tuple[MarkType, MarkType],
    new: list[marks.Mark],
    column: str,
    value: int,
) -> None:
    after = RecordedPart(columns={column: value}, marks=tuple(new))
    _make(database, state, summary, types, after)


def _make(
    database: MythDatabase,
    state: RecordedState,
    summary: str,
    types: tuple[int, ...],
    after: RecordedPart,
) -> None:
    recordedid = state.recording.recordedid
    with undo_log.locked_recording(database, recordedid):
        undo_log.finish_interrupted(database, recordedid)
        row = recordings.read_row(database, "recorded", recordedid)
        if row is None:
            raise BadRequest(f"recording {recordedid} was deleted meanwhile")
        before = RecordedPart(
            columns={each: int(row[each] or 0) for each in after.columns},
            marks=tuple(marks.read_marks(database, state.key, types)) if types else None,
        )
        change = RecordedChange(recordedid, state.key, summary, types, before, after)
        entry = undo_log.begin_change(database, change)
        undo_log.apply_part(database, change, after)
        undo_log.set_state(database, entry, undo_log.DONE)
        undo_log.prune(database, recordedid)


def undo_marks(database: MythDatabase, entry: undo_log.UndoEntry) -> None:
    """Restore what a change of marks or flags replaced."""
    undo_log.set_state(database, entry.id, undo_log.UNDOING)
    undo_log.apply_part(database, entry.change, entry.change.before)
    undo_log.remove_entry(database, entry.id)


def wait_while_played(
    database: MythDatabase,
    state: RecordedState,
    *,
    timeout_s: float | None,
    usages: Callable[[str], bool] = lambda usage: "player" in usage,
    on_wait: Callable[[str], None] = lambda sentence: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Return when no player uses the recording. Raises RecordingBusy after `timeout_s`.

    usages: which of MythTV's names of uses to wait for. on_wait gets a sentence when a wait begins.
    """
    began_s, announced = time.monotonic(), ""
    while True:
        uses = [each for each in recordings.list_uses(database, state.key) if usages(each.usage)]
        if not uses:
            return
        what = ", ".join(sorted({f"{each.usage} on {each.host}" for each in uses}))
        sentence = f"recording {state.recording.recordedid} is in use ({what})"
        left_s = None if timeout_s is None else timeout_s - (time.monotonic() - began_s)
        if left_s is not None and left_s <= 0:
            raise RecordingBusy(f"{sentence}; try again later")
        if sentence != announced:
            on_wait(f"{sentence}; waiting")
            announced = sentence
        sleep(_POLL_S if left_s is None else min(_POLL_S, left_s))


def announce_change(database: MythDatabase, recordedid: int) -> str:
    """Let the backend tell its clients that the recording has changed.

    Return "" or a sentence that says why it could not be told: the change itself is made, and
    clients show it when they read the recording again.
    """
    from mythjobs.mythtv.protocol.connection import open_connection

    found = settings.read_settings(database)
    name = found.get("masterservername", "")
    own = settings.read_settings(database, name) if name else {}
    host = own.get("backendserveraddr") or found.get("masterserverip") or name
    port = own.get("backendserverport") or found.get("masterserverport") or ""
    if not host:
        return "MythTV's settings name no master backend, so no client was told of the change"
    try:
        with open_connection(host, int(port) if port.isdecimal() else _MASTER_PORT) as backend:
            backend.announce_monitor("mythjobs-writeback", 0)
            backend.request("MESSAGE", f"MASTER_UPDATE_REC_INFO {recordedid}")
    except MythJobsError as error:
        return f"no client was told of the change: {error.sentence}"
    return ""
