"""Decisions about the rows of MythTV's queue: which to claim, and what they and their jobs need.

Pure: rows and jobs are arguments, actions are returned. What an action led to is reported to the
core before its next decision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from mythjobs.mythtv.bridge.row_text import JobView, choose_state, format_comment
from mythjobs.mythtv.job_rows import JobRow, RowChange, RowCommand, RowState

# Least time between two writes of a job's comment: of a running job, and of a waiting one.
COMMENT_S: Final = 5.0
WAITING_COMMENT_S: Final = 60.0
# MythTV resets rows of any host that were not written for a day.
REFRESH_S: Final = 6 * 3600.0
# A row whose job cannot be submitted yet is tried again at this interval.
_RETRY_S: Final = 10.0
_MAX_DOUBLINGS: Final = 6
# How long a row that is pinned to a host must stay the same before it is claimed.
_UNCHANGED_MS: Final = 1000
# A job's own program may write these into its row, as scripts for MythTV do before they exit.
_SELF_WRITTEN: Final = (RowState.FINISHED, RowState.ERRORED)


@dataclass(frozen=True)
class RowJob:
    """The job of a row. run: counts the runs of the row, from 1. job_id: None until it is
    submitted. is_reported: the row shows the final state of this run."""

    inserted_ms: int
    run: int
    job_id: int | None = None
    is_reported: bool = False


@dataclass(frozen=True)
class ClaimRow:
    row: JobRow


@dataclass(frozen=True)
class ReleaseRow:
    row: JobRow


@dataclass(frozen=True)
class SubmitRow:
    """Make the job of this run. The key makes a repetition return the same job."""

    row: JobRow
    run: int

    @property
    def key(self) -> str:
        return f"mythtv:row:{self.row.row_id}:{self.row.inserted_ms}:{self.run}"


@dataclass(frozen=True)
class ActOnJob:
    """act: cancel, pause, resume, hold or release. `handled` is written into the row then."""

    job_id: int
    act: str
    row: JobRow | None = None
    handled: RowCommand | None = None


@dataclass(frozen=True)
class WriteRow:
    row: JobRow
    change: RowChange
    is_final: bool = False


RowAction = ClaimRow | ReleaseRow | SubmitRow | ActOnJob | WriteRow


@dataclass
class _Shown:
    """comment: the last one that the bridge wrote, None before the first. failures: of the submit,
    in a row. is_stopped: from MythTV's screens."""

    comment: str | None = None
    comment_ms: int = -(10**12)
    written_ms: int = -(10**12)
    retry_ms: int = 0
    failures: int = 0
    is_stopped: bool = False


@dataclass
class TableCore:
    """`jobs` are the jobs of rows by the row's id; the loop saves them before it acts on them.

    name: the bridge's host name. MythTV's database ignores the case of host names, so it is ignored
    here too.
    """

    name: str
    jobs: dict[int, RowJob] = field(default_factory=dict)
    _shown: dict[int, _Shown] = field(default_factory=dict)
    # By id, rows that MythTV pinned to a host whose queue was taken over; since when each has been
    # unchanged.
    _pinned: dict[int, tuple[JobRow, int]] = field(default_factory=dict)

    def decide(
        self,
        rows: Collection[JobRow],
        jobs: Mapping[int, JobView],
        taken_hosts: Collection[str] | None,
        now_ms: int,
    ) -> list[RowAction]:
        """Return what to do. jobs: by id, those of rows that could be read. taken_hosts: None while
        the takeover is off; then no row is claimed, and waiting rows are released."""
        by_id = {each.row_id: each for each in rows}
        taken = {each.casefold() for each in taken_hosts or ()}
        own_name = self.name.casefold()
        self._pinned = {
            row.row_id: self._look_at_pinned(row, now_ms)
            for row in rows
            if row.hostname.casefold() in taken
        }
        actions: list[RowAction] = []
        for row_id, known in list(self.jobs.items()):
            found = by_id.get(row_id)
            # The ids of deleted rows return when MythTV's database is restored.
            if found is None or found.inserted_ms != known.inserted_ms:
                actions += self._drop(row_id, jobs)
                if row_id in self.jobs:
                    by_id.pop(row_id, None)
        for row in by_id.values():
            if row.hostname.casefold() == own_name:
                actions += self._decide_own(row, jobs, taken_hosts is not None, now_ms)
            elif row.row_id in self.jobs and row.hostname:
                actions += self._drop(row.row_id, jobs)
            elif (
                self._has_unfinished_job(row)
                if taken_hosts is None
                else self._is_claimable(row, now_ms)
            ):
                actions.append(ClaimRow(row))
        return actions

    def begin_run(self, row: JobRow, run: int) -> None:
        self.jobs[row.row_id] = RowJob(row.inserted_ms, run)
        self._look(row.row_id).is_stopped = False

    def record_job(self, row_id: int, job_id: int) -> None:
        self.jobs[row_id] = replace(self.jobs[row_id], job_id=job_id)
        self._look(row_id).failures = 0

    def record_final(self, row_id: int) -> None:
        if row_id in self.jobs:
            self.jobs[row_id] = replace(self.jobs[row_id], is_reported=True)

    def postpone(self, row_id: int, now_ms: int, *, is_failure: bool = False) -> None:
        """Try again later: the job of the row cannot be submitted yet.

        is_failure: the delay doubles each time, because a user must solve it first.
        """
        shown = self._look(row_id)
        shown.failures = shown.failures + 1 if is_failure else 0
        doublings = min(max(shown.failures - 1, 0), _MAX_DOUBLINGS)
        shown.retry_ms = now_ms + round(_RETRY_S * 2**doublings * 1000)

    def record_write(self, row_id: int, comment: str | None, now_ms: int) -> None:
        shown = self._look(row_id)
        shown.written_ms = now_ms
        if comment:
            shown.comment_ms = now_ms
        if comment is not None:
            shown.comment = comment

    def job_ids(self) -> list[int]:
        """Return the jobs whose state must be read for the next decision."""
        return [j.job_id for j in self.jobs.values() if j.job_id and not j.is_reported]

    def _look_at_pinned(self, row: JobRow, now_ms: int) -> tuple[JobRow, int]:
        """Return the row, and since when it has been unchanged."""
        before = self._pinned.get(row.row_id)
        return before if before and before[0] == row else (row, now_ms)

    def _is_claimable(self, row: JobRow, now_ms: int) -> bool:
        if row.state != RowState.QUEUED:
            return False
        if not row.hostname:
            return True
        # The API pins each row to a host. That host may just be claiming a row of its own, which
        # then changes.
        _, since_ms = self._pinned.get(row.row_id, (row, now_ms))
        return row.row_id in self._pinned and now_ms - since_ms >= _UNCHANGED_MS

    def _has_unfinished_job(self, row: JobRow) -> bool:
        """Return whether MythTV reset the row although its job has not ended, or its end is not
        reported: MythTV's queues must not run it a second time."""
        known = self.jobs.get(row.row_id)
        is_reset = row.state == RowState.QUEUED and not row.hostname
        return is_reset and known is not None and known.job_id is not None and not known.is_reported

    def _drop(self, row_id: int, jobs: Mapping[int, JobView]) -> list[RowAction]:
        """Drop the job of a row that was deleted, or that another host has taken."""
        job_id = self.jobs[row_id].job_id
        job = jobs.get(job_id) if job_id is not None else None
        if self.jobs[row_id].is_reported or job_id is None or (job and job.is_final):
            del self.jobs[row_id]
            self._shown.pop(row_id, None)
            return []
        return [ActOnJob(job_id, "cancel")] if job and not job.is_stopping else []

    def _decide_own(
        self, row: JobRow, jobs: Mapping[int, JobView], is_on: bool, now_ms: int
    ) -> list[RowAction]:
        known = self.jobs.get(row.row_id)
        if known is None or known.job_id is None:
            run = known.run if known else 1
            return [] if row.is_done else self._begin(row, run, is_on, now_ms)
        if known.is_reported:
            # Queued again from one of MythTV's screens.
            if row.state == RowState.QUEUED or row.command == RowCommand.RESTART:
                return self._begin(row, known.run + 1, is_on, now_ms)
            if not row.is_done:
                # A write that the database carried out late, or a copy of the database that was
                # restored, shows an older state: the final one is written again.
                self.jobs[row.row_id] = replace(known, is_reported=False)
                return []
            return self._clear_command(row)
        job = jobs.get(known.job_id)
        if job is None:
            return []
        if not is_on and job.state == "queued":
            # The takeover was switched off: MythTV's queues get the row back.
            return [ActOnJob(job.job_id, "cancel"), ReleaseRow(row)]
        return self._decide_commands(row, job, known) or self._show(row, job, now_ms)

    def _begin(self, row: JobRow, run: int, is_on: bool, now_ms: int) -> list[RowAction]:
        if not is_on:
            return [ReleaseRow(row)]
        if row.command == RowCommand.STOP:
            change = RowChange(RowState.CANCELLED, "stopped before it started", RowCommand.STOP)
            return [WriteRow(row, change, is_final=True)]
        if now_ms < self._look(row.row_id).retry_ms:
            return []
        if row.command != RowCommand.RESTART:
            return [SubmitRow(row, run)]
        # Otherwise the new run would be restarted by the same command.
        change = RowChange(RowState.QUEUED, "", RowCommand.RESTART)
        queued = replace(row, state=RowState.QUEUED, command=RowCommand.RUN)
        return [WriteRow(row, change), SubmitRow(queued, run)]

    def _decide_commands(self, row: JobRow, job: JobView, known: RowJob) -> list[RowAction]:
        if job.is_final:
            return []
        if row.is_done and row.state not in _SELF_WRITTEN:
            # Another program ended the row, as MythTV does when a recording is deleted.
            return [] if job.is_stopping else [ActOnJob(job.job_id, "cancel")]
        command = row.command
        if command == RowCommand.STOP:
            self._look(row.row_id).is_stopped = True
            return _act(row, job, "" if job.is_stopping else "cancel", RowCommand.STOP)
        if command == RowCommand.RESTART:
            act = ActOnJob(job.job_id, "cancel", row, RowCommand.RESTART)
            # Jobs of one subject do not overlap, so the next run waits for the end of this one.
            return [act, SubmitRow(row, known.run + 1)]
        if command == RowCommand.PAUSE:
            act_name = "pause" if job.is_live else "hold"
            return _act(row, job, act_name, RowCommand.PAUSE)
        if command == RowCommand.RESUME:
            act_name = "release" if job.is_held else "resume" if job.is_paused else ""
            return _act(row, job, act_name, RowCommand.RESUME)
        return []

    def _show(self, row: JobRow, job: JobView, now_ms: int) -> list[RowAction]:
        state = choose_state(job)
        comment = format_comment(job, row.type)
        shown = self._look(row.row_id)
        if job.is_final:
            if job.state == "cancelled" and shown.is_stopped:
                comment = "stopped"
            # A restart that comes with the end is not forgotten: it begins the next run.
            is_handled = row.command in (RowCommand.STOP, RowCommand.PAUSE, RowCommand.RESUME)
            handled = RowCommand(row.command) if is_handled else None
            # As in MythTV, the comment stays that the program wrote with the same state.
            is_kept = row.state == state and row.state in _SELF_WRITTEN and row.comment
            change = RowChange(state, None if is_kept else comment, handled)
            return [WriteRow(row, change, is_final=True)]
        period_s = COMMENT_S if job.is_live else WAITING_COMMENT_S
        is_due = now_ms - shown.comment_ms >= period_s * 1000
        is_self_written = job.is_live and row.state in _SELF_WRITTEN
        if row.state != state and not is_self_written:
            return [WriteRow(row, RowChange(state, comment))]
        if comment != row.comment and is_due and not _is_own_comment(row, job, shown):
            return [WriteRow(row, RowChange(comment=comment))]
        if shown.written_ms > 0 and now_ms - shown.written_ms < REFRESH_S * 1000:
            return []
        return [WriteRow(row, RowChange())]

    def _clear_command(self, row: JobRow) -> list[RowAction]:
        if row.command in (RowCommand.STOP, RowCommand.PAUSE, RowCommand.RESUME):
            return [WriteRow(row, RowChange(handled_command=row.command))]
        return []

    def _look(self, row_id: int) -> _Shown:
        return self._shown.setdefault(row_id, _Shown())


def _act(row: JobRow, job: JobView, act: str, handled: RowCommand) -> list[RowAction]:
    if not act:
        return [WriteRow(row, RowChange(handled_command=handled))]
    return [ActOnJob(job.job_id, act, row, handled)]


def _is_own_comment(row: JobRow, job: JobView, shown: _Shown) -> bool:
    """Return whether the job's program wrote the row's comment, as scripts for MythTV do. A
    comment that it reports to mythjobs has precedence; an estimate has not."""
    if not job.is_live:
        return False
    if row.state in _SELF_WRITTEN:
        return True
    if job.comment or job.is_paused or (job.progress is not None and not job.is_estimated):
        return False
    is_foreign = shown.comment is not None and row.comment not in ("", shown.comment)
    return is_foreign or job.progress is None
