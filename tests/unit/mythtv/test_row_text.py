"""State and comment of the row of a job, on MythTV's screens."""

from dataclasses import replace

import pytest

from mythjobs.mythtv.bridge.row_text import JobView, choose_state, format_comment, parse_job
from mythjobs.mythtv.job_rows import RowState, RowType

QUEUED = JobView(7, "queued", reason="machine attic opens at 22:00")
RUNNING = JobView(7, "running", has_started=True, progress=42.4, left_s=700)
ENDED = JobView(7, "succeeded", has_started=True, exit_code=0)


@pytest.mark.parametrize(
    "job, state",
    [
        (QUEUED, RowState.QUEUED),
        (RUNNING, RowState.RUNNING),
        (replace(RUNNING, is_paused=True), RowState.PAUSED),
        (replace(RUNNING, is_stopping=True), RowState.STOPPING),
        (ENDED, RowState.FINISHED),
        (replace(ENDED, state="failed"), RowState.ERRORED),
        (replace(ENDED, state="cancelled"), RowState.ABORTED),
        (replace(QUEUED, state="cancelled"), RowState.CANCELLED),
    ],
)
def test_the_state_of_a_row(job: JobView, state: RowState) -> None:
    assert choose_state(job) == state


@pytest.mark.parametrize(
    "job, comment",
    [
        (RUNNING, "42 % completed, 12 min left"),
        (replace(RUNNING, left_s=20), "42 % completed, under 1 min left"),
        (replace(RUNNING, left_s=7260), "42 % completed, 2 h 1 min left"),
        (replace(RUNNING, is_estimated=True), "~42 % completed, ~12 min left"),
        (replace(RUNNING, comment="pass 2"), "42 % completed, 12 min left; pass 2"),
        (replace(RUNNING, is_paused=True), "paused; 42 % completed"),
        (replace(RUNNING, progress=None), ""),
        (
            replace(ENDED, state="failed", reason="exit code 3", exit_code=3),
            "exit code 3; see mythjobs log 7",
        ),
        (
            replace(ENDED, state="failed", reason="exit code 127", exit_code=127),
            "exit code 127 (program not found); see mythjobs log 7",
        ),
        (
            replace(ENDED, state="failed", reason="over its limit of memory", exit_code=None),
            "over its limit of memory",
        ),
        (replace(ENDED, comment="done my way"), "done my way"),
        (replace(RUNNING, progress=None, comment="x" * 200), "x" * 127 + "…"),
        (replace(RUNNING, progress=None, comment="a\n😀"), "a ?"),
    ],
)
def test_the_comment_of_a_row(job: JobView, comment: str) -> None:
    assert format_comment(job, RowType.USERJOB1) == comment


def test_a_flagger_shows_its_number_of_breaks() -> None:
    job = replace(ENDED, exit_code=3)
    assert format_comment(job, RowType.COMMFLAG) == "3 commercial break(s)"


def test_a_job_of_the_api_is_read() -> None:
    given = {
        "id": 7, "state": "running", "attempt": 2, "frozen": ["user"], "hold": False,
        "stop_requested": None, "progress": None, "estimated_progress": 10.0, "eta_ms": None,
        "estimated_end_ms": 61_000, "comment": "", "reason": {"code": "running", "sentence": "x"},
        "attempts": [{"outcome": None}, {"outcome": {"kind": "exited", "code": 4}}],
    }  # fmt: skip
    found = parse_job(given, now_ms=1_000)
    assert found == JobView(7, "running", True, True, False, False, 10.0, True, 60.0, "", "x", 4)
