"""Deletion of ended jobs, output and first attempts."""

from __future__ import annotations

from collections.abc import Sequence

from mythjobs.model.life import JobEvent
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store
from mythjobs.store.queries import retention
from mythjobs.store.queries.job_details import (
    find_attempt_machines,
    read_attempt_output,
    read_job,
)
from mythjobs.store.queries.retention import MAX_ATTEMPTS, OldJobs
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches, commands, jobs, outputs, prune
from tests.support import queue as q

LATER = q.NOON + 1
START = (-1, -1)


def _prune(
    tx: Transaction, *, before_ms: int = LATER, states: Sequence[str] = (), limit: int = 9
) -> int:
    """Delete old jobs in slices, as the retention service does; return their number."""
    command = commands.find_by_name(tx, "true")
    assert command is not None
    start: tuple[int, int] | None = START
    deleted = 0
    while start is not None:
        found = retention.find_old_jobs(tx, command.command_id, before_ms, start, limit, states)
        deleted += prune.delete_jobs(tx, found.deletable)
        start = found.next
    return deleted


def _count(tx: Transaction, table: str) -> int:
    tx.cursor.execute(f"SELECT count(*) FROM {table}")
    return int(tx.cursor.fetchone()[0])


def test_jobs_are_deleted_in_slices_with_attempts_events_and_output(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        ids = q.queue_jobs(tx, 5)
        q.run(tx, ids[0], JobEvent.REQUEUED, output="[[9, 4, 5]]")
        for each in ids[:4]:
            q.run(tx, each, output="[[1, 1, 0], [2, 0, 2]]" if each > 2 else "")
    with store.snapshot() as tx:
        assert retention.read_totals(tx) == ({1: 4}, {1: 15})
    with store.transaction() as tx:
        assert check(tx) == []
        first = retention.find_old_jobs(tx, 1, LATER, START, 3)
        assert first == OldJobs([1, 2, 3], [(1, 1), (3, 1)], (q.NOON, 3))
        assert prune.delete_jobs(tx, first.deletable) == 3
        second = retention.find_old_jobs(tx, 1, LATER, (q.NOON, 3), 3)
        assert second == OldJobs([4], [(4, 1)], None)
        assert prune.delete_jobs(tx, second.deletable) == 1
    with store.transaction() as tx:
        tables = ("job", "attempt", "event", "kept_output")
        assert [_count(tx, table) for table in tables] == [1, 0, 0, 0]
        assert retention.read_totals(tx) == ({}, {})
        assert check(tx) == []
        # Ids of deleted jobs are not reused.
        assert q.queue_job(tx) == 6


def test_only_old_jobs_in_a_given_state_are_deleted(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 3)
        q.run(tx, 1)
        q.run(tx, 2, JobEvent.FAILED)
        assert _prune(tx, before_ms=q.NOON) == 0
        assert _prune(tx, states=["failed"]) == 1
        assert _prune(tx) == 1
        assert q.read_state(tx, 3) == "queued"
        # A job that has not ended is never deleted.
        assert prune.delete_jobs(tx, [3]) == 0


def test_dependencies_of_a_job_are_kept_until_it_has_ended(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        first = q.queue_job(tx)
        second = q.queue_job(tx, after=[(first, "ok")])
        q.run(tx, first)
        assert _prune(tx) == 0
        q.run(tx, second)
        assert _prune(tx) == 2
        assert _count(tx, "dependency") == 0


def test_a_batch_is_deleted_once_all_its_jobs_have_ended(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_batch(tx, 3)
        q.run(tx, 1)
        q.run(tx, 2)
    with store.transaction() as tx:
        assert _prune(tx) == 0
        q.run(tx, 3)
    with store.transaction() as tx:
        assert prune.delete_jobs(tx, [1, 2]) == 2
        assert batches.is_open(tx, 1)
        assert _prune(tx, limit=1) == 1
        assert not batches.is_open(tx, 1)
    with store.transaction() as tx:
        assert check(tx) == []


def test_the_id_of_a_pruned_batch_is_not_reused(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_batch(tx, 2)
        for job_id in (1, 2):
            q.run(tx, job_id)
    with store.transaction() as tx:
        assert _prune(tx) == 2
        assert _count(tx, "batch") == 0
        assert q.queue_batch(tx, 2) == 2
    with store.transaction() as tx:
        assert check(tx) == []


def test_the_key_of_a_pruned_job_is_free_again(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.run(tx, q.queue_job(tx, key="once"))
        _prune(tx)
        assert jobs.find_by_key(tx, "once") is None
        q.queue_job(tx, key="once")


def test_small_output_is_deleted_with_its_record(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        ids = q.queue_jobs(tx, 3)
        q.run(tx, ids[0], output="[[2, 2, 0]]", output_data='["Yf8="]')
        for each in ids[1:]:
            q.run(tx, each)
        # Several at once, with data and without.
        sizes = "[[1, 1, 0]]"
        outputs.add(tx, [(2, 1, 1, sizes, q.NOON, '["YQ=="]'), (3, 1, 1, sizes, q.NOON, "")])

    def read_data() -> list[list[bytes]]:
        with store.snapshot() as tx:
            return [read_attempt_output(tx, each, None)["data"] for each in ids]

    assert read_data() == [[b"a\xff"], [b"a"], []]
    with store.transaction() as tx:
        assert outputs.remove(tx, [(1, 1)]) == 2
    assert read_data() == [[], [b"a"], []]


def test_the_oldest_output_is_found_and_recorded_as_deleted(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        for number, job_id in enumerate(q.queue_jobs(tx, 3)):
            q.run(tx, job_id, output="[[100, 5, 5]]", at_ms=q.NOON - number)
        [other] = q.queue_jobs(tx, 1, command="other")
        q.run(tx, other, output="[[7, 7, 0]]", at_ms=q.NOON - 9)
    with store.transaction() as tx:
        assert retention.find_old_output(tx, None, 1, 9) == [(other, 1)]
        assert retention.find_old_output(tx, None, 17, 9) == [(other, 1), (3, 1)]
        assert retention.find_old_output(tx, None, 18, 9) == [(other, 1), (3, 1), (2, 1)]
        assert retention.find_old_output(tx, 1, 11, 9) == [(3, 1), (2, 1)]
        assert retention.find_old_output(tx, 1, 99, 1) == [(3, 1)]
        assert outputs.remove(tx, [(3, 1), (other, 1), (99, 1)]) == 17
        assert outputs.remove(tx, [(3, 1)]) == 0
    with store.transaction() as tx:
        assert retention.read_totals(tx).output_bytes == {1: 20}
        assert read_job(tx, 3)["attempts"][0]["output"] == [[100, 0, 0]]
        # A machine that offers it later may delete it.
        assert find_attempt_machines(tx, [(2, 1), (3, 1), (99, 1)]) == {(2, 1): q.ATTIC}
        assert check(tx) == []


def test_first_attempts_of_an_open_job_are_deleted(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        few, many = q.queue_jobs(tx, 2)
        for _ in range(3):
            q.run(tx, many, JobEvent.REQUEUED, output="[[1, 1, 0]]")
        tx.cursor.execute(f"UPDATE job SET attempts = {MAX_ATTEMPTS + 1} WHERE job_id = {many}")
        q.run(tx, many, JobEvent.REQUEUED)
        assert retention.find_first_attempts(tx, 9) == [(many, [1, 2])]
        outputs.remove(tx, [(many, 1), (many, 2)])
        prune.delete_first_attempts(tx, many, 2)
        assert retention.find_first_attempts(tx, 9) == []
        assert [each["n"] for each in read_job(tx, many)["attempts"]] == [3, MAX_ATTEMPTS + 2]
        assert read_job(tx, few)["attempts"] == []
    with store.transaction() as tx:
        assert check(tx) == []


def test_classes_without_jobs_are_found(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 1)
        q.run(tx, q.queue_job(tx, submitter="ben"))
        _prune(tx)
        assert retention.count_classes(tx) == 2
        assert retention.find_unused_classes(tx) == [2]
        commands.delete_classes(tx, [2])
        assert retention.find_unused_classes(tx) == []
