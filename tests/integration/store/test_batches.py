"""Batches: inserted invisibly, opened at once, made ready in slices, counted as jobs end."""

from __future__ import annotations

from mythjobs.model.life import JobEvent
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store
from mythjobs.store.queries.batches import read_batch
from mythjobs.store.queries.commands import read_queue_counts
from mythjobs.store.queries.jobs import list_jobs
from mythjobs.store.writes import batches, job_state, readiness, upkeep
from mythjobs.store.writes.batches import HOLD_UNOPENED
from tests.support import queue as q


def test_jobs_of_an_unopened_batch_are_invisible_and_not_ready(store: Store) -> None:
    with store.transaction() as tx:
        defined = q.define_command(tx)
        batch_id = batches.begin_batch(
            tx, command_id=defined.command_id, first_job_id=1, jobs=3, at_ms=q.NOON, opened_ms=None
        )
        q.queue_jobs(tx, 2, batch_id=batch_id, hold=HOLD_UNOPENED)
        assert not q.is_ready(tx, 1)
        assert not batches.is_open(tx, batch_id)
        assert list_jobs(tx)["jobs"] == []
    with store.transaction() as tx:
        assert check(tx) == []


def test_incomplete_batches_are_dropped(store: Store) -> None:
    with store.transaction() as tx:
        defined = q.define_command(tx)
        kept = q.queue_batch(tx, 2)
        for number in range(2):
            batches.begin_batch(
                tx,
                command_id=defined.command_id,
                first_job_id=3 + number,
                jobs=1,
                at_ms=1,
                opened_ms=None,
            )
        q.queue_jobs(tx, 2, batch_id=2, hold=HOLD_UNOPENED)
        batches.drop_unopened(tx, batch_id=3)
        batches.drop_unopened(tx)
        batches.drop_unopened(tx)
        assert [each.kind for each in upkeep.read_all(tx)] == ["drop", "drop"]
        while work := upkeep.find_next(tx):
            batches.drop_slice(tx, work, 1)
        assert batches.is_open(tx, kept)
    with store.transaction() as tx:
        assert check(tx) == []
        assert read_queue_counts(tx)["counts"]["queued"] == 2


def test_an_opened_batch_becomes_ready_in_slices_also_after_a_restart(store: Store) -> None:
    with store.transaction() as tx:
        defined = q.define_command(tx)
        batch_id = batches.begin_batch(
            tx, command_id=defined.command_id, first_job_id=1, jobs=5, at_ms=q.NOON, opened_ms=None
        )
        q.queue_jobs(tx, 3, batch_id=batch_id, hold=HOLD_UNOPENED)
        q.queue_jobs(tx, 2, batch_id=batch_id, hold=HOLD_UNOPENED, subject="news")
        batches.open_batch(tx, batch_id, 1, 5, held=False, at_ms=q.NOON)
    for expected in ([1, 2], [1, 2, 3, 4], [1, 2, 3, 4]):
        with store.transaction() as tx:
            assert check(tx) == []
            work = upkeep.find_next(tx)
            assert work is not None
            for _, subject in batches.open_slice(tx, work, 2):
                if subject is not None:
                    readiness.refresh_subjects(tx, {subject})
            assert [each for each in range(1, 6) if q.is_ready(tx, each)] == expected
    with store.transaction() as tx:
        assert upkeep.find_next(tx) is None
        assert check(tx) == []


def test_a_batch_submitted_on_hold_is_held_once_open(store: Store) -> None:
    with store.transaction() as tx:
        defined = q.define_command(tx)
        batch_id = batches.begin_batch(
            tx, command_id=defined.command_id, first_job_id=1, jobs=2, at_ms=q.NOON, opened_ms=None
        )
        q.queue_jobs(tx, 2, batch_id=batch_id, hold=HOLD_UNOPENED)
        batches.open_batch(tx, batch_id, 1, 2, held=True, at_ms=q.NOON)
        work = upkeep.find_next(tx)
        assert work is not None
        batches.open_slice(tx, work, 500)
        assert [q.read_column(tx, each, "hold") for each in (1, 2)] == [1, 1]
        assert not q.is_ready(tx, 1)


def test_the_transaction_that_ends_the_last_job_completes_the_batch(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        batch_id = q.queue_batch(tx, 3)
    with store.transaction() as tx:
        q.run(tx, 1)
        q.run(tx, 2, JobEvent.FAILED)
    assert tx.completed_batches == []
    with store.transaction() as tx:
        assert read_batch(tx, batch_id)["counts"] == {
            "succeeded": 1, "failed": 1, "cancelled": 0, "open": 1,
        }  # fmt: skip
        job_state.cancel_queued(tx, [3], code="cancelled", sentence="by anna", at_ms=q.NOON)
    assert tx.completed_batches == [batch_id]
    with store.transaction() as tx:
        assert read_batch(tx, batch_id)["over"]
        assert check(tx) == []
