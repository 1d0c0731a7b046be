"""Parameters of commands about recordings: MythTV's tokens and more, and their values. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Final, NamedTuple

from mythjobs.mythtv.recording import Recording, format_key

Ranges = tuple[tuple[int, int], ...]

# The end of a range that reaches to the end of the recording.
OPEN_END: Final = 2**23
_SUBJECT_START: Final = "recording:"
# The template of the subject of every command about a recording; format_subject() fills it.
SUBJECT: Final = _SUBJECT_START + "{chanid}_{starttime_utc}"


class RecordingParameter(NamedTuple):
    """A parameter. type: of model/command.py. token: MythTV's, without %; "" if MythTV has none."""

    name: str
    type: str
    token: str
    help: str


def _times(name: str, what: str) -> list[RecordingParameter]:
    token = name.upper()
    return [
        RecordingParameter(name, "text", token, f"{what}, local time, 20260715201300"),
        RecordingParameter(f"{name}_iso", "text", f"{token}ISO", f"{what}, 2026-07-15T20:13:00"),
        RecordingParameter(f"{name}_utc", "text", f"{token}UTC", f"{what}, UTC, 20260715181300"),
        RecordingParameter(
            f"{name}_iso_utc", "text", f"{token}ISOUTC", f"{what}, 2026-07-15T18:13:00Z"
        ),
    ]


_ALL: Final = [
    RecordingParameter("jobid", "int", "JOBID", "id of the row of MythTV's job queue, 0 if none"),
    RecordingParameter("dir", "path", "DIR", "directory of the file on its backend"),
    RecordingParameter("file", "text", "FILE", "name of the file"),
    RecordingParameter("path", "path", "", "path of the file on its backend"),
    RecordingParameter("title", "text", "TITLE", "title"),
    RecordingParameter("subtitle", "text", "SUBTITLE", "title of the episode"),
    RecordingParameter("description", "text", "DESCRIPTION", "description"),
    RecordingParameter("category", "text", "CATEGORY", "category"),
    RecordingParameter("season", "int", "SEASON", "season, 0 if none"),
    RecordingParameter("episode", "int", "EPISODE", "episode, 0 if none"),
    RecordingParameter("totalepisodes", "int", "TOTALEPISODES", "episodes of the season"),
    RecordingParameter("syndicatedepisode", "text", "SYNDICATEDEPISODE", "number, like S02E07"),
    RecordingParameter("partnumber", "int", "PARTNUMBER", "part, 0 if none"),
    RecordingParameter("parttotal", "int", "PARTTOTAL", "number of parts"),
    RecordingParameter("inetref", "text", "INETREF", "id in a database, like ttvdb.py_12345"),
    RecordingParameter("originalairdate", "text", "ORIGINALAIRDATE", "2019-03-01, or empty"),
    RecordingParameter("year", "int", "", "year of the production, 0 if unknown"),
    RecordingParameter("seriesid", "text", "", "id of the series in the guide"),
    RecordingParameter("programid", "text", "", "id of the programme in the guide"),
    RecordingParameter("hostname", "text", "HOSTNAME", "MythTV's host that recorded"),
    RecordingParameter("recgroup", "text", "RECGROUP", "recording group"),
    RecordingParameter("playgroup", "text", "PLAYGROUP", "playback group"),
    RecordingParameter("storagegroup", "text", "", "storage group"),
    RecordingParameter("profile", "text", "", "recording profile"),
    RecordingParameter("chanid", "int", "CHANID", "channel id, part of the recording's key"),
    RecordingParameter("channum", "text", "CHANNUM", "channel number"),
    RecordingParameter("callsign", "text", "", "call sign of the channel"),
    RecordingParameter("channame", "text", "", "name of the channel"),
    RecordingParameter("recordedid", "int", "RECORDEDID", "id of the recording"),
    *_times("starttime", "start of the recording"),
    *_times("endtime", "end of the recording"),
    *_times("progstart", "start of the programme"),
    *_times("progend", "end of the programme"),
    RecordingParameter("verboselevel", "text", "VERBOSELEVEL", "mask of MythTV's log, 2: general"),
    RecordingParameter("verbosemode", "text", "VERBOSEMODE", "log options of MythTV's programs"),
    RecordingParameter("transprofile", "text", "TRANSPROFILE", "autodetect, or id of a profile"),
    RecordingParameter("recid", "int", "RECID", "id of the recording rule"),
    RecordingParameter("parentid", "int", "PARENTID", "id of the rule that the rule overrides"),
    RecordingParameter("findid", "int", "FINDID", "id of the find of a find rule"),
    RecordingParameter("recstatus", "int", "RECSTATUS", "recording status, -3: recorded"),
    RecordingParameter("rectype", "int", "RECTYPE", "type of the recording rule"),
    RecordingParameter("reactivate", "int", "REACTIVATE", "whether it was recorded again"),
    RecordingParameter("inputname", "text", "INPUTNAME", "name of the input"),
    RecordingParameter("filesize", "int", "", "size of the file in bytes"),
    RecordingParameter("duration", "int", "", "length of the recording in seconds"),
    RecordingParameter("fps", "float", "", "frames per second, 0 if unknown"),
    RecordingParameter("cutlist_frames", "text", "", "cut list in frames: 0-100,2500-2600"),
    RecordingParameter("cutlist_seconds", "text", "", "cut list in seconds: 0.000-4.000"),
    RecordingParameter("skiplist_frames", "text", "", "commercial breaks in frames"),
    RecordingParameter("skiplist_seconds", "text", "", "commercial breaks in seconds"),
]
PARAMETERS: Final = {each.name: each for each in _ALL}
# Parameter of each token, with its percent signs: {"%TITLE%": "title"}.
TOKENS: Final = {f"%{each.token}%": each.name for each in _ALL if each.token}
# Tokens that MythTV replaces in commands of system events, not in user jobs.
FORGOTTEN_TOKENS: Final = (
    "%RECID%", "%PARENTID%", "%FINDID%", "%RECSTATUS%", "%RECTYPE%", "%REACTIVATE%",
    "%INPUTNAME%", "%CHANNUM%",
)  # fmt: skip


@dataclass(frozen=True)
class RecordingContext:
    """What is known of a recording beside MythTV's description of it.

    directory: where its file is on the machine that runs the job; "" if it is not there. job_id: of
    the row of jobqueue, 0 without one. cuts, breaks: first and last frame of each range.
    """

    directory: str = ""
    job_id: int = 0
    transcode_profile: str = "autodetect"
    cuts: Ranges = ()
    breaks: Ranges = ()
    fps: float = 0.0
    parent_rule: int = 0
    findid: int = 0


def format_subject(chanid: int, start_ms: int) -> str:
    """Return the subject of all jobs about a recording, so that they do not overlap."""
    return _SUBJECT_START + format_key(chanid, start_ms)


def list_values(recording: Recording, context: RecordingContext, zone: tzinfo) -> dict[str, str]:
    """Return the value of every parameter, as MythTV would write it.

    Texts are unchanged: MythTV writes the letter U+02BA for a quotation mark, to protect its shell
    command, which a parameter does not need. zone: of the local times, MythTV's.
    """
    r = recording
    remote = f"myth://{r.hostname}/{r.basename}"
    directory = context.directory.rstrip("/") or "/" if context.directory else ""
    values: dict[str, object] = {
        "jobid": context.job_id,
        "dir": directory or remote,
        "file": r.basename,
        "path": f"{directory.rstrip('/')}/{r.basename}" if directory else remote,
        "title": r.title,
        "subtitle": r.subtitle,
        "description": r.description,
        "category": r.category,
        "season": r.season,
        "episode": r.episode,
        "totalepisodes": r.total_episodes,
        "syndicatedepisode": r.syndicated_episode,
        "partnumber": r.part_number,
        "parttotal": r.part_total,
        "inetref": r.inetref,
        "originalairdate": r.original_airdate[:10],
        "year": r.year,
        "seriesid": r.series_id,
        "programid": r.program_id,
        "hostname": r.hostname,
        "recgroup": r.recording_group,
        "playgroup": r.play_group,
        "storagegroup": r.storage_group,
        "profile": r.profile,
        "chanid": r.chanid,
        "channum": r.channel_number,
        "callsign": r.callsign,
        "channame": r.channel_name,
        "recordedid": r.recordedid,
        "verboselevel": 2,
        # MythTV's value begins with a blank too.
        "verbosemode": " --verbose general --loglevel info",
        "transprofile": context.transcode_profile,
        "recid": r.recording_rule,
        "parentid": context.parent_rule,
        "findid": context.findid,
        "recstatus": r.status,
        "rectype": r.recording_type,
        "reactivate": 0,
        "inputname": r.input_name,
        "filesize": r.size_bytes,
        "duration": max(0, round(r.duration_s)),
        "fps": f"{context.fps:g}",
        "cutlist_frames": format_frames(context.cuts),
        "cutlist_seconds": format_seconds(context.cuts, context.fps),
        "skiplist_frames": format_frames(context.breaks),
        "skiplist_seconds": format_seconds(context.breaks, context.fps),
    }
    for name, instant_ms in (
        ("starttime", r.start_ms),
        ("endtime", r.end_ms),
        ("progstart", r.program_start_ms),
        ("progend", r.program_end_ms),
    ):
        values |= _list_times(name, instant_ms, zone)
    return {name: str(values[name]) for name in PARAMETERS}


def select_arguments(names: Iterable[str], values: Mapping[str, str]) -> dict[str, str]:
    """Return the values of those parameters that a command declares under these names.

    A NUL character, which no argument can have, is left out of a text.
    """
    return {each: values[each].replace("\0", "") for each in names if each in values}


def describe_parameters(names: Iterable[str]) -> list[dict[str, object]]:
    """Return the tables `[[parameters]]` of a definition. Raises KeyError for an unknown name."""
    tables = []
    for name in names:
        found = PARAMETERS[name]
        table: dict[str, object] = {"name": name, "type": found.type, "help": found.help}
        if found.type == "text":
            table.pop("type")
        tables.append(table)
    return tables


def format_frames(ranges: Ranges) -> str:
    """Return `0-100,2500-2600`, the notation of mythutil; `2500-` reaches to the end."""
    return ",".join(f"{first}-{'' if last >= OPEN_END else last}" for first, last in ranges)


def format_seconds(ranges: Ranges, fps: float) -> str:
    """Return `0.000-4.000,100.000-104.000`; "" if the frame rate is not known."""
    if fps <= 0:
        return ""
    return ",".join(
        f"{first / fps:.3f}-{'' if last >= OPEN_END else f'{last / fps:.3f}'}"
        for first, last in ranges
    )


def _list_times(name: str, instant_ms: int | None, zone: tzinfo) -> dict[str, str]:
    if instant_ms is None:
        return dict.fromkeys((name, f"{name}_iso", f"{name}_utc", f"{name}_iso_utc"), "")
    utc = datetime.fromtimestamp(instant_ms // 1000, UTC)
    local = utc.astimezone(zone)
    return {
        name: f"{local:%Y%m%d%H%M%S}",
        f"{name}_iso": f"{local:%Y-%m-%dT%H:%M:%S}",
        f"{name}_utc": f"{utc:%Y%m%d%H%M%S}",
        f"{name}_iso_utc": f"{utc:%Y-%m-%dT%H:%M:%SZ}",
    }
