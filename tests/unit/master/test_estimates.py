"""Progress and end of running jobs, estimated where their programs report none."""

from __future__ import annotations

from typing import Any

from mythjobs.protocol import messages as m
from tests.unit.master.harness import NOON, Harness


def start_job(master: Harness, connection: int, command: str = "flag", **fields: Any) -> int:
    job = master.submit(command, **fields).id
    assert master.take_grants() == [job]
    master.send_frame(connection, m.Started(job, 1, master.now.wall_ms))
    return job


def estimate(master: Harness, job: int) -> tuple[float | None, float | None]:
    """Return the estimated progress, and the estimated end in seconds since noon."""
    page = master.listed_job(job)
    assert page["estimated_progress"] == master.shown_job(job)["estimated_progress"]
    end_ms = page["estimated_end_ms"]
    return page["estimated_progress"], None if end_ms is None else (end_ms - NOON) / 1000


def test_the_end_follows_from_the_progress(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    job = start_job(master, attic)
    master.send_frame(attic, m.Progress(job, 1, 0.0))
    master.advance(30)
    assert estimate(master, job) == (None, None)
    master.send_frame(attic, m.Progress(job, 1, 25.0))
    assert estimate(master, job) == (None, 120.0)
    assert master.explain(job)["expected_end_ms"] == NOON + 120_000
    assert not master.explain(job)["end_reported"]
    # What the program itself reports takes precedence.
    master.send_frame(attic, m.Progress(job, 1, 25.0, None, 60.0))
    assert estimate(master, job) == (None, None)
    assert master.listed_job(job)["eta_ms"] == NOON + 90_000
    master.finish(attic, job)
    assert estimate(master, job) == (None, None)


def test_without_progress_the_usual_run_time_tells_progress_and_end(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    job = start_job(master, attic)
    master.advance(30)
    assert estimate(master, job) == (None, None)
    master.finish(attic, job, seconds=60)
    master.learn_run_time(attic, 60)
    job = start_job(master, attic)
    begin_s = (master.now.wall_ms - NOON) / 1000
    assert estimate(master, job) == (0.0, begin_s + 60)
    master.advance(15)
    assert estimate(master, job) == (25.0, begin_s + 60)
    # A first report of under 1 % tells less about the end than the usual run time does.
    master.send_frame(attic, m.Progress(job, 1, 0.5))
    assert estimate(master, job) == (None, begin_s + 60)
    # It takes longer than usual.
    master.advance(105)
    assert estimate(master, job) == (None, None)


def test_a_job_that_takes_longer_than_usual_stays_at_99_percent(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    master.learn_run_time(attic, 60)
    job = start_job(master, attic)
    master.advance(61)
    assert estimate(master, job) == (99.0, None)


def test_time_frozen_does_not_count(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    master.learn_run_time(attic, 60)
    job = start_job(master, attic)
    master.advance(30)
    master.send_frame(attic, m.Frozen(job, 1, ["user"]))
    master.advance(600)
    assert estimate(master, job) == (50.0, None)
    master.send_frame(attic, m.Frozen(job, 1, []))
    now_s = (master.now.wall_ms - NOON) / 1000
    assert estimate(master, job) == (50.0, now_s + 30)


def test_an_estimate_ends_within_ten_years(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    job = start_job(master, attic)
    master.advance(400 * 365 * 86_400)
    master.send_frame(attic, m.Progress(job, 1, 2.0))
    assert master.listed_job(job)["estimated_end_ms"] == (
        master.now.wall_ms + 10 * 365 * 86_400_000
    )


def test_a_queued_job_waits_for_the_estimated_end(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    master.learn_run_time(attic, 1000)
    job = start_job(master, attic)
    [waiting] = master.queue(1)
    begin_ms = master.now.wall_ms
    master.send_frame(attic, m.Progress(job, 1, 0.0))
    master.advance(30)
    master.send_frame(attic, m.Progress(job, 1, 50.0))
    assert master.explain(waiting)["expected_start_ms"] == begin_ms + 60_000


def test_an_ad_hoc_run_takes_as_long_as_the_same_program_before(master: Harness) -> None:
    attic = master.join("attic", 1)
    rsync = {"argv": ["rsync", "a", "b"]}
    for seconds in (60, 80):
        job = start_job(master, attic, "run", run=rsync)
        master.finish(attic, job, seconds=seconds)
    job = start_job(master, attic, "run", run={"argv": ["rsync", "a", "c"]})
    master.advance(35)
    assert estimate(master, job) == (None, None)
    master.finish(attic, job, seconds=1)
    job = start_job(master, attic, "run", run=rsync | {"env": {"SHLVL": "3"}})
    master.advance(35)
    assert estimate(master, job)[0] == 50.0
