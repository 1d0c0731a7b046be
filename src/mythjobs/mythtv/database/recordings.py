"""Recordings in MythTV's database: tables recorded, recordedprogram, recordedfile, channel, record,
and the marks of programs that use a recording (inuseprograms)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from mythjobs.mythtv.database.connection import MythDatabase, RecordingKey, Row, parse_ms
from mythjobs.mythtv.recording import RECORDED, Recording

# A manual recording has a row of recordedprogram for each of its rules: the newest counts.
_SELECT: Final = """
SELECT r.*, p.partnumber, p.parttotal, p.syndicatedepisodenumber, p.totalepisodes, p.airdate,
    f.fps, c.channum, c.callsign, c.name AS channel, c.commmethod, n.type AS rule_type, n.parentid
FROM recorded r
LEFT JOIN recordedprogram p ON p.chanid = r.chanid AND p.starttime = r.progstart
LEFT JOIN recordedfile f ON f.recordedid = r.recordedid
LEFT JOIN channel c ON c.chanid = r.chanid
LEFT JOIN record n ON n.recordid = r.recordid
"""
_ORDER: Final = " ORDER BY r.recordedid DESC, p.manualid DESC LIMIT 1"
_NO_COMMERCIALS: Final = -2  # channel.commmethod
# MythTV itself ignores a mark of use that was not renewed for this long.
_USE_LASTS_MIN: Final = 60


@dataclass(frozen=True, slots=True)
class RecordedState:
    """A recording, and what only the database has of it. fps: 0 if unknown. transcoder: id of the
    transcode profile, 0 for autodetect."""

    recording: Recording
    fps: float = 0.0
    transcoder: int = 0
    findid: int = 0
    parent_rule: int = 0

    @property
    def key(self) -> RecordingKey:
        return RecordingKey(self.recording.chanid, self.recording.start_ms)


class RecordingUse(NamedTuple):
    """A program that uses a recording: `player`, `recorder`, `transcoder`, `flagger`, `jobqueue`,
    `preview_generator`, `filetransfer` or `truncatingdelete`, and its host."""

    usage: str
    host: str


def read_recording(database: MythDatabase, recordedid: int) -> RecordedState | None:
    rows = database.query(f"{_SELECT} WHERE r.recordedid = %s{_ORDER}", recordedid)
    return _parse(rows[0]) if rows else None


def read_recording_by_key(database: MythDatabase, key: RecordingKey) -> RecordedState | None:
    rows = database.query(
        f"{_SELECT} WHERE r.chanid = %s AND r.starttime = %s{_ORDER}", *key.columns
    )
    return _parse(rows[0]) if rows else None


def read_recording_by_file(database: MythDatabase, basename: str) -> RecordedState | None:
    rows = database.query(f"{_SELECT} WHERE r.basename = %s{_ORDER}", basename)
    return _parse(rows[0]) if rows else None


def read_row(database: MythDatabase, table: str, recordedid: int) -> Row | None:
    """Return the row of a recording in `recorded` or `recordedfile`, as its columns."""
    rows = database.query(f"SELECT * FROM {table} WHERE recordedid = %s", recordedid)
    return rows[0] if rows else None


def update_row(
    database: MythDatabase, table: str, recordedid: int, values: Mapping[str, Any]
) -> bool:
    """Set columns of a recording's row in `recorded` or `recordedfile`, in one statement, which
    MythTV's programs see whole or not at all. Return False if the row had these values."""
    columns = ", ".join(f"{each} = %s" for each in values)
    return bool(
        database.execute(
            f"UPDATE {table} SET {columns} WHERE recordedid = %s", *values.values(), recordedid
        )
    )


def list_uses(database: MythDatabase, key: RecordingKey) -> list[RecordingUse]:
    """Return who uses a recording now; marks that were not renewed for an hour do not count."""
    rows = database.query(
        "SELECT recusage, hostname FROM inuseprograms WHERE chanid = %s AND starttime = %s AND "
        "lastupdatetime > UTC_TIMESTAMP() - INTERVAL %s MINUTE",
        *key.columns,
        _USE_LASTS_MIN,
    )
    return [RecordingUse(str(each["recusage"]), str(each["hostname"])) for each in rows]


def _parse(row: Row) -> RecordedState:
    def text(name: str) -> str:
        return str(row.get(name) or "")

    def number(name: str) -> int:
        return int(row.get(name) or 0)

    start_ms = parse_ms(row["starttime"]) or 0
    date = text("originalairdate")
    recording = Recording(
        recordedid=number("recordedid"),
        chanid=number("chanid"),
        start_ms=start_ms,
        end_ms=parse_ms(row["endtime"]) or start_ms,
        program_start_ms=parse_ms(row["progstart"]),
        program_end_ms=parse_ms(row["progend"]),
        title=text("title"),
        subtitle=text("subtitle"),
        description=text("description"),
        category=text("category"),
        season=number("season"),
        episode=number("episode"),
        total_episodes=number("totalepisodes"),
        syndicated_episode=text("syndicatedepisodenumber"),
        part_number=number("partnumber"),
        part_total=number("parttotal"),
        inetref=text("inetref"),
        series_id=text("seriesid"),
        program_id=text("programid"),
        original_airdate="" if date.startswith("0000") else date,
        year=number("airdate"),
        status=RECORDED,  # the table has complete recordings only
        size_bytes=number("filesize"),
        basename=text("basename"),
        hostname=text("hostname"),
        storage_group=text("storagegroup"),
        recording_group=text("recgroup"),
        play_group=text("playgroup"),
        recording_rule=number("recordid"),
        recording_type=number("rule_type"),
        profile=text("profile"),
        input_name=text("inputname"),
        channel_number=text("channum"),
        callsign=text("callsign"),
        channel_name=text("channel"),
        is_commercial_free=row.get("commmethod") == _NO_COMMERCIALS,
    )
    return RecordedState(
        recording=recording,
        fps=float(row.get("fps") or 0.0),
        transcoder=number("transcoder"),
        findid=number("findid"),
        parent_rule=number("parentid"),
    )
