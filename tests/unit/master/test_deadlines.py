"""Deadlines: earliest first among jobs of equal priority, lateness of running jobs."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from tests.unit.master.harness import NOON, Harness


def _started(master: Harness, connection: int, count: int) -> list[int]:
    """Return the next jobs that a machine with one slot runs, one after another."""
    [running] = master.take_grants()
    order = []
    for _ in range(count):
        master.finish(connection, running)
        [running] = master.take_grants()
        order.append(running)
    return order


def test_within_a_class_the_earliest_deadline_runs_first(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    _, plain = master.queue(2)
    late = master.submit(deadline_ms=NOON + 9_000_000).id
    early = master.submit(deadline_ms=NOON + 5_000_000).id
    later = master.submit(deadline_ms=NOON + 9_000_000).id
    urgent = master.submit(priority=1).id
    assert _started(master, attic, 5) == [urgent, early, late, later, plain]


def test_a_deadline_goes_before_the_shares_of_a_submitters_commands(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    master.define("other")
    plain = master.queue(3)
    soon = master.queue(3, "other", deadline_ms=NOON + 5_000_000)
    above = master.submit(priority=1).id
    assert _started(master, attic, 6) == [above, *soon, *plain[1:]]


def test_deadlines_give_no_advantage_over_other_submitters(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    soon = master.queue(6, by="anna", deadline_ms=NOON + 5_000_000)
    plain = master.queue(6, by="ben")
    started = _started(master, attic, 6)
    assert sorted(set(started) & set(plain)) == plain[:3]
    assert sorted(set(started) & set(soon)) == soon[1:4]


def test_of_jobs_with_one_subject_the_earliest_deadline_is_ready(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    master.submit(subject="news")
    plain = master.submit(subject="news").id
    soon = master.submit(subject="news", deadline_ms=NOON + 5_000_000).id
    assert master.explain(plain)["code"] == "subject_taken"
    assert _started(master, attic, 2) == [soon, plain]


def test_the_expected_start_counts_jobs_with_an_earlier_deadline(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    master.learn_run_time(attic, 60)
    master.submit()
    plain = master.submit().id
    first = master.explain(plain)["expected_start_ms"]
    master.queue(2, deadline_ms=NOON + 5_000_000)
    assert master.explain(plain)["expected_start_ms"] == first + 120_000


def test_a_running_job_past_its_deadline_is_shown_as_late(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    job = master.submit(deadline_ms=NOON + 5000).id
    master.take_grants()
    master.send_frame(attic, m.Started(job, 1, NOON))
    assert master.explain(job)["sentence"] == "running on attic"
    master.advance(5)
    late = "running on attic; late: its deadline has passed"
    assert master.explain(job)["sentence"] == late
    assert master.shown_job(job)["reason"] == {"code": "running", "sentence": late}
    # An ended job is not shown as late.
    master.finish(attic, job)
    assert "late" not in master.explain(job)["sentence"]


def test_a_rerun_does_not_inherit_the_deadline(master: Harness) -> None:
    master.join("attic", 1)
    master.define()
    master.request(requests.SetMachine("attic", jobs=0))
    job = master.submit(deadline_ms=NOON + 1000).id
    master.advance(2)
    [again] = master.request(requests.RerunJobs([job], "anna"))
    master.advance(60)
    assert master.state(int(again.done)) == "queued"


def test_a_job_that_returns_unstarted_after_its_deadline_is_cancelled_in_that_turn(
    master: Harness,
) -> None:
    # Seen in the simulation: such a job was leased again, or stayed queued until the next timer.
    attic = master.join("attic", 1)
    master.define()
    job = master.submit(deadline_ms=NOON + 60_000).id
    assert master.take_grants() == [job]
    master.advance(120)
    assert master.state(job) == "leased"
    master.send_frame(attic, m.Returned(job, 1, "the grant came too late"))
    assert master.state(job) == "cancelled"
    assert master.take_grants() == []
