"""Store check: finds each violation made by hand, and none in a valid queue."""

from __future__ import annotations

import pytest

from mythjobs.model.life import JobEvent, JobState
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches, upkeep
from tests.support import queue as q


def _queue_jobs(tx: Transaction) -> None:
    """Queue jobs 1 to 10 in various states, with subjects, a dependency and a failure."""
    q.enrol_machines(tx)
    q.queue_jobs(tx, 3, subject="news")  # 1 leased, 2 and 3 behind it
    q.queue_jobs(tx, 3)  # 4 ready, 5 running, 6 succeeded
    q.queue_job(tx, after=[(5, "ok")])  # 7 waits
    q.queue_job(tx, key="once")  # 8 failed
    q.queue_job(tx)  # 9 lost once, queued again
    q.queue_job(tx, hold=1)  # 10
    q.lease(tx, 1)
    q.start(tx, *q.lease(tx, 5, machine=q.CELLAR))
    q.run(tx, 6)
    q.run(tx, 8, JobEvent.FAILED)
    q.run(tx, 9, JobEvent.REQUEUED)


@pytest.fixture
def valid(store: Store) -> Store:
    with store.transaction() as tx:
        _queue_jobs(tx)
    return store


def test_a_valid_queue_has_no_violations(valid: Store) -> None:
    with valid.transaction() as tx:
        assert check(tx) == []
        assert check(tx, range(1, 11)) == []


_TICK = (
    "INSERT INTO schedule_tick (schedule_id, tick_ms, machine_id, last_ms, ticks, outcome, reason, "
    "job_id, tries) VALUES {}"
)
BROKEN = [
    ("UPDATE job SET attempts = 0 WHERE job_id = 6", "I5", 6),
    ("UPDATE meta SET value = '10' WHERE name = 'next_job_id'", "I5", 10),
    ("UPDATE job SET attempts = 2 WHERE job_id = 5", "I6", 5),
    ("UPDATE attempt SET machine_id = 99 WHERE job_id = 5", "I7", 5),
    ("UPDATE attempt SET over_ms = 1, outcome = '{}', evidence = 'x' WHERE job_id = 1", "I7", 1),
    ("UPDATE attempt SET over_ms = NULL WHERE job_id = 6", "I7", 6),
    ("DELETE FROM event WHERE job_id = 9", "I7", 9),
    ("UPDATE job SET reason_code = '' WHERE job_id = 8", "I7", 8),
    ("UPDATE dependency SET on_job_id = 6 WHERE job_id = 7", "I7", 7),
    ("UPDATE dependency SET met = 1, on_job_id = 8 WHERE job_id = 7", "I7", 7),
    ("UPDATE job SET state = 'cancelled', reason_code = 'x' WHERE job_id = 7", "I7", 7),
    ("UPDATE job SET hold = 2 WHERE job_id = 10", "I7", 10),
    ("UPDATE attempt SET evidence = NULL WHERE job_id = 8", "I9", 8),
    ("UPDATE attempt SET outcome = '{}' WHERE job_id = 5", "I9", 5),
    ("UPDATE job SET stop_requested = 'anna' WHERE job_id = 4", "I13", 4),
    (_TICK.format("(1, 5, 0, 5, 1, 'succeeded', '', 6, 1), (1, 6, 0, 6, 1, 'failed', '', 6, 1)"),
     "I15", 6),
    (_TICK.format("(1, 5, 0, 5, 1, 'submitted', '', 99, 1)"), "I15", 99),
    ("UPDATE attempt SET started_ms = NULL WHERE job_id = 5", "I16", 5),
    ("UPDATE attempt SET started_ms = 1 WHERE job_id = 1", "I16", 1),
    ("UPDATE job SET ended_ms = NULL WHERE job_id = 6", "I16", 6),
    ("UPDATE job SET ended_ms = 1 WHERE job_id = 4", "I16", 4),
    ("DELETE FROM attempt WHERE job_id = 8", "I16", 8),
    ("UPDATE attempt SET job_id = 11 WHERE job_id = 6", "I17", 11),
    ("UPDATE event SET job_id = 11 WHERE job_id = 9", "I17", 11),
    ("UPDATE attempt SET outcome = '{\"kind\": \"lost\"}' WHERE job_id = 6", "I21", 6),
    ("UPDATE job SET ready_class = NULL WHERE job_id = 4", "READY", 4),
    ("UPDATE job SET ready_class = class_id WHERE job_id = 10", "READY", 10),
    ("UPDATE job SET ready_class = 77 WHERE job_id = 4", "READY", 4),
    ("UPDATE job SET ready_class = class_id WHERE job_id = 6", "READY", 6),
    ("UPDATE job SET subject = 'news' WHERE job_id = 5", "SUBJECT", 5),
    ("UPDATE job SET ready_class = class_id WHERE job_id = 3", "SUBJECT", 3),
    ("UPDATE job SET unmet = 0 WHERE job_id = 7", "COUNT", 7),
]  # fmt: skip


@pytest.mark.parametrize("damage, invariant, job_id", BROKEN)
def test_each_violation_is_found(valid: Store, damage: str, invariant: str, job_id: int) -> None:
    with valid.transaction() as tx:
        tx.cursor.execute(damage)
        assert (invariant, job_id) in {each[:2] for each in check(tx)}
        assert (invariant, job_id) in {each[:2] for each in check(tx, [job_id])}


def test_duplicate_keys_and_live_attempts_are_found_without_indexes(
    valid: Store,
) -> None:
    with valid.transaction() as tx:
        tx.cursor.execute("DROP INDEX job_key")
        tx.cursor.execute("DROP INDEX attempt_live")
        tx.cursor.execute("UPDATE job SET key = 'once' WHERE job_id = 4")
        tx.cursor.execute(
            "INSERT INTO attempt (job_id, n, machine_id, boot_id, silence, leased_ms) "
            "VALUES (5, 2, 1, 'b', 'keep', 1)"
        )
        found = {each[:2] for each in check(tx, [4, 5])}
    assert {("I2", 4), ("I3", 5)} <= found


def test_a_job_that_should_be_ready_is_found_from_its_sibling(
    valid: Store,
) -> None:
    with valid.transaction() as tx:
        tx.cursor.execute("UPDATE job SET state = 'queued', attempts = 0 WHERE job_id = 1")
        tx.cursor.execute("DELETE FROM attempt WHERE job_id = 1")
        # Job 1 is the first about its subject again, but not ready.
        assert ("SUBJECT", 1) in {each[:2] for each in check(tx, [3])}


def test_a_wrong_counter_is_found(valid: Store) -> None:
    with valid.transaction() as tx:
        tx.cursor.execute("UPDATE tally SET jobs = jobs + 1 WHERE state = 'queued'")
        [found] = check(tx)
    assert found.invariant == "COUNT"
    assert "the counter of queued jobs" in found.sentence


def test_wrong_counts_of_a_batch_are_found_also_after_a_prune(
    store: Store,
) -> None:
    with store.transaction() as tx:
        defined = q.define_command(tx)
        batch_id = batches.begin_batch(
            tx, command_id=defined.command_id, first_job_id=1, jobs=3, at_ms=1, opened_ms=None
        )
        q.enrol_machines(tx)
        ids = q.queue_jobs(tx, 3, batch_id=batch_id, hold=batches.HOLD_UNOPENED)
        batches.open_batch(tx, batch_id, 1, 3, held=False, at_ms=2)
        work = upkeep.find_next(tx)
        assert work is not None
        batches.open_slice(tx, work, 10)
        for job_id in ids[:2]:
            q.run(tx, job_id)
    with store.transaction() as tx:
        assert check(tx) == []
        tx.cursor.execute("DELETE FROM attempt WHERE job_id = 1")
        tx.cursor.execute("DELETE FROM job WHERE job_id = 1")
        tx.job_count_changes[defined.command_id, JobState.SUCCEEDED] -= 1
    with store.transaction() as tx:
        assert check(tx) == []
        tx.cursor.execute("UPDATE batch SET failed = 1")
        assert [each.invariant for each in check(tx, [2])] == ["COUNT"]
