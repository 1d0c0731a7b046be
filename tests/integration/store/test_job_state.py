"""Job state transitions, with stale attempts and late results."""

from __future__ import annotations

import json

import pytest

from mythjobs.model import outcome as o
from mythjobs.model.life import JobEvent, JobState
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store
from mythjobs.store.queries.commands import read_queue_counts
from mythjobs.store.writes import job_state, jobs, late_results, machines
from tests.support import queue as q

LOST = json.dumps(o.to_json(o.Lost("its machine is silent")))


@pytest.fixture
def home(store: Store) -> Store:
    """A store with the machines ATTIC and CELLAR."""
    with store.transaction() as tx:
        q.enrol_machines(tx)
    return store


def test_a_job_is_leased_started_and_ended(home: Store) -> None:
    with home.transaction() as tx:
        job_id = q.queue_job(tx, priority=3, arguments='{"a": "b"}')
        [leased] = q.lease(tx, job_id, machine=q.CELLAR)
        arguments = '{"a": "b"}'
        assert leased == job_state.LeasedJob(
            job_id, 1, 1, 1, None, 3, None, 0, arguments, 0, q.NOON
        )
        assert q.read_state(tx, job_id) == JobState.LEASED
        assert not q.is_ready(tx, job_id)
    with home.transaction() as tx:
        q.start(tx, leased, at_ms=q.NOON + 5)
        assert q.read_state(tx, job_id) == JobState.RUNNING
        [live] = machines.read_live_attempts(tx)
        assert (live.job_id, live.n, live.machine_id, live.started_ms) == (1, 1, 2, q.NOON + 5)
        assert (live.silence, live.lease_s, live.leased_ms) == ("rerun", 1800.0, q.NOON)
    with home.transaction() as tx:
        assert check(tx) == []
    with home.transaction() as tx:
        q.end(tx, leased, at_ms=q.NOON + 9)
        assert q.read_state(tx, job_id) == JobState.SUCCEEDED
        assert q.read_column(tx, job_id, "ended_ms") == q.NOON + 9
        assert machines.read_live_attempts(tx) == []
    with home.transaction() as tx:
        assert check(tx) == []


def test_jobs_inserted_as_leased_are_as_if_leased_later(home: Store) -> None:
    with home.transaction() as tx:
        first, second = q.queue_jobs(tx, 2)
        q.lease(tx, first)
        row = jobs.read_submissions(tx, [second])[second]
    with home.transaction() as tx:
        new = [jobs.NewJob(**row | {"job_id": job_id}) for job_id in (3, 4)]
        jobs.save_next_id(tx, 5)
        placed = {n: job_state.Placement(n, q.ATTIC, "boot", "rerun", 1800.0) for n in (3, 4)}
        found = job_state.insert_leased(tx, new, placed, at_ms=q.NOON)
        assert found == [
            job_state.LeasedJob(n, 1, 1, 1, None, 0, None, 0, "{}", 0, q.NOON) for n in (3, 4)
        ]
    with home.transaction() as tx:
        assert check(tx) == []
        for table in ("job", "attempt"):
            tx.cursor.execute(f"SELECT * FROM {table} WHERE job_id <> 2 ORDER BY job_id")
            rows = [each[1:] for each in tx.cursor.fetchall()]
            assert rows == [rows[0]] * 3, table
        assert read_queue_counts(tx)["counts"]["leased"] == 3


def test_a_job_that_is_no_longer_ready_is_not_leased(home: Store) -> None:
    with home.transaction() as tx:
        free, held, gone, taken = q.queue_jobs(tx, 4)
        q.queue_jobs(tx, 1, hold=1)
        job_state.cancel_queued(tx, [gone], code="cancelled", sentence="by anna", at_ms=q.NOON)
        q.lease(tx, taken)
        assert [each.job_id for each in q.lease(tx, free, held, gone, taken, 5, 99)] == [1, 2]


def test_a_machine_that_lost_its_lease_cannot_finish_the_job(home: Store) -> None:
    with home.transaction() as tx:
        job_id = q.queue_job(tx)
        [first] = q.lease(tx, job_id, machine=q.ATTIC)
        q.start(tx, first)
        # The lease of ATTIC expires, and CELLAR gets the job.
        q.end(
            tx, first, JobEvent.REQUEUED, outcome=LOST, evidence="presumed", losses=1,
        )  # fmt: skip
        [second] = q.lease(tx, job_id, machine=q.CELLAR)
        assert (second.n, second.losses) == (2, 1)
    with home.transaction() as tx:
        assert check(tx) == []
    # ATTIC was only partitioned: its process ran on, and now it reports success.
    with pytest.raises(AssertionError, match="0 of 1 attempts were live"), home.transaction() as tx:
        q.end(tx, first)
    with home.transaction() as tx:
        assert q.read_state(tx, job_id) == JobState.LEASED
        # A start of the old attempt is refused too.
        with pytest.raises(AssertionError, match="0 of 1 jobs were leased for these attempts"):
            q.start(tx, second._replace(n=1))


def test_a_late_result_is_accepted_without_a_newer_attempt(home: Store) -> None:
    with home.transaction() as tx:
        job_id = q.queue_job(tx)
        [leased] = q.lease(tx, job_id)
        q.start(tx, leased)
        q.end(tx, leased, JobEvent.REQUEUED, outcome=LOST, evidence="presumed: silent", losses=1)
        [old] = late_results.find_ended_attempts(tx, [(job_id, 1), (job_id, 2)]).values()
        assert (old.is_unobserved, old.state, old.last_n) == (True, "queued", 1)
        end = job_state.AttemptEnd(
            job_id, 1, leased.command_id, None, "queued", JobEvent.SUCCEEDED, q.NOON,
            q.EXITED, "", "", late_results.ACCEPTED_LATE, "", "",
        )  # fmt: skip
        late_results.accept_late_result(tx, end, at_ms=q.NOON + 60)
        assert q.read_state(tx, job_id) == JobState.SUCCEEDED
        assert not late_results.find_ended_attempts(tx, [(job_id, 1)])[job_id, 1].is_unobserved
    with home.transaction() as tx:
        assert check(tx) == []


def test_a_job_is_returned_by_a_machine_that_never_started_it(home: Store) -> None:
    with home.transaction() as tx:
        job_id = q.queue_job(tx)
        [leased] = q.lease(tx, job_id)
        q.end(tx, leased, JobEvent.RETURNED, old_state=JobState.LEASED)
        assert q.read_state(tx, job_id) == JobState.QUEUED
        assert q.is_ready(tx, job_id)
        assert [each.n for each in q.lease(tx, job_id)] == [2]
    with home.transaction() as tx:
        assert check(tx) == []


def test_failures_add_up_and_a_retry_waits_for_its_time(home: Store) -> None:
    with home.transaction() as tx:
        job_id = q.queue_job(tx)
        for times in (1, 2):
            q.run(tx, job_id, JobEvent.REQUEUED, failures_added=1)
            assert q.read_column(tx, job_id, "failures") == times
        # A loss does not count as a failure.
        q.run(tx, job_id, JobEvent.REQUEUED, losses=1, not_before_ms=q.NOON + 500)
        assert q.read_column(tx, job_id, "failures") == 2
        assert not q.is_ready(tx, job_id)
        assert q.lease(tx, job_id) == []
    with home.transaction() as tx:
        assert check(tx) == []


def test_a_job_held_at_its_end_is_not_leased_again(home: Store) -> None:
    with home.transaction() as tx:
        job_id = q.queue_job(tx)
        q.run(tx, job_id, JobEvent.REQUEUED, outcome=LOST, losses=3, hold=1)
        assert q.lease(tx, job_id) == []
        assert (q.read_column(tx, job_id, "hold"), q.read_column(tx, job_id, "losses")) == (1, 3)


def test_an_attempt_may_end_before_its_start_is_reported(home: Store) -> None:
    with home.transaction() as tx:
        [leased] = q.lease(tx, q.queue_job(tx))
        q.end(tx, leased, JobEvent.FAILED, old_state=JobState.LEASED, started_ms=q.NOON)
        assert q.read_state(tx, leased.job_id) == JobState.FAILED
    with home.transaction() as tx:
        assert check(tx) == []


def test_only_queued_jobs_are_cancelled_immediately(home: Store) -> None:
    with home.transaction() as tx:
        ids = q.queue_jobs(tx, 3, subject="news")
        q.run(tx, ids[0])
        q.lease(tx, ids[1])
        done = job_state.cancel_queued(tx, ids, code="cancelled", sentence="by anna", at_ms=q.NOON)
        assert done == [(ids[2], 1, None, "news")]
        assert q.read_column(tx, ids[2], "reason") == "by anna"
        assert [str(q.read_state(tx, each)) for each in ids] == ["succeeded", "leased", "cancelled"]
    with home.transaction() as tx:
        assert check(tx) == []


def test_many_ends_of_a_transaction_are_all_or_nothing(home: Store) -> None:
    with home.transaction() as tx:
        leased = q.lease(tx, *q.queue_jobs(tx, 3))
        q.start(tx, *leased)
        ends = [
            job_state.AttemptEnd(
                each.job_id, each.n, each.command_id, None, "running", event, q.NOON,
                q.EXITED, "", "", "observed", "x", "y",
            )
            for each, event in zip(
                leased, (JobEvent.SUCCEEDED, JobEvent.FAILED, JobEvent.CANCELLED), strict=True
            )
        ]  # fmt: skip
    with pytest.raises(AssertionError), home.transaction() as tx:
        job_state.end(tx, [*ends, ends[0]], at_ms=q.NOON)
    with home.transaction() as tx:
        assert len(machines.read_live_attempts(tx)) == 3
        job_state.end(tx, ends, at_ms=q.NOON)
    with home.transaction() as tx:
        assert check(tx) == []
