"""Cost of turns about many jobs: the number of statements must not grow with the jobs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from mythjobs.master import requests
from mythjobs.master.upkeep import SLICE_JOBS
from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.invariants.run import check
from mythjobs.store.queries.commands import read_queue_counts
from mythjobs.store.writes import commands
from tests.unit.master.harness import NOON, Harness

JOBS = 240
MAX_STATEMENTS = 80

pytestmark = pytest.mark.slow


@contextmanager
def _few_statements(master: Harness) -> Iterator[None]:
    """Fail if more than MAX_STATEMENTS run. Rows inserted by one call count as one."""
    assert isinstance(master.store, SqliteStore)
    executed: list[str] = []
    master.store._writer.set_trace_callback(executed.append)
    yield
    master.store._writer.set_trace_callback(None)
    distinct = [each for each in executed if not each.startswith("INSERT")]
    assert len(distinct) <= MAX_STATEMENTS, distinct[:100]
    with master.store.snapshot() as tx:
        assert check(tx) == []


def _submit(master: Harness, **fields: Any) -> list[int]:
    """Queue jobs about a subject each."""
    return [master.submit(subject=f"film {n}", **fields).id for n in range(JOBS)]


@pytest.mark.parametrize(
    "held, make",
    [
        (False, lambda ids: requests.CancelJobs(ids, "anna")),
        (False, requests.HoldJobs),
        (True, requests.ReleaseJobs),
    ],
    ids=["cancel", "hold", "release"],
)
def test_an_action_on_many_jobs_takes_few_statements(
    master: Harness, held: bool, make: Callable[[list[int]], requests.Request]
) -> None:
    master.define()
    ids = _submit(master, hold=held)
    with _few_statements(master):
        results = master.request(make(ids))
    assert [each.id for each in results if each.done] == ids


def test_a_rerun_of_many_jobs_takes_few_statements(master: Harness) -> None:
    master.define()
    ids = _submit(master)
    master.request(requests.CancelJobs(ids, "anna"))
    with _few_statements(master):
        results = master.request(requests.RerunJobs(ids, "anna"))
    assert [int(each.done) for each in results] == [each + JOBS for each in ids]


def test_many_jobs_that_are_due_take_few_statements(master: Harness) -> None:
    master.define()
    _submit(master, not_before_ms=NOON + 60_000)
    with _few_statements(master):
        master.advance(60)


def test_many_missed_deadlines_take_few_statements(master: Harness) -> None:
    master.define()
    ids = _submit(master, deadline_ms=NOON + 60_000)
    with _few_statements(master):
        master.advance(60)
    assert {master.state(each) for each in ids} == {"cancelled"}


def _insert_batch(master: Harness, jobs: int, *, last: bool) -> requests.BatchIds:
    with master.store.snapshot() as tx:
        defined = commands.find_by_name(tx, "flag")
    assert defined is not None
    ids = master.request(requests.BeginBatch("flag", jobs))
    rows = [requests.BatchRow("{}", f"film {n}") for n in range(jobs)]
    master.request(
        requests.BatchSlice(ids, "flag", defined.revision_id, "anna", 0, rows, 0, False, "", last)
    )
    assert isinstance(ids, requests.BatchIds)
    return ids


def test_a_slice_of_an_opened_batch_takes_few_statements(master: Harness) -> None:
    master.define()
    _insert_batch(master, 3 * SLICE_JOBS, last=True)
    with _few_statements(master):
        master.turn()


def test_a_failed_batch_is_deleted_in_slices_also_after_a_restart(master: Harness) -> None:
    master.define()
    ids = _insert_batch(master, 3 * SLICE_JOBS, last=False)

    def count() -> int:
        with master.store.snapshot() as tx:
            return read_queue_counts(tx)["counts"]["queued"]

    assert count() == 3 * SLICE_JOBS
    with _few_statements(master):
        master.request(requests.DropBatch(ids))
    assert count() == 2 * SLICE_JOBS
    master.restart()
    for left in (1, 0):
        with _few_statements(master):
            master.turn()
        assert count() == left * SLICE_JOBS
    with master.store.snapshot() as tx:
        tx.cursor.execute("SELECT count(*) FROM batch")
        assert tx.cursor.fetchone() == (0,)
