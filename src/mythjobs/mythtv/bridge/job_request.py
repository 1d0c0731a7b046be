"""Requests to the master for jobs about recordings: arguments, subject, key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any, Final

from mythjobs.client.api_paths import command_path
from mythjobs.client.client import Client
from mythjobs.errors import BadRequest, NoSuchCommand, ProtocolError
from mythjobs.model.zone import load_zone
from mythjobs.mythtv.bridge.recording_file import find_directory
from mythjobs.mythtv.bridge.table import SubmitRow
from mythjobs.mythtv.bridge.watch import automatic_key, is_automatic
from mythjobs.mythtv.job_rows import DURING_RECORDING, JobRow, RowFlag
from mythjobs.mythtv.json_values import Json, read_number, read_table, read_tables, read_text
from mythjobs.mythtv.parameters import (
    Ranges,
    RecordingContext,
    format_subject,
    list_values,
    select_arguments,
)
from mythjobs.mythtv.recording import UNFINISHED, Recording
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeSettings

if TYPE_CHECKING:
    from mythjobs.mythtv.database.connection import MythDatabase
    from mythjobs.mythtv.database.marks import MarkType

_COMMENT_LENGTH: Final = 200
_DAY_S: Final = 86_400
_CUTS: Final = frozenset({"cutlist_frames", "cutlist_seconds"})
_BREAKS: Final = frozenset({"skiplist_frames", "skiplist_seconds"})
_FPS: Final = frozenset({"cutlist_seconds", "skiplist_seconds", "fps"})
_DATABASE_ONLY: Final = frozenset({"transprofile", "parentid", "findid"})
# The parameter with the address of the backend, for commands that fetch the recording.
_BACKEND: Final = "backend"


class JobRequests:
    """Builds and sends submits. database: None without one. open_client: a client of the master."""

    def __init__(
        self,
        settings: BridgeSettings,
        services: Services,
        open_client: Callable[[], Client],
        database: MythDatabase | None = None,
    ) -> None:
        self._settings = settings
        self._services = services
        self._open_client = open_client
        self._database = database
        self._zone: tzinfo | None = None

    def submit(self, body: Json) -> Json:
        """Send a submit; return `{id, state, new, reason}`."""
        return self._open_client().post("jobs", body)

    def submit_row(
        self,
        command: str,
        recording: Recording | None,
        row: JobRow,
        *,
        run: int = 1,
        now_ms: int,
        **options: Any,
    ) -> Json:
        """Submit the job of a row of MythTV's queue, for the row's `run`th run; return as submit().

        Raises NoSuchCommand, BadRequest like describe().
        """
        key = SubmitRow(row, run).key
        if run == 1 and recording is not None and is_automatic(row, recording):
            key = automatic_key(recording, command)
        if row.not_before_ms > now_ms:
            options["not_before_ms"] = row.not_before_ms
        return self.submit(self.describe(command, recording, key=key, row=row, **options))

    def must_wait(self, row: JobRow, recording: Recording) -> bool:
        """Return whether a row's job may not start before the recording has ended."""
        if recording.status not in UNFINISHED:
            return False
        return row.type not in DURING_RECORDING or not self._services.is_flagging_while_recording()

    def describe(
        self,
        command: str,
        recording: Recording | None,
        *,
        key: str,
        row: JobRow | None = None,
        arguments: Mapping[str, str] | None = None,
        **options: object,
    ) -> Json:
        """Return the body of a submit. row: of jobqueue, if the job is one of MythTV's.

        Raises NoSuchCommand, BadRequest if the command has parameters without a value.
        """
        names, required = self._read_parameters(command)
        given = dict(arguments or {})
        for each in given:
            if each not in names:
                raise BadRequest(f"command {command} has no parameter {each}")
        job_id = row.row_id if row else 0
        values = {"jobid": str(job_id)}
        if recording is not None:
            wanted = {each for each in names if each not in given}
            values |= self._list_values(recording, job_id, wanted)
        values[_BACKEND] = f"{self._settings.host}:{self._settings.status_port}"
        if row is not None:
            # Parameters of the imported commands for the flags of MythTV's rows.
            values["use_cutlist"] = "yes" if row.flags & RowFlag.USE_CUTLIST else "no"
            values["rebuild"] = "yes" if row.flags & RowFlag.REBUILD else "no"
        given = select_arguments(names, values) | given
        if missing := [each for each in required if each not in given]:
            raise BadRequest(
                f"command {command} has the parameter {missing[0]}, which the bridge does not know;"
                " give it a default, or a value in the rule's arguments"
            )
        body: Json = {"command": command, "arguments": given, "key": key, **options}
        if recording is not None:
            body["subject"] = format_subject(recording.chanid, recording.start_ms)
        return body

    def read_profile(self, recording: Recording) -> int:
        """Return the transcode profile chosen for the recording, 0 for autodetect."""
        from mythjobs.mythtv.database.recordings import read_recording

        found = read_recording(self._database, recording.recordedid) if self._database else None
        return found.transcoder if found else 0

    def _read_parameters(self, command: str) -> tuple[list[str], list[str]]:
        """Return the names of a command's parameters, and of those that need a value."""
        try:
            found = self._open_client().get(command_path(command))
        except NoSuchCommand:
            raise NoSuchCommand(
                f'there is no command "{command}"; define it, or run `mythjobs mythtv import`'
            ) from None
        tables = found["definition"].get("parameters") or []
        names = [str(each["name"]) for each in tables]
        return names, [str(each["name"]) for each in tables if "default" not in each]

    def _list_values(
        self, recording: Recording, job_id: int, wanted: set[str]
    ) -> Mapping[str, str]:
        context = RecordingContext(job_id=job_id)
        if wanted & {"dir", "path"}:
            directory = find_directory(self._settings, self._services, recording)
            context = replace(context, directory=directory)
        if wanted & (_CUTS | _BREAKS | _FPS | _DATABASE_ONLY):
            context = self._add_marks(recording, context, wanted)
        return list_values(recording, context, self._load_zone())

    def _add_marks(
        self, recording: Recording, context: RecordingContext, wanted: set[str]
    ) -> RecordingContext:
        from mythjobs.mythtv.database.marks import MarkType

        if self._database is not None:
            return self._read_database(recording, context)
        if wanted & _CUTS:
            types = (MarkType.CUT_START, MarkType.CUT_END)
            cuts = self._read_ranges(recording, "Dvr/GetRecordedCutList", types)
            context = replace(context, cuts=cuts)
        if wanted & _BREAKS:
            types = (MarkType.COMM_START, MarkType.COMM_END)
            breaks = self._read_ranges(recording, "Dvr/GetRecordedCommBreak", types)
            context = replace(context, breaks=breaks)
        if wanted & _FPS:
            context = replace(context, fps=self._read_fps(recording))
        return context

    def _read_database(self, recording: Recording, context: RecordingContext) -> RecordingContext:
        from mythjobs.mythtv.database.marks import MarkType, pair_marks, read_marks
        from mythjobs.mythtv.database.recordings import read_recording

        assert self._database is not None
        found = read_recording(self._database, recording.recordedid)
        if found is None:
            return context
        marks = read_marks(self._database, found.key)
        profile = str(found.transcoder) if found.transcoder else context.transcode_profile
        return replace(
            context,
            fps=found.fps,
            parent_rule=found.parent_rule,
            findid=found.findid,
            transcode_profile=profile,
            cuts=pair_marks(marks, MarkType.CUT_START, MarkType.CUT_END),
            breaks=pair_marks(marks, MarkType.COMM_START, MarkType.COMM_END),
        )

    def _read_ranges(
        self, recording: Recording, method: str, types: tuple[MarkType, MarkType]
    ) -> Ranges:
        from mythjobs.mythtv.database.marks import Mark, pair_marks

        found = self._services.get(method, RecordedId=recording.recordedid, OffsetType="Frame")
        cuttings = read_tables(read_table(found, "CutList"), "Cuttings")
        marks = [Mark(read_number(each, "Offset"), read_number(each, "Mark")) for each in cuttings]
        return pair_marks(marks, *types)

    def _read_fps(self, recording: Recording) -> float:
        """Return the frame rate from the marks of the recorder, 0 if unknown."""
        found = self._services.get("Dvr/GetRecordedMarkup", RecordedId=recording.recordedid)
        marks = read_tables(read_table(found, "MarkupList"), "Mark")
        # MythTV sends "NULL" for a mark without a number.
        known = {
            read_text(each, "Type"): read_number(each, "Data")
            for each in marks
            if read_text(each, "Data") != "NULL"
        }
        if rate := known.get("VIDEO_RATE", 0):
            return rate / 1000
        frames, duration = known.get("TOTAL_FRAMES", 0), known.get("DURATION_MS", 0)
        return round(frames * 1000 / duration, 3) if duration else 0.0

    def _load_zone(self) -> tzinfo:
        """Return MythTV's time zone, for the tokens with local times."""
        if self._zone is None:
            found = read_table(self._services.get("Myth/GetTimeZone"), "TimeZoneInfo")
            try:
                self._zone = load_zone(read_text(found, "TimeZoneID") or "UTC")
            except ValueError:
                # A name that only the backend's machine knows: at least its present offset.
                offset_s = read_number(found, "UTCOffset")
                if abs(offset_s) >= _DAY_S:
                    raise ProtocolError(f"the backend sent {offset_s} as UTCOffset") from None
                return timezone(timedelta(seconds=offset_s))
        return self._zone


def describe_recording(recording: Recording) -> str:
    """Return the comment of a recording's job: its title and subtitle."""
    parts = [recording.title, recording.subtitle]
    return ": ".join(each for each in parts if each)[:_COMMENT_LENGTH]
