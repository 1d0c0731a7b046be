"""Job readiness: a job is ready while it lacks nothing but a machine."""

from __future__ import annotations

from mythjobs.model.life import JobState
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store
from mythjobs.store.queries import ready_jobs
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import jobs, readiness
from tests.support import queue as q


def _ready(tx: Transaction) -> list[int]:
    tx.cursor.execute("SELECT job_id FROM job WHERE ready_class IS NOT NULL ORDER BY job_id")
    return [row[0] for row in tx.cursor.fetchall()]


def test_a_held_job_is_not_ready_until_it_is_released(store: Store) -> None:
    with store.transaction() as tx:
        [job_id] = q.queue_jobs(tx, 1)
        jobs.hold(tx, [job_id], "by anna")
        assert readiness.refresh(tx, [job_id]) == set()
        assert _ready(tx) == []
        assert q.read_column(tx, job_id, "reason") == "by anna"
        jobs.release(tx, [job_id])
        assert readiness.refresh(tx, [job_id]) == {1}
        assert _ready(tx) == [job_id]


def test_a_due_job_stays_due_when_the_clock_steps_back(
    store: Store,
) -> None:
    with store.transaction() as tx:
        early = q.queue_job(tx, not_before_ms=q.NOON + 10)
        late = q.queue_job(tx, not_before_ms=q.NOON + 20)
        assert _ready(tx) == []
        assert readiness.find_next_due_ms(tx) == q.NOON + 10
        assert readiness.clear_due(tx, q.NOON + 9) == []
        assert readiness.clear_due(tx, q.NOON + 10) == [early]
        readiness.refresh(tx, [early])
        assert _ready(tx) == [early]
        assert readiness.find_next_due_ms(tx) == q.NOON + 20
        # The wall clock steps back an hour.
        assert readiness.clear_due(tx, q.NOON - 3_600_000) == []
        readiness.refresh(tx, [early, late])
        assert _ready(tx) == [early]
        readiness.clear_due(tx, q.NOON + 99)
        assert readiness.find_next_due_ms(tx) is None


def test_the_first_job_of_each_class_about_a_subject_is_ready(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 2, subject="news")
        q.queue_jobs(tx, 1, subject="news", priority=9)
        q.queue_jobs(tx, 2, subject="news", command="other")
        q.queue_jobs(tx, 1, subject="sport")
        assert _ready(tx) == [3, 4, 6]
        # While one of them is leased, the others are not ready.
        [leased] = q.lease(tx, 4)
        assert _ready(tx) == [6]
        q.start(tx, leased)
        q.end(tx, leased)
        assert _ready(tx) == [3, 5, 6]


def test_jobs_about_one_subject_overlap_only_if_all_of_them_may(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 3, subject="news", overlap=1)
        q.queue_jobs(tx, 1, subject="news", command="strict")
        assert _ready(tx) == [1, 4]
        q.lease(tx, 1)
        assert _ready(tx) == [2]
        q.lease(tx, 2)
        assert _ready(tx) == [3]
    with store.transaction() as tx:
        assert check(tx) == []


def test_jobs_about_one_subject_run_in_order(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        ids = q.queue_jobs(tx, 4, subject="news")
        order = []
        while ready := _ready(tx):
            [job_id] = ready
            q.run(tx, job_id)
            order.append(job_id)
        assert order == ids


def test_ready_jobs_are_ordered_by_priority_deadline_and_age(store: Store) -> None:
    with store.transaction() as tx:
        q.queue_jobs(tx, 3)
        q.queue_jobs(tx, 1, priority=5)
        q.queue_jobs(tx, 1, hold=1, priority=9)
        q.queue_jobs(tx, 1, command="other")
        found = ready_jobs.read_next(tx, 1, 3)
        assert [each.job_id for each in found] == [4, 1, 2]
        assert readiness.read_ready_classes(tx) == {1, 2}
        q.queue_job(tx, deadline_ms=q.NOON + 2)
        q.queue_job(tx, deadline_ms=q.NOON + 1)
        q.queue_job(tx, deadline_ms=q.NOON + 1)
        found = ready_jobs.read_next(tx, 1, 9)
        assert [each.job_id for each in found] == [4, 8, 9, 7, 1, 2, 3]
        assert [ready_jobs.count_ahead(tx, 1, each.job_id) for each in found] == list(range(7))


def test_a_job_with_a_stop_request_is_not_ready(store: Store) -> None:
    with store.transaction() as tx:
        [job_id] = q.queue_jobs(tx, 1)
        jobs.request_stop(tx, [job_id], "anna")
        readiness.refresh(tx, [job_id])
        assert _ready(tx) == []
        assert q.read_state(tx, job_id) == JobState.QUEUED


def test_the_earliest_deadline_about_a_subject_is_ready_first(store: Store) -> None:
    with store.transaction() as tx:
        q.queue_job(tx, subject="news")
        soon = q.queue_job(tx, subject="news", deadline_ms=q.NOON + 1)
        assert _ready(tx) == [soon]
        urgent = q.queue_job(tx, subject="news", priority=1)
        assert _ready(tx) == [urgent]
    with store.transaction() as tx:
        assert check(tx) == []
