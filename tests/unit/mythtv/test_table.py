"""Rows of MythTV's queue and their jobs: claims, commands, states, comments."""

from dataclasses import replace
from typing import Any

import pytest

from mythjobs.mythtv.bridge.row_text import JobView, format_comment
from mythjobs.mythtv.bridge.table import (
    ActOnJob,
    ClaimRow,
    ReleaseRow,
    RowAction,
    RowJob,
    SubmitRow,
    TableCore,
    WriteRow,
)
from mythjobs.mythtv.job_rows import JobRow, RowChange, RowCommand, RowState, name_type

ROW = JobRow(126, 1001, 1_795_505_760_000, 5_000, 256, 0, 0, 1, "", "", "", 0, 11)
OWN = replace(ROW, hostname="bridge")
QUEUED = JobView(7, "queued", reason="machine attic opens at 22:00")
RUNNING = JobView(7, "running", has_started=True, progress=42.4, left_s=700)
ENDED = JobView(7, "succeeded", has_started=True, exit_code=0)


def a_core(job: RowJob | None = None) -> TableCore:
    core = TableCore("bridge")
    if job is not None:
        core.jobs[ROW.row_id] = job
    return core


LIVE = RowJob(5_000, 1, 7)


def decide(
    core: TableCore, row: JobRow | None, job: JobView | None = None, now_ms: int = 0, **given: Any
) -> list[RowAction]:
    rows = [] if row is None else [row]
    taken = given.get("taken", ("mythbox",))
    return core.decide(rows, {} if job is None else {job.job_id: job}, taken, now_ms)


def test_an_unclaimed_queued_row_is_claimed_and_its_job_submitted() -> None:
    core = a_core()
    assert decide(core, ROW) == [ClaimRow(ROW)]
    [submit] = decide(core, OWN)
    assert isinstance(submit, SubmitRow)
    assert submit.key == "mythtv:row:126:5000:1"


@pytest.mark.parametrize("state", [2, 3, 4, 6, 7, 272, 304, 320])
def test_only_queued_rows_are_claimed(state: int) -> None:
    assert decide(a_core(), replace(ROW, state=state)) == []


def test_nothing_is_claimed_while_the_take_over_is_off() -> None:
    assert decide(a_core(), ROW, taken=None) == []


def test_a_row_pinned_to_a_taken_host_is_claimed_when_it_stays_the_same() -> None:
    core = a_core()
    # MythTV's tables ignore the case of host names, so both writings occur.
    pinned = replace(ROW, hostname="MythBox")
    assert decide(core, pinned) == []
    # After a claim the next pass follows at once.
    assert decide(core, pinned, now_ms=5) == []
    assert decide(core, pinned, now_ms=1000) == [ClaimRow(pinned)]


def test_a_row_that_its_host_is_just_claiming_is_left_alone() -> None:
    core = a_core()
    assert decide(core, replace(ROW, hostname="mythbox")) == []
    assert decide(core, replace(ROW, hostname="mythbox", state=4), now_ms=1000) == []
    assert decide(core, replace(ROW, hostname="mythbox", comment="new"), now_ms=2000) == []


def test_the_case_of_the_own_name_does_not_matter() -> None:
    row = replace(ROW, hostname="Bridge")
    assert decide(a_core(), row) == [SubmitRow(row, 1)]


def test_a_foreign_claim_is_respected() -> None:
    core = a_core()
    for _ in range(3):
        assert decide(core, replace(ROW, hostname="otherbox")) == []


def test_a_stop_before_the_submit_cancels_the_row() -> None:
    [write] = decide(a_core(), replace(OWN, command=RowCommand.STOP))
    assert isinstance(write, WriteRow)
    assert write.change.state == RowState.CANCELLED
    assert write.change.handled_command == RowCommand.STOP
    assert write.is_final


def test_state_and_comment_follow_the_job() -> None:
    core = a_core(LIVE)
    [write] = decide(core, OWN, RUNNING)
    assert write == WriteRow(OWN, RowChange(RowState.RUNNING, "42 % completed, 12 min left"))
    [write] = decide(core, replace(OWN, state=4), ENDED)
    assert write == WriteRow(
        replace(OWN, state=4), RowChange(RowState.FINISHED, "Successfully Completed."), True
    )


def test_a_comment_is_written_at_most_every_5_seconds() -> None:
    core = a_core(LIVE)
    row = replace(OWN, state=4, comment="41 % completed")
    assert len(decide(core, row, RUNNING, 10_000)) == 1
    core.record_write(ROW.row_id, "written", 10_000)
    assert decide(core, row, RUNNING, 14_999) == []
    assert len(decide(core, row, RUNNING, 15_000)) == 1
    # Not for a change of the state.
    assert len(decide(core, row, replace(RUNNING, is_paused=True), 14_999)) == 1


def test_a_waiting_job_rarely_changes_its_comment() -> None:
    core = a_core(LIVE)
    core.record_write(ROW.row_id, "written", 10_000)
    assert decide(core, OWN, QUEUED, 69_000) == []
    [write] = decide(core, OWN, QUEUED, 70_000)
    assert isinstance(write, WriteRow)
    assert write.change.comment == "waits: machine attic opens at 22:00"


def test_a_row_is_written_before_mythtv_resets_it() -> None:
    core = a_core(LIVE)
    row = replace(OWN, state=4, comment=format_comment(RUNNING, 256))
    core.record_write(ROW.row_id, "written", 1000)
    assert decide(core, row, RUNNING, 6 * 3_600_000) == []
    assert decide(core, row, RUNNING, 6 * 3_600_000 + 1000) == [WriteRow(row, RowChange())]


@pytest.mark.parametrize(
    "command, job, act",
    [
        (RowCommand.STOP, RUNNING, "cancel"),
        (RowCommand.STOP, QUEUED, "cancel"),
        (RowCommand.PAUSE, RUNNING, "pause"),
        (RowCommand.PAUSE, QUEUED, "hold"),
        (RowCommand.RESUME, replace(RUNNING, is_paused=True), "resume"),
        (RowCommand.RESUME, replace(QUEUED, is_held=True), "release"),
    ],
)
def test_a_command_in_the_row_acts_on_the_job(command: RowCommand, job: JobView, act: str) -> None:
    row = replace(OWN, state=4, command=command)
    assert decide(a_core(LIVE), row, job) == [ActOnJob(7, act, row, command)]


def test_a_command_without_effect_is_cleared() -> None:
    row = replace(OWN, state=4, command=RowCommand.RESUME)
    cleared = [WriteRow(row, RowChange(handled_command=RowCommand.RESUME))]
    assert decide(a_core(LIVE), row, RUNNING) == cleared
    done = replace(OWN, state=272, command=RowCommand.STOP)
    assert decide(a_core(replace(LIVE, is_reported=True)), done, ENDED) == [
        WriteRow(done, RowChange(handled_command=RowCommand.STOP))
    ]


def test_restart_ends_the_run_and_submits_the_next() -> None:
    row = replace(OWN, state=4, command=RowCommand.RESTART)
    cancel, submit = decide(a_core(LIVE), row, RUNNING)
    assert cancel == ActOnJob(7, "cancel", row, RowCommand.RESTART)
    assert submit == SubmitRow(row, 2)


def test_a_done_row_that_is_queued_again_is_the_next_run() -> None:
    core = a_core(replace(LIVE, is_reported=True))
    assert decide(core, replace(OWN, state=304)) == []
    assert decide(core, OWN) == [SubmitRow(OWN, 2)]
    # The command must not restart the new run again.
    row = replace(OWN, state=304, command=RowCommand.RESTART)
    clear, submit = decide(core, row)
    assert clear == WriteRow(row, RowChange(RowState.QUEUED, "", RowCommand.RESTART))
    # What follows is written to a row of the state that it has then.
    assert submit == SubmitRow(replace(row, state=RowState.QUEUED, command=RowCommand.RUN), 2)


def test_a_final_state_that_was_not_written_is_no_requeue() -> None:
    [write] = decide(a_core(LIVE), OWN, ENDED)
    assert isinstance(write, WriteRow)
    assert write.is_final


def test_a_run_whose_submit_was_interrupted_is_submitted_again() -> None:
    assert decide(a_core(RowJob(5_000, 3)), OWN) == [SubmitRow(OWN, 3)]


def test_a_deleted_row_cancels_its_job_and_is_forgotten() -> None:
    core = a_core(LIVE)
    assert decide(core, None, RUNNING) == [ActOnJob(7, "cancel")]
    assert decide(core, None, replace(RUNNING, is_stopping=True)) == []
    assert decide(core, None, replace(RUNNING, state="cancelled")) == []
    assert core.jobs == {}


def test_a_row_that_another_host_took_cancels_its_job() -> None:
    assert decide(a_core(LIVE), replace(OWN, hostname="otherbox", state=4), RUNNING) == [
        ActOnJob(7, "cancel")
    ]


def test_a_row_that_mythtv_reset_is_claimed_again_for_the_same_job() -> None:
    core = a_core(LIVE)
    assert decide(core, ROW, RUNNING) == [ClaimRow(ROW)]
    [write] = decide(core, OWN, RUNNING)
    assert isinstance(write, WriteRow)
    assert core.jobs[ROW.row_id] == LIVE


def test_a_row_ended_by_another_program_cancels_its_job() -> None:
    row = replace(OWN, state=320)
    assert decide(a_core(LIVE), row, RUNNING) == [ActOnJob(7, "cancel")]


@pytest.mark.parametrize(
    "state, ended",
    [(272, ENDED), (304, replace(ENDED, state="failed", reason="exit code 5", exit_code=5))],
)
def test_a_state_that_the_program_wrote_itself_keeps_its_comment(
    state: int, ended: JobView
) -> None:
    core = a_core(LIVE)
    core.record_write(ROW.row_id, "", 1)
    row = replace(OWN, state=state, comment="my own words")
    # The program may still tidy up: it is not stopped, and its row not made "running" again.
    assert decide(core, row, replace(RUNNING, progress=None), 10_000) == []
    [write] = decide(core, row, ended, 10_000)
    assert write == WriteRow(row, RowChange(RowState(state)), is_final=True)


def test_the_exit_status_counts_more_than_the_state_that_the_program_wrote() -> None:
    row = replace(OWN, state=272, comment="my own words")
    failed = replace(ENDED, state="failed", reason="exit code 5", exit_code=5)
    comment = "exit code 5; see mythjobs log 7"
    [write] = decide(a_core(LIVE), row, failed)
    assert write == WriteRow(row, RowChange(RowState.ERRORED, comment), is_final=True)
    # The next attempt waits: MythTV's screens must not show the job as ended.
    [write] = decide(a_core(LIVE), row, QUEUED)
    assert isinstance(write, WriteRow)
    assert write.change.state == RowState.QUEUED


def test_progress_that_the_program_wrote_into_its_row_stays() -> None:
    core = a_core(LIVE)
    row = replace(OWN, state=4, comment="Progress: 7 %")
    silent = replace(RUNNING, progress=None)
    core.record_write(ROW.row_id, "", 1)
    assert decide(core, row, silent, 60_000) == []
    assert decide(core, row, replace(RUNNING, is_estimated=True), 60_000) == []
    # What it reports to mythjobs counts more.
    assert len(decide(core, row, RUNNING, 60_000)) == 1
    # The bridge's own estimate is renewed.
    core.record_write(ROW.row_id, "Progress: 7 %", 60_000)
    assert len(decide(core, row, replace(RUNNING, is_estimated=True), 70_000)) == 1


def test_a_restart_that_comes_with_the_end_begins_the_next_run() -> None:
    core = a_core(LIVE)
    row = replace(OWN, state=4, command=RowCommand.RESTART)
    [write] = decide(core, row, ENDED)
    assert isinstance(write, WriteRow)
    assert write.change.handled_command is None
    core.record_final(ROW.row_id)
    _, submit = decide(core, replace(row, state=272))
    assert submit == SubmitRow(replace(row, state=RowState.QUEUED, command=RowCommand.RUN), 2)


def test_another_row_with_the_id_of_a_deleted_one_gets_a_job_of_its_own() -> None:
    core = a_core(LIVE)
    row = replace(OWN, inserted_ms=9_000)
    assert decide(core, row, RUNNING) == [ActOnJob(7, "cancel")]
    assert decide(core, row, replace(RUNNING, state="cancelled")) == [SubmitRow(row, 1)]


def test_a_row_that_mythtv_reset_stays_ours_after_the_take_over() -> None:
    core = a_core(LIVE)
    assert decide(core, ROW, RUNNING, taken=None) == [ClaimRow(ROW)]
    core.record_final(ROW.row_id)
    assert decide(core, ROW, ENDED, taken=None) == []


def test_switching_off_gives_waiting_rows_back_and_lets_jobs_run() -> None:
    core = a_core(LIVE)
    assert decide(core, OWN, QUEUED, taken=None) == [ActOnJob(7, "cancel"), ReleaseRow(OWN)]
    running = replace(OWN, state=4, comment=format_comment(RUNNING, 256))
    core.record_write(ROW.row_id, "written", 1)
    assert decide(core, running, RUNNING, 1, taken=None) == []
    assert decide(a_core(), OWN, taken=None) == [ReleaseRow(OWN)]


def test_a_postponed_row_is_looked_at_later() -> None:
    core = a_core()
    core.postpone(ROW.row_id, 0)
    assert decide(core, OWN, now_ms=9_999) == []
    assert decide(core, OWN, now_ms=10_000) == [SubmitRow(OWN, 1)]


def test_types_have_names() -> None:
    assert [name_type(each) for each in (1, 2, 4, 8, 256, 2048, 4096)] == [
        "transcode", "commflag", "metadata", "", "userjob1", "userjob4", "",
    ]  # fmt: skip


def test_a_final_state_that_was_overwritten_is_written_again() -> None:
    # By a statement that a frozen server carried out late, or by a restored database.
    core = a_core(replace(LIVE, is_reported=True))
    row = replace(OWN, state=RowState.RUNNING)
    assert decide(core, row) == []
    assert core.job_ids() == [7]
    [write] = decide(core, row, ENDED)
    assert isinstance(write, WriteRow)
    assert (write.change.state, write.is_final) == (RowState.FINISHED, True)


def test_a_row_whose_job_cannot_be_made_is_tried_ever_less_often() -> None:
    core, now_ms, tries = a_core(), 0, 0
    while now_ms < 3_600_000:
        if decide(core, OWN, now_ms=now_ms):
            tries += 1
            core.postpone(OWN.row_id, now_ms, is_failure=True)
        now_ms += 2000
    assert tries == 11
    # A recording that goes on may end at any moment.
    core.postpone(OWN.row_id, now_ms)
    assert decide(core, OWN, now_ms=now_ms + 10_000) == [SubmitRow(OWN, 1)]


def test_a_stop_from_mythtvs_screens_is_told_from_one_by_a_user_of_mythjobs() -> None:
    core = a_core(LIVE)
    row = replace(OWN, state=RowState.RUNNING)
    cancelled = replace(ENDED, state="cancelled", reason="cancelled by root; stopped by root")
    [write] = decide(core, row, cancelled)
    assert isinstance(write, WriteRow)
    assert write.change.comment == "cancelled by root; stopped by root"
    decide(core, replace(row, command=RowCommand.STOP), RUNNING)
    [write] = decide(core, row, cancelled)
    assert isinstance(write, WriteRow)
    assert (write.change.state, write.change.comment) == (RowState.ABORTED, "stopped")
    # Of the next run nothing is known yet.
    core.begin_run(row, 2)
    core.record_job(row.row_id, 7)
    [write] = decide(core, row, cancelled)
    assert isinstance(write, WriteRow)
    assert write.change.comment == "cancelled by root; stopped by root"
