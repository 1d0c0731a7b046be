"""Pruning of ended jobs."""

from __future__ import annotations

from mythjobs.model.life import FINAL, JobEvent
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches, jobs
from mythjobs.store.writes.prune import PruneSlice, prune
from tests.support import queue as q

EVERY = sorted(FINAL)
LATER = q.NOON + 1


def _count(tx: Transaction, table: str) -> int:
    tx.cursor.execute(f"SELECT count(*) FROM {table}")
    return int(tx.cursor.fetchone()[0])


def test_jobs_are_deleted_in_slices_with_attempts_and_events(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        ids = q.queue_jobs(tx, 5)
        q.run(tx, ids[0], JobEvent.REQUEUED)
        for each in ids[:4]:
            q.run(tx, each)
    with store.transaction() as tx:
        first = prune(tx, before_ms=LATER, states=EVERY, after_job_id=0, limit=3)
        assert first == PruneSlice(
            resume_after=3, jobs=3, attempts=[(1, 1), (1, 2), (2, 1), (3, 1)]
        )
        second = prune(tx, before_ms=LATER, states=EVERY, after_job_id=3, limit=3)
        assert second == PruneSlice(resume_after=None, jobs=1, attempts=[(4, 1)])
    with store.transaction() as tx:
        assert [_count(tx, table) for table in ("job", "attempt", "event")] == [1, 0, 0]
        assert check(tx) == []
        # Ids of deleted jobs are not reused.
        assert q.queue_job(tx) == 6


def test_only_old_jobs_in_a_given_state_are_deleted(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 3)
        q.run(tx, 1)
        q.run(tx, 2, JobEvent.FAILED)
        assert prune(tx, before_ms=q.NOON, states=EVERY, after_job_id=0, limit=9).jobs == 0
        assert prune(tx, before_ms=LATER, states=["failed"], after_job_id=0, limit=9).jobs == 1
        assert prune(tx, before_ms=LATER, states=EVERY, after_job_id=0, limit=9).jobs == 1
        assert q.read_state(tx, 3) == "queued"


def test_dependencies_of_a_job_are_kept_until_it_has_ended(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        first = q.queue_job(tx)
        second = q.queue_job(tx, after=[(first, "ok")])
        q.run(tx, first)
        assert prune(tx, before_ms=LATER, states=EVERY, after_job_id=0, limit=9).jobs == 0
        q.run(tx, second)
        assert prune(tx, before_ms=LATER, states=EVERY, after_job_id=0, limit=9).jobs == 2
        assert _count(tx, "dependency") == 0


def test_a_batch_is_deleted_once_all_its_jobs_have_ended(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_batch(tx, 3)
        q.run(tx, 1)
        q.run(tx, 2)
    with store.transaction() as tx:
        assert prune(tx, before_ms=LATER, states=EVERY, after_job_id=0, limit=9).jobs == 0
        q.run(tx, 3)
    with store.transaction() as tx:
        assert prune(tx, before_ms=LATER, states=EVERY, after_job_id=0, limit=2).jobs == 2
        assert batches.is_open(tx, 1)
        assert prune(tx, before_ms=LATER, states=EVERY, after_job_id=2, limit=2).jobs == 1
        assert not batches.is_open(tx, 1)
    with store.transaction() as tx:
        assert check(tx) == []


def test_the_key_of_a_pruned_job_is_free_again(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.run(tx, q.queue_job(tx, key="once"))
        prune(tx, before_ms=LATER, states=EVERY, after_job_id=0, limit=9)
        assert jobs.find_by_key(tx, "once") is None
        q.queue_job(tx, key="once")
