"""One recording of MythTV, as `Dvr/GetRecorded` of the Services API describes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from typing import Any, Final

from mythjobs.errors import ProtocolError
from mythjobs.mythtv.json_values import (
    clean_text,
    read_boolean,
    read_number,
    read_table,
    read_text,
)

RECORDED: Final = -3  # recording status of a complete recording
# Statuses of a recording that has not ended: recording, tuning, failing, and pending of each.
UNFINISHED: Final = frozenset({-2, -10, -14, -15, -16, -17})
LIVETV_GROUP: Final = "LiveTV"
DELETED_GROUP: Final = "Deleted"


@dataclass(frozen=True)
class Recording:
    """Instants are UTC milliseconds, None where MythTV has none. `start_ms` and `chanid` are the
    recording's key; MythTV rounds the key's start to the nearest minute. `start_ms` and `end_ms`
    are those of the file, `program_…` those of the broadcast."""

    recordedid: int
    chanid: int
    start_ms: int
    end_ms: int
    program_start_ms: int | None
    program_end_ms: int | None
    title: str
    subtitle: str
    description: str
    category: str
    season: int
    episode: int
    total_episodes: int
    syndicated_episode: str
    part_number: int
    part_total: int
    inetref: str
    series_id: str
    program_id: str
    original_airdate: str
    year: int
    status: int
    size_bytes: int
    basename: str
    hostname: str
    storage_group: str
    recording_group: str
    play_group: str
    recording_rule: int
    recording_type: int
    profile: str
    input_name: str
    channel_number: str
    callsign: str
    channel_name: str
    is_commercial_free: bool

    @property
    def key(self) -> str:
        """`1001_20260715181300`, as in the names of MythTV's files, always UTC."""
        return format_key(self.chanid, self.start_ms)

    @property
    def duration_s(self) -> float:
        return (self.end_ms - self.start_ms) / 1000


def format_key(chanid: int, start_ms: int) -> str:
    return f"{chanid}_{datetime.fromtimestamp(start_ms / 1000, UTC):%Y%m%d%H%M%S}"


def parse_recording(program: Mapping[str, Any]) -> Recording | None:
    """Return the recording in a `Program` object; None for the empty object with which MythTV
    answers for an unknown recording. Raises ProtocolError if fields have impossible values."""
    recording = read_table(program, "Recording")
    channel = read_table(program, "Channel")
    recordedid = read_number(recording, "RecordedId")
    start_ms = parse_time(recording.get("StartTs"))
    chanid = read_number(channel, "ChanId")
    # The answer for an unknown recording has no title, and the present as its times.
    if not recordedid or not chanid or start_ms is None:
        return None
    end_ms = parse_time(recording.get("EndTs"))
    return Recording(
        recordedid=recordedid,
        chanid=chanid,
        start_ms=start_ms,
        end_ms=start_ms if end_ms is None else end_ms,
        program_start_ms=parse_time(program.get("StartTime")),
        program_end_ms=parse_time(program.get("EndTime")),
        title=read_text(program, "Title"),
        subtitle=read_text(program, "SubTitle"),
        description=read_text(program, "Description"),
        category=read_text(program, "Category"),
        season=read_number(program, "Season"),
        episode=read_number(program, "Episode"),
        total_episodes=read_number(program, "TotalEpisodes"),
        syndicated_episode=read_text(program, "SyndicatedEpisode"),
        part_number=read_number(program, "PartNumber"),
        part_total=read_number(program, "PartTotal"),
        inetref=read_text(program, "Inetref"),
        series_id=read_text(program, "SeriesId"),
        program_id=read_text(program, "ProgramId"),
        original_airdate=read_text(program, "Airdate"),
        year=read_number(program, "Year"),
        status=read_number(recording, "Status"),
        size_bytes=read_number(recording, "FileSize"),
        basename=read_text(recording, "FileName") or read_text(program, "FileName"),
        hostname=read_text(recording, "HostName") or read_text(program, "HostName"),
        storage_group=read_text(recording, "StorageGroup"),
        recording_group=read_text(recording, "RecGroup"),
        play_group=read_text(recording, "PlayGroup"),
        recording_rule=read_number(recording, "RecordId"),
        recording_type=read_number(recording, "RecType"),
        profile=read_text(recording, "Profile"),
        input_name=read_text(recording, "EncoderName"),
        channel_number=read_text(channel, "ChanNum"),
        callsign=read_text(channel, "CallSign"),
        channel_name=read_text(channel, "ChannelName"),
        is_commercial_free=read_boolean(channel, "CommFree"),
    )


def name_program(program: Mapping[str, Any]) -> str:
    """Return `recording 7 "News"`, for a `Program` object that may have impossible values."""
    number = read_text(read_table(program, "Recording"), "RecordedId") or "without a number"
    return f'recording {number:.20} "{read_text(program, "Title"):.60}"'


def parse_time(value: object) -> int | None:
    """Return the UTC milliseconds of `2026-07-15T18:13:00Z`; a time without zone is UTC too.

    Raises ProtocolError.
    """
    if not isinstance(value, str) or not value:
        return None
    try:
        found = datetime.fromisoformat(value)
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
        # The first and the last day of all years do not exist in every zone.
        if not MINYEAR < found.year < MAXYEAR:
            raise ValueError("no instant in every zone")
    except (ValueError, OverflowError):
        raise ProtocolError(f'the backend sent "{clean_text(value):.40}" as a time') from None
    return round(found.timestamp() * 1000)


def format_time(instant_ms: int) -> str:
    """Return `2026-07-15T18:13:00Z`."""
    return f"{datetime.fromtimestamp(instant_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"
