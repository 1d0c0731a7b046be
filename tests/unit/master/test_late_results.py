"""Late results: ends reported after the lease has expired."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from mythjobs.master import requests
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from tests.unit.master.harness import NOON
from tests.unit.master.lease_harness import LeaseHarness

REAL_END_MS = NOON + 900_000


@pytest.fixture
def master(tmp_path: Path) -> Iterator[LeaseHarness]:
    master = LeaseHarness(tmp_path)
    yield master
    master.close()


def lost_job(master: LeaseHarness, subject: str | None = None, **table: Any) -> int:
    """Return a job whose lease on attic has expired and that has no new attempt.

    Neither machine accepts jobs.
    """
    attic = master.join("attic")
    master.join_full_cellar()
    master.define(**table)
    job = master.submit(subject=subject).id
    assert master.take_grants() == [job]
    master.send_frame(attic, m.Started(job, 1, master.now.wall_ms))
    master.disconnect(attic)
    master.advance_and_expire(2256)
    assert master.state(job) == "queued"
    master.request(requests.SetMachine("attic", jobs=0))
    return job


def report_end(master: LeaseHarness, job: int, outcome: o.Outcome, n: int = 1, **more: Any) -> None:
    attic = master.reconnect(held={(job, n): "ended"})
    master.end(attic, job, n, outcome, **more)
    master.disconnect(attic)


def tally(master: LeaseHarness) -> dict[str, int]:
    with master.store.snapshot() as tx:
        tx.cursor.execute("SELECT state, jobs FROM tally WHERE jobs <> 0 AND command_id > 1")
        return dict(tx.cursor.fetchall())


def test_a_late_success_is_accepted(master: LeaseHarness) -> None:
    job = lost_job(master)
    attic = master.reconnect(held={(job, 1): "ended"})
    ended = master.ended(job, 1, o.Exited(0), output=[(5, 5, 0)])
    master.send_frame(attic, msgspec.structs.replace(ended, started_ms=NOON, ended_ms=REAL_END_MS))
    assert master.state(job) == "succeeded"
    attempt = master.attempt(job, 1)
    assert (attempt["evidence"], attempt["output"]) == ("observed late", "[[5, 5, 0]]")
    # The time of the real end, not of the report.
    assert attempt["over_ms"] == master.row(job)["ended_ms"] == REAL_END_MS
    assert master.events(job)[-1] == "adopted"
    assert tally(master) == {"succeeded": 1}


def test_a_late_final_failure_is_accepted(master: LeaseHarness) -> None:
    job = lost_job(master)
    report_end(master, job, o.Exited(3))
    assert master.state(job) == "failed"
    assert master.row(job)["reason"] == "exit code 3"


def test_a_late_failure_with_retries_left_leaves_the_job_queued(master: LeaseHarness) -> None:
    job = lost_job(master, retry={"failures": 1})
    report_end(master, job, o.Exited(3))
    assert master.state(job) == "queued"
    assert master.events(job)[-1] == "late"


@pytest.mark.parametrize(
    "outcome", [o.Stopped("lease"), o.Breached("wall"), o.Lost("the machine restarted")]
)
def test_a_late_forced_end_is_rejected(master: LeaseHarness, outcome: o.Outcome) -> None:
    job = lost_job(master)
    report_end(master, job, outcome)
    assert master.state(job) == "queued"


def test_a_late_result_is_rejected_after_a_new_attempt(master: LeaseHarness) -> None:
    job = lost_job(master)
    master.request(requests.SetMachine("cellar", jobs=1))
    assert master.take_grants("cellar") == [job]
    report_end(master, job, o.Exited(0))
    assert master.state(job) == "leased"
    assert master.attempt(job, 1)["evidence"] == "presumed, and told too late"
    # A repeated report adds no event.
    before = master.events(job)
    report_end(master, job, o.Exited(0))
    assert master.events(job) == before


def test_a_result_from_another_machine_is_ignored(master: LeaseHarness) -> None:
    job = lost_job(master)
    master.send_frame(2, master.ended(job, 1, o.Exited(0)))
    assert master.state(job) == "queued"


def test_a_late_result_frees_the_subject_and_the_dependents(master: LeaseHarness) -> None:
    job = lost_job(master, subject="/srv/news.ts")
    after = master.submit(after=[{"job": job}]).id
    sibling = master.submit(subject="/srv/news.ts").id
    report_end(master, job, o.Exited(0))
    master.request(requests.SetMachine("cellar", jobs=2))
    assert sorted(master.take_grants("cellar")) == [after, sibling]


def test_a_late_result_of_a_held_job_is_accepted(master: LeaseHarness) -> None:
    job = lost_job(master, silence="hold")
    assert master.row(job)["hold"] == 1
    report_end(master, job, o.Exited(0))
    assert (master.state(job), master.row(job)["hold"]) == ("succeeded", 0)


def test_a_cancelled_job_stays_cancelled(master: LeaseHarness) -> None:
    job = lost_job(master)
    master.request(requests.CancelJobs([job], "anna"))
    report_end(master, job, o.Exited(0))
    assert master.state(job) == "cancelled"


def test_unknown_attempts_are_rejected_as_stale_without_an_event(master: LeaseHarness) -> None:
    attic = master.join("attic")
    master.send_frame(attic, m.Started(99, 1, 0), m.Heartbeat(2, [m.HeldAttempt(98, 4, "running")]))
    assert {(each.job, each.n) for each in master.received(m.Stale)} == {(99, 1), (98, 4)}
    assert master.events(99) == master.events(98) == []


def test_a_stale_attempt_is_recorded_once_however_often_it_is_reported(
    master: LeaseHarness,
) -> None:
    job = lost_job(master)
    attic = master.reconnect(held={(job, 1): "running"})
    for _ in range(4):
        master.heartbeat(attic)
    master.disconnect(attic)
    master.heartbeat(master.reconnect())
    # Each time the machine is told to stop the attempt.
    assert len(master.received(m.Stale)) == 7
    assert master.events(job).count("stale") == 1


def test_a_heartbeat_with_many_unknown_attempts_renews_none_and_rejects_some(
    master: LeaseHarness,
) -> None:
    """Seen: a heartbeat with 200,000 of them delayed the submits of others by 6 s."""
    attic = master.join("attic")
    held = [m.HeldAttempt(job, 1, "running") for job in range(10_000, 11_500)]
    master.received(m.Stale)
    master.send_frame(attic, m.Heartbeat(9, held))
    assert len(master.received(m.Stale)) == 1000
    [renew] = [each for each in master.received(m.Renew) if each.hb == 9]
    assert renew.excepted == [(job, 1) for job in range(10_000, 11_500)]


@pytest.mark.parametrize("percent, shown", [(1e308, 100.0), (-1e308, 0.0)])
def test_progress_that_no_job_can_make_is_cut(
    master: LeaseHarness, percent: float, shown: float
) -> None:
    """Seen: an internal error of the turn, which then ran once for each of its messages."""
    attic = master.join("attic")
    master.define()
    job = master.submit().id
    master.take_grants()
    master.send_frame(attic, m.Started(job, 1, NOON), m.Progress(job, 1, percent, None, 1e308))
    assert master.row(job)["progress"] == round(10 * shown)
