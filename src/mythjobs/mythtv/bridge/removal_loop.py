"""Takeover of MythTV's queue without its database: rows are removed by the Services API.

The API can list queued jobs and remove one, but not change it. A job here is submitted held, then
its row is removed, then the job is released: whatever is interrupted, it is neither lost nor run by
both queues.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from mythjobs.client.client import Client
from mythjobs.errors import BadRequest, NotAllowed, ProtocolError
from mythjobs.mythtv.bridge.job_request import JobRequests, describe_recording
from mythjobs.mythtv.bridge.queue_loop import QueueLoop
from mythjobs.mythtv.bridge.recording_file import FileAway
from mythjobs.mythtv.bridge.state_files import StatusFile, load_row_jobs, save_row_jobs
from mythjobs.mythtv.bridge.table import RowJob
from mythjobs.mythtv.job_rows import JobRow, RowCommand, RowState, RowType, name_type
from mythjobs.mythtv.json_values import Json, read_number, read_table, read_tables, read_text
from mythjobs.mythtv.recording import DELETED_GROUP, Recording, parse_time
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeDir, BridgeSettings, require_settings

# The answer also lists the schedule of all recordings, so it is not asked for more often.
_POLL_S: Final = 10.0
# The API shows the host of an unclaimed row so.
_UNCLAIMED: Final = "master"
log = logging.getLogger(__name__)


class RemovalLoop(QueueLoop):
    """read_taken: returns the hosts whose queue is switched off, None without a takeover."""

    def __init__(
        self,
        settings: BridgeSettings,
        directory: BridgeDir,
        services: Services,
        requests: JobRequests,
        open_client: Callable[[], Client],
        read_taken: Callable[[], Collection[str] | None],
        status: StatusFile,
    ) -> None:
        super().__init__(max(settings.poll_s, _POLL_S), status)
        self._directory = directory
        self._services = services
        self._requests = requests
        self._open_client = open_client
        self._read_taken = read_taken
        self._held = load_row_jobs(directory)
        self._seen: set[JobRow] = set()

    def look_once(self) -> bool:
        """Read the queue once, and take its rows. Return False. Raises MythJobsError."""
        taken = self._read_taken()
        if taken is None and not self._held:
            return False
        rows, present = self._read_rows()
        self._release_removed(present)
        hosts = {_UNCLAIMED, "", *(each.casefold() for each in taken or ())}
        for row in rows:
            if taken is None or row.state != RowState.QUEUED:
                continue
            # A host may just be claiming a row, which then changes.
            if row.hostname.casefold() in hosts and row in self._seen:
                try:
                    self._take(row)
                except (BadRequest, FileAway, NotAllowed, ProtocolError) as error:
                    # The error concerns this row only; the next ones are still taken.
                    self.report_row(row.row_id, error.sentence, _now_ms())
                else:
                    self.solve_row(row.row_id)
        self._seen = set(rows)
        return False

    def _read_rows(self) -> tuple[list[JobRow], set[int]]:
        """Return the rows, and the ids of all: those with impossible values are only reported."""
        status = read_table(self._services.get("Status/GetBackendStatus"), "BackendStatus")
        if not isinstance(status.get("JobQueue"), list):
            raise ProtocolError("the backend sent no list of its jobs")
        rows, malformed = [], {}
        for each in read_tables(status, "JobQueue"):
            row_id = read_number(each, "Id")
            try:
                rows.append(_parse_row(each))
            except ProtocolError as error:
                malformed[row_id] = error.sentence
        for row_id, sentence in malformed.items():
            self.report_row(row_id, f"is left out: {sentence}", _now_ms())
        present = malformed.keys() | {each.row_id for each in rows}
        self.forget_rows(present)
        return rows, present

    def _release_removed(self, present: set[int]) -> None:
        """Release jobs whose row was removed before an interruption."""
        for row_id in [each for each in self._held if each not in present]:
            if (job_id := self._held[row_id].job_id) is not None:
                self._act(job_id, "release")
            self._forget(row_id)

    def _take(self, row: JobRow) -> None:
        recording = self._services.find_recording_by_key(row.chanid, row.start_ms)
        if recording is None:
            return
        if row.command == RowCommand.STOP or recording.recording_group == DELETED_GROUP:
            # MythTV's own queue would cancel the row; the API can only remove it.
            if name_type(row.type):
                self._remove(row, recording)
            return
        if self._requests.must_wait(row, recording):
            return
        name = name_type(row.type)
        if not name:
            return  # MythTV does not run it either
        command = require_settings(self._directory).commands.get(name, "")
        if not command:
            raise BadRequest(f"there is no command for {name}; run `mythjobs mythtv import`")
        comment = describe_recording(recording)
        job = self._requests.submit_row(
            command, recording, row, now_ms=_now_ms(), hold=True, comment=comment
        )
        # After an interruption the submit returns the job that this loop has made before.
        is_own = job["new"] or row.row_id in self._held
        self._held[row.row_id] = RowJob(row.inserted_ms, 1, int(job["id"]))
        save_row_jobs(self._directory, self._held)
        is_removed = self._remove(row, recording)
        if is_removed:
            self._act(int(job["id"]), "release")
        elif is_own:
            # A job that an imported rule has made is not held, and stays.
            self._act(int(job["id"]), "cancel")
        self._forget(row.row_id)
        if is_removed:
            log.info("job %d: %s for MythTV's job %d", job["id"], command, row.row_id)
            self._status.count("rows")

    def _remove(self, row: JobRow, recording: Recording) -> bool:
        name = RowType(row.type).name
        return self._services.remove_job(row.row_id, name, recording.recordedid)

    def _act(self, job_id: int, act: str) -> None:
        self._open_client().post(f"jobs/{act}", {"ids": [job_id]})

    def _forget(self, row_id: int) -> None:
        del self._held[row_id]
        save_row_jobs(self._directory, self._held)


def _parse_row(given: Json) -> JobRow:
    # The numbers of `Program` are not initialized; only its recording's id and key are right.
    recording = read_table(read_table(given, "Program"), "Recording")
    row_id, chanid = read_number(given, "Id"), read_number(given, "ChanId")
    inserted_ms, start_ms = parse_time(given.get("InsertTime")), parse_time(given.get("StartTime"))
    if inserted_ms is None or start_ms is None or not row_id:
        raise ProtocolError("the backend sent a job without its id or times")
    return JobRow(
        row_id=row_id,
        chanid=chanid,
        start_ms=start_ms,
        inserted_ms=inserted_ms,
        type=read_number(given, "Type"),
        command=read_number(given, "Cmds"),
        flags=read_number(given, "Flags"),
        state=read_number(given, "Status"),
        hostname=read_text(given, "HostName"),
        arguments=read_text(given, "Args"),
        comment=read_text(given, "Comment"),
        not_before_ms=parse_time(given.get("SchedRunTime")) or 0,
        recordedid=read_number(recording, "RecordedId"),
    )


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
