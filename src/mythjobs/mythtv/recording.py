"""One recording of MythTV, as `Dvr/GetRecorded` of the Services API describes it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from mythjobs.errors import ProtocolError

RECORDED: Final = -3  # recording status of a complete recording
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
    stars: float
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
    program_flags: tuple[str, ...]

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
    recording = _table(program, "Recording")
    channel = _table(program, "Channel")
    recordedid = _number(recording, "RecordedId")
    start_ms = parse_time(recording.get("StartTs"))
    chanid = _number(channel, "ChanId")
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
        title=_text(program, "Title"),
        subtitle=_text(program, "SubTitle"),
        description=_text(program, "Description"),
        category=_text(program, "Category"),
        season=_number(program, "Season"),
        episode=_number(program, "Episode"),
        total_episodes=_number(program, "TotalEpisodes"),
        syndicated_episode=_text(program, "SyndicatedEpisode"),
        part_number=_number(program, "PartNumber"),
        part_total=_number(program, "PartTotal"),
        inetref=_text(program, "Inetref"),
        series_id=_text(program, "SeriesId"),
        program_id=_text(program, "ProgramId"),
        original_airdate=_text(program, "Airdate"),
        year=_number(program, "Year"),
        stars=_fraction(program, "Stars"),
        status=_number(recording, "Status"),
        size_bytes=_number(recording, "FileSize"),
        basename=_text(recording, "FileName") or _text(program, "FileName"),
        hostname=_text(recording, "HostName") or _text(program, "HostName"),
        storage_group=_text(recording, "StorageGroup"),
        recording_group=_text(recording, "RecGroup"),
        play_group=_text(recording, "PlayGroup"),
        recording_rule=_number(recording, "RecordId"),
        recording_type=_number(recording, "RecType"),
        profile=_text(recording, "Profile"),
        input_name=_text(recording, "EncoderName"),
        channel_number=_text(channel, "ChanNum"),
        callsign=_text(channel, "CallSign"),
        channel_name=_text(channel, "ChannelName"),
        is_commercial_free=_boolean(channel, "CommFree"),
        program_flags=tuple(filter(None, _text(program, "ProgramFlagNames").split("|"))),
    )


def name_program(program: Mapping[str, Any]) -> str:
    """Return `recording 7 "News"`, for a `Program` object that may have impossible values."""
    number = _text(_table(program, "Recording"), "RecordedId") or "without a number"
    return f'recording {number:.20} "{_text(program, "Title"):.60}"'


def parse_time(value: object) -> int | None:
    """Return the UTC milliseconds of `2026-07-15T18:13:00Z`; a time without zone is UTC too.

    Raises ProtocolError.
    """
    if not isinstance(value, str) or not value:
        return None
    try:
        found = datetime.fromisoformat(value)
        # In UTC the first and the last day of all years may not exist.
        found = found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ProtocolError(f'the backend sent "{value[:40]}" as a time') from None
    return round(found.timestamp() * 1000)


def format_time(instant_ms: int) -> str:
    """Return `2026-07-15T18:13:00Z`."""
    return f"{datetime.fromtimestamp(instant_ms / 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _table(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = given.get(key)
    return value if isinstance(value, dict) else {}


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    return "" if value is None else str(value)


def _number(given: Mapping[str, Any], key: str) -> int:
    # Values of the type `long` arrive as strings.
    value = given.get(key)
    try:
        return int(value) if value not in (None, "") else 0
    except (TypeError, ValueError, OverflowError):
        raise ProtocolError(f'the backend sent "{value!s:.40}" as {key}') from None


def _fraction(given: Mapping[str, Any], key: str) -> float:
    try:
        return float(given.get(key) or 0)
    except (TypeError, ValueError):
        raise ProtocolError(f"the backend sent no number as {key}") from None


def _boolean(given: Mapping[str, Any], key: str) -> bool:
    return given.get(key) in (True, "true", "1")
