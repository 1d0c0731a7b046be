"""Ends of attempts: retries, deferrals of commands, deadlines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.master import requests
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from mythjobs.store.queries import history
from tests.unit.master.harness import NOON
from tests.unit.master.lease_harness import LeaseHarness

ATTIC = 1


@pytest.fixture
def master(tmp_path: Path) -> Iterator[LeaseHarness]:
    master = LeaseHarness(tmp_path)
    master.join("attic")
    yield master
    master.close()


def fail(master: LeaseHarness, job: int, n: int, code: int = 1, **more: Any) -> None:
    assert master.take_grants() == [job]
    master.end(ATTIC, job, n, o.Exited(code), **more)


def test_a_failure_is_retried_after_its_backoff_and_then_fails(master: LeaseHarness) -> None:
    master.define(retry={"failures": 1, "backoff": "1m"})
    job = master.submit().id
    fail(master, job, 1)
    row = master.row(job)
    assert (row["state"], row["failures"], row["reason_code"]) == ("queued", 1, "retry")
    master.advance(44)
    assert master.take_grants() == []
    master.advance(32)
    fail(master, job, 2)
    row = master.row(job)
    assert (row["state"], row["failures"], row["attempts"]) == ("failed", 2, 2)


def test_a_retry_schedules_a_turn(master: LeaseHarness) -> None:
    master.define(retry={"failures": 1, "backoff": "1m"})
    job = master.submit().id
    fail(master, job, 1)
    due_ms = master.core.state.next_due_ms
    assert due_ms == master.row(job)["not_before_ms"]


def test_exit_code_75_is_retried_without_limit(master: LeaseHarness) -> None:
    master.define(retry={"failures": 1})
    job = master.submit().id
    for n in range(1, 6):
        fail(master, job, n, code=75)
        assert master.row(job)["failures"] == 0
        master.advance(3600)
    master.end(ATTIC, job, 6, o.Exited(0))
    assert master.state(job) == "succeeded"


def test_output_that_matches_later_defers_the_whole_command(master: LeaseHarness) -> None:
    master.define(retry={"later": "NAS offline"})
    job, other = master.queue(2)
    third = master.submit().id
    assert master.take_grants() == [job, other]
    master.end(ATTIC, job, 1, o.Exited(1), later="NAS offline")
    master.end(ATTIC, other, 1, o.Exited(0))
    # There is a free slot, but the third job waits with its command, as `why` shows.
    assert master.take_grants() == []
    why = master.explain(third)
    assert why["code"] == "put_off"
    assert "NAS offline" in why["sentence"]
    # A job of another command does not wait.
    master.define("backup")
    assert master.take_grants() == []
    free = master.submit("backup").id
    assert master.take_grants() == [free]
    master.advance(76)
    assert master.take_grants()


def test_a_deferral_survives_a_restart(master: LeaseHarness) -> None:
    job = master.start_job(retry={"later": "NAS offline"})
    master.end(ATTIC, job, 1, o.Exited(1), later="NAS offline")
    master.restart()
    [put_off] = master.core.state.deferrals.values()
    assert "NAS offline" in put_off.reason
    master.reconnect(held={})
    assert master.take_grants() == []
    master.advance(76)
    assert master.take_grants() == [job]
    assert master.core.state.deferrals == {}


def test_a_closed_window_uses_no_retry(master: LeaseHarness) -> None:
    job = master.start_job(retry={"failures": 1})
    master.end(ATTIC, job, 1, o.Stopped("window"))
    row = master.row(job)
    assert (row["failures"], row["losses"], row["attempts"]) == (0, 0, 2)


def test_a_window_that_closes_with_terminate_fails_the_job(master: LeaseHarness) -> None:
    job = master.start_job(retry={"failures": 1})
    master.end(ATTIC, job, 1, o.Stopped("window_closed"))
    row = master.row(job)
    assert (row["state"], row["reason_code"]) == ("failed", "window_closed")


def test_a_returned_job_is_queued_at_no_cost(master: LeaseHarness) -> None:
    job = master.start_job(retry={"failures": 1})
    master.attempts["attic"].clear()
    master.send_frame(ATTIC, m.Returned(job, 1, "the grant came too late"))
    assert master.take_grants() == [job]
    row = master.row(job)
    assert (row["failures"], row["losses"], row["attempts"]) == (0, 0, 2)


def test_a_started_attempt_that_its_machine_returns_is_lost(master: LeaseHarness) -> None:
    # The disk of the machine has lost the records of its agent and its reaper.
    job = master.start_job(retry={"failures": 1})
    master.send_frame(ATTIC, m.Started(job, 1, 1000))
    master.attempts["attic"].clear()
    master.send_frame(ATTIC, m.Returned(job, 1, "the agent restarted before the job was started"))
    assert master.take_grants() == [job]
    row = master.row(job)
    assert (row["failures"], row["losses"], row["attempts"]) == (0, 1, 2)


def test_on_breach_hold_waits_for_a_release(master: LeaseHarness) -> None:
    job = master.start_job(limits={"wall": "1h", "on_breach": "hold"})
    master.end(ATTIC, job, 1, o.Breached("wall"))
    row = master.row(job)
    assert (row["state"], row["hold"], row["reason_code"]) == ("queued", 1, "breached")
    master.request(requests.ReleaseJobs([job]))
    assert master.take_grants() == [job]


# Deadlines.


def test_a_job_that_misses_its_deadline_is_cancelled(master: LeaseHarness) -> None:
    master.define()
    master.request(requests.SetMachine("attic", jobs=0))
    job = master.submit(deadline_ms=master.now.wall_ms + 60_000).id
    after = master.submit(after=[{"job": job}]).id
    master.advance(59)
    assert master.state(job) == "queued"
    master.advance(1)
    row = master.row(job)
    assert (row["state"], row["reason_code"]) == ("cancelled", "deadline_passed")
    assert master.state(after) == "cancelled"
    assert master.core.state.next_due_ms == master.core.state.notify.next_due_ms


def test_a_job_that_started_in_time_is_retried_past_its_deadline(master: LeaseHarness) -> None:
    master.define(retry={"failures": 1, "backoff": "10m"})
    job = master.submit(deadline_ms=master.now.wall_ms + 60_000).id
    assert master.take_grants() == [job]
    master.send_frame(ATTIC, m.Started(job, 1, master.now.wall_ms))
    master.end(ATTIC, job, 1, o.Exited(1))
    master.advance(70)
    assert master.state(job) == "queued"
    # No timer is set for the missed deadline.
    assert (master.core.state.next_due_ms or 0) > master.now.wall_ms
    master.advance(700)
    assert master.take_grants() == [job]


# Ad-hoc runs.


def run_program(master: LeaseHarness, *, retry: bool = False) -> int:
    job = master.submit("run", run={"argv": ["/bin/true"], "retry": retry}).id
    assert master.take_grants() == [job]
    return job


@pytest.mark.parametrize(
    "outcome",
    [o.Lost("the reaper died"), o.Stopped("lease"), o.Stopped("shutdown"), o.Stopped("window")],
)
def test_an_ad_hoc_run_is_not_started_again_unless_it_asks_for_that(
    master: LeaseHarness, outcome: o.Outcome
) -> None:
    # Seen: a program that ends its reaper ran three times, then its user waited for ever.
    job = run_program(master)
    master.end(ATTIC, job, 1, outcome)
    assert (master.state(job), master.take_grants()) == ("failed", [])
    again = run_program(master, retry=True)
    master.end(ATTIC, again, 1, outcome)
    assert master.take_grants() == [again]


def test_an_ad_hoc_run_that_was_not_started_is_tried_again(master: LeaseHarness) -> None:
    job = run_program(master)
    master.send_frame(ATTIC, m.Returned(job, 1, "it came too late"))
    del master.attempts["attic"][job, 1]
    assert master.take_grants() == [job]


def test_an_ad_hoc_run_ends_when_its_machine_reboots(master: LeaseHarness) -> None:
    job = run_program(master)
    master.disconnect(ATTIC)
    master.reconnect(boot="second boot", held={})
    assert master.state(job) == "failed"
    assert "the machine restarted" in master.row(job)["reason"]


# End times.


def report_end(
    master: LeaseHarness, job: int, *, started_ms: int | None, ended_ms: int, heartbeat_ms: int
) -> dict[str, Any]:
    """Report an end on a new connection, after the machine's clock. Return the attempt."""
    master.disconnect(ATTIC)
    held = "leased" if started_ms is None else "running"
    connection = master.reconnect(held={(job, 1): held})
    master.send_frame(
        connection,
        m.Heartbeat(2, [m.HeldAttempt(job, 1, "ended")], heartbeat_ms),
        m.Ended(job, 1, {"kind": "exited", "code": 0}, started_ms, ended_ms, {"wall_s": 10.0}),
    )
    assert master.state(job) == "succeeded"
    assert master.row(job)["ended_ms"] == master.attempt(job, 1)["over_ms"]
    return master.attempt(job, 1)


def test_a_job_that_ended_while_the_master_was_away_ended_when_its_machine_says(
    master: LeaseHarness,
) -> None:
    # Seen: after eight hours without a master every job had taken eight hours, also for what-if.
    job = master.start_job()
    master.advance(8 * 3600)
    attempt = report_end(
        master, job, started_ms=NOON + 1000, ended_ms=NOON + 11_000,
        heartbeat_ms=master.now.wall_ms,
    )  # fmt: skip
    assert (attempt["started_ms"], attempt["over_ms"]) == (NOON + 1000, NOON + 11_000)
    with master.store.snapshot() as tx:
        [past] = history.read_ended_jobs(tx, 0)
    assert past.over_ms - past.started_ms == 10_000


def test_times_of_a_machine_are_corrected_by_its_clock_skew(master: LeaseHarness) -> None:
    job = master.start_job()
    master.advance(100)
    hour_ms = 3_600_000
    attempt = report_end(
        master, job, started_ms=NOON + hour_ms + 1000, ended_ms=NOON + hour_ms + 11_000,
        heartbeat_ms=master.now.wall_ms + hour_ms,
    )  # fmt: skip
    assert (attempt["started_ms"], attempt["over_ms"]) == (NOON + 1000, NOON + 11_000)


@pytest.mark.parametrize(
    "started_s, ended_s, stored",
    [
        (10, 5, (10, 10)),  # the clock was set back while the job ran
        (10, 200, (10, 100)),  # it was set back after the job
        (200, 210, (100, 100)),
        (-50, 20, (0, 20)),  # before the lease
        (None, 20, (None, 20)),
    ],
)
def test_end_times_lie_between_the_lease_the_start_and_now(
    master: LeaseHarness, started_s: int | None, ended_s: int, stored: tuple[int | None, int]
) -> None:
    job = master.start_job()
    master.advance(100)
    started_ms = None if started_s is None else NOON + 1000 * started_s
    attempt = report_end(
        master, job, started_ms=started_ms, ended_ms=NOON + 1000 * ended_s,
        heartbeat_ms=master.now.wall_ms,
    )  # fmt: skip
    found = (attempt["started_ms"], attempt["over_ms"])
    assert found == tuple(None if each is None else NOON + 1000 * each for each in stored)


# Paused jobs.
