"""Loop of MythTV's queue: reads the table, and carries out what the core decides."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection
from typing import Final

from mythjobs.client.client import Client
from mythjobs.errors import BadRequest, NoSuchJob, NotAllowed, ProtocolError
from mythjobs.mythtv.bridge.job_request import JobRequests
from mythjobs.mythtv.bridge.queue_loop import QueueLoop
from mythjobs.mythtv.bridge.recording_file import FileAway
from mythjobs.mythtv.bridge.row_text import JobView, parse_job
from mythjobs.mythtv.bridge.state_files import StatusFile, load_row_jobs, save_row_jobs
from mythjobs.mythtv.bridge.table import (
    ActOnJob,
    ClaimRow,
    ReleaseRow,
    RowAction,
    SubmitRow,
    TableCore,
    WriteRow,
)
from mythjobs.mythtv.job_rows import JobRow, QueueTable, RowChange, RowState, RowType, name_type
from mythjobs.mythtv.recording import DELETED_GROUP, Recording
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeDir, BridgeSettings, require_settings

# Waiting jobs are read one by one, at most this many in a pass.
_MAX_READS: Final = 50
_MARK_S: Final = 600.0
_MAX_RUNS: Final = 1000
log = logging.getLogger(__name__)


class TableLoop(QueueLoop):
    """read_taken: returns the hosts whose queue is switched off, None without a takeover."""

    def __init__(
        self,
        settings: BridgeSettings,
        directory: BridgeDir,
        table: QueueTable,
        services: Services,
        requests: JobRequests,
        open_client: Callable[[], Client],
        read_taken: Callable[[], Collection[str] | None],
        status: StatusFile,
    ) -> None:
        super().__init__(settings.poll_s, status)
        self._services = services
        self._settings = settings
        self._directory = directory
        self._table = table
        self._requests = requests
        self._open_client = open_client
        self._read_taken = read_taken
        self._core = TableCore(settings.name, load_row_jobs(directory))
        self._reads = 0
        # None: marks of an earlier bridge may be left.
        self._marked: set[tuple[int, int]] | None = None
        self._marked_s = 0.0

    def look_once(self) -> bool:
        """Read rows and jobs once, and do what they need. Return whether a row was claimed, which
        then gets its job at once. Raises MythJobsError."""
        taken = self._read_taken()
        if taken is None and not self._core.jobs:
            return False
        rows = self._table.read_rows()
        self.forget_rows({each.row_id for each in rows})
        now_ms = time.time_ns() // 1_000_000
        before = dict(self._core.jobs)
        actions = self._core.decide(rows, self._read_jobs(now_ms), taken, now_ms)
        try:
            has_claimed = self._perform_all(actions, now_ms)
        finally:
            if before != self._core.jobs:
                save_row_jobs(self._directory, self._core.jobs)
        self._mark_in_use(rows)
        return has_claimed

    def _perform_all(self, actions: list[RowAction], now_ms: int) -> bool:
        """Carry out the actions. Return whether a row was claimed."""
        failed: set[int] = set()
        has_claimed = False
        for each in actions:
            row = each.row
            if row is not None and row.row_id in failed:
                continue
            try:
                is_done = self._perform(each, now_ms)
            except (BadRequest, NotAllowed, ProtocolError) as error:
                # The error concerns this row only; the next ones are still handled.
                is_done = False
                if row is not None:
                    self.report_row(row.row_id, error.sentence, now_ms)
                else:
                    log.warning("MythTV's queue: %s", error.sentence)
                if isinstance(each, SubmitRow):
                    self._core.postpone(each.row.row_id, now_ms, is_failure=True)
            if row is not None and not is_done:
                failed.add(row.row_id)
            has_claimed |= is_done and isinstance(each, ClaimRow)
        return has_claimed

    def _read_jobs(self, now_ms: int) -> dict[int, JobView]:
        """Return the jobs of rows: those that run from one list, the others one by one."""
        wanted = set(self._core.job_ids())
        if not wanted:
            return {}
        client = self._open_client()
        listed = client.get("jobs", {"state": "leased,running", "limit": 1000})["jobs"]
        found = {each["id"]: parse_job(each, now_ms) for each in listed if each["id"] in wanted}
        rest = sorted(wanted - found.keys())
        start = self._reads % len(rest) if len(rest) > _MAX_READS else 0
        self._reads += _MAX_READS
        for job_id in (rest[start:] + rest[:start])[:_MAX_READS]:
            try:
                found[job_id] = parse_job(client.get(f"jobs/{job_id}"), now_ms)
            except NoSuchJob:
                found[job_id] = JobView(job_id, "cancelled", reason="the job was deleted")
        return found

    def _perform(self, action: RowAction, now_ms: int) -> bool:
        """Carry out one action. Return False if what follows for its row must be left out."""
        host = self._settings.name
        match action:
            case ClaimRow(row):
                return self._table.claim(row.row_id, expected_host=row.hostname, host=host)
            case ReleaseRow(row):
                self._core.record_final(row.row_id)
                return self._table.release(row.row_id, host=host)
            case ActOnJob(job_id, act, row, handled):
                if not self._act(job_id, act) and act == "cancel":
                    return False
                # Like MythTV's own queue, a pause that is impossible is forgotten.
                if row is not None and handled is not None:
                    self._write(row, RowChange(handled_command=handled), now_ms)
                return True
            case WriteRow(row, change, is_final):
                is_written = self._write(row, change, now_ms)
                if is_final and is_written:
                    if row.row_id not in self._core.jobs:
                        self._core.begin_run(row, 1)
                    self._core.record_final(row.row_id)
                return is_written
            case SubmitRow():
                return self._submit(action, now_ms)

    def _act(self, job_id: int, act: str) -> bool:
        [found] = self._open_client().post(f"jobs/{act}", {"ids": [job_id]})["jobs"]
        if found["error"]:
            log.info("%s of job %d: %s", act, job_id, found["error"])
        return not found["error"]

    def _write(self, row: JobRow, change: RowChange, now_ms: int) -> bool:
        """Return False if the row is gone, another host's, or has another state by now."""
        host = self._settings.name
        is_written = self._table.write(row.row_id, host=host, state=row.state, change=change)
        if is_written:
            self._core.record_write(row.row_id, change.comment, now_ms)
        return is_written

    def _submit(self, action: SubmitRow, now_ms: int) -> bool:
        row = action.row
        recording = None
        if row.chanid > 0:
            recording = self._services.find_recording_by_key(row.chanid, row.start_ms)
            if recording is None:
                return self._refuse(action, RowState.ERRORED, "there is no such recording", now_ms)
            if recording.recording_group == DELETED_GROUP:
                return self._refuse(
                    action, RowState.CANCELLED, "the recording has been deleted", now_ms
                )
            if self._requests.must_wait(row, recording):
                return self._wait(row, "the recording has not ended", now_ms)
        command = self._choose_command(row, recording)
        if not command:
            name = name_type(row.type)
            sentence = f"mythjobs has no command for {name}; run mythjobs mythtv import"
            if not name:
                sentence = f"neither MythTV nor mythjobs runs jobs of type {row.type}"
            return self._refuse(action, RowState.ERRORED, sentence, now_ms)
        try:
            self._submit_command(action, command, recording, now_ms)
        except FileAway as error:
            return self._wait(row, error.sentence, now_ms)
        except BadRequest as error:
            return self._refuse(action, RowState.ERRORED, error.sentence, now_ms)
        return True

    def _wait(self, row: JobRow, why: str, now_ms: int) -> bool:
        """Look at the row again later. Return False."""
        self._core.postpone(row.row_id, now_ms)
        self._write(row, RowChange(comment=f"waits: {why}"), now_ms)
        return False

    def _submit_command(
        self, action: SubmitRow, command: str, recording: Recording | None, now_ms: int
    ) -> None:
        row = action.row
        known = self._core.jobs.get(row.row_id)
        is_repetition = known is not None and known.run == action.run
        for run in range(action.run, action.run + _MAX_RUNS):
            # Saved first: after a crash the same run is submitted, with the same key.
            self._core.begin_run(row, run)
            save_row_jobs(self._directory, self._core.jobs)
            # Without a comment: the row's comment would repeat it.
            found = self._requests.submit_row(command, recording, row, run=run, now_ms=now_ms)
            # Without the file of rows an earlier run of a row that was queued again is found.
            is_old = not found["new"] and found["state"] in ("succeeded", "failed", "cancelled")
            if not is_old or is_repetition or row.state != RowState.QUEUED:
                break
        self._core.record_job(row.row_id, int(found["id"]))
        save_row_jobs(self._directory, self._core.jobs)
        self.solve_row(row.row_id)
        if found["new"]:
            log.info("job %d: %s for MythTV's job %d", found["id"], command, row.row_id)
            self._status.count("rows")

    def _refuse(self, action: SubmitRow, state: RowState, sentence: str, now_ms: int) -> bool:
        row = action.row
        self._core.begin_run(row, action.run)
        self._core.record_final(row.row_id)
        self._write(row, RowChange(state, sentence), now_ms)
        if state == RowState.ERRORED:
            self.report_row(row.row_id, sentence, now_ms)
        return True

    def _choose_command(self, row: JobRow, recording: Recording | None) -> str:
        """Return our command for the row's type, "" if there is none."""
        name = name_type(row.type)
        # The import changes them while the bridge runs.
        commands = require_settings(self._directory).commands
        if row.type == RowType.TRANSCODE and recording is not None:
            profile = self._requests.read_profile(recording)
            if chosen := commands.get(f"transcode-{profile}"):
                return chosen
        return commands.get(name, "")

    def _mark_in_use(self, rows: Collection[JobRow]) -> None:
        """Mark the recordings of jobs that run, so that MythTV does not expire them."""
        name = self._settings.name.casefold()
        states = (RowState.RUNNING, RowState.PAUSED, RowState.STOPPING)
        keys = {
            (each.chanid, each.start_ms)
            for each in rows
            if each.hostname.casefold() == name and each.state in states and each.chanid > 0
        }
        is_due = bool(keys) and time.monotonic() - self._marked_s >= _MARK_S
        if keys != self._marked or is_due:
            self._table.mark_in_use(keys, host=self._settings.name)
            self._marked, self._marked_s = keys, time.monotonic()
