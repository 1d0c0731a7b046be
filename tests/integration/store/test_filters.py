"""Job filters."""

from __future__ import annotations

import pytest

from mythjobs.errors import NoSuchCommand, NoSuchJob
from mythjobs.model.life import JobEvent
from mythjobs.store.open import Store
from mythjobs.store.queries.filters import JobFilter, count_jobs, find_ids, find_max_id
from mythjobs.store.queries.jobs import list_jobs
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches, jobs
from tests.support import queue as q


def found(tx: Transaction, which: JobFilter) -> dict[str, int]:
    return {state: jobs for state, jobs in count_jobs(tx, which).items() if jobs}


def all_numbers(tx: Transaction, which: JobFilter) -> list[int]:
    return find_ids(tx, which, 0, find_max_id(tx), 100)


def test_filters_count_and_list_matching_jobs(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        q.queue_jobs(tx, 3)
        q.queue_jobs(tx, 2, command="other", subject="a")
        batch = q.queue_batch(tx, 2)
        jobs.hold(tx, [2], "held")
        q.start(tx, *q.lease(tx, 1))
        q.run(tx, 3, JobEvent.FAILED, at_ms=q.NOON + 5)
    with store.snapshot() as tx:
        assert find_max_id(tx) == 7
        assert found(tx, JobFilter()) == {"queued": 5, "running": 1, "failed": 1}
        for which, counted, ids in (
            (JobFilter(command="true"), {"queued": 3, "running": 1, "failed": 1}, [1, 2, 3, 6, 7]),
            (JobFilter(("queued",), command="true"), {"queued": 3}, [2, 6, 7]),
            (JobFilter(("leased", "running")), {"running": 1}, [1]),
            (JobFilter(subject="a"), {"queued": 2}, [4, 5]),
            (JobFilter(batch=batch), {"queued": 2}, [6, 7]),
            (JobFilter(held=True), {"queued": 1}, [2]),
            (JobFilter(ended_before_ms=q.NOON + 6), {"failed": 1}, [3]),
            (JobFilter(ended_before_ms=q.NOON + 5), {}, []),
            (JobFilter(("queued", "failed"), command="true", held=False),
             {"queued": 3, "failed": 1}, [2, 3, 6, 7]),
        ):  # fmt: skip
            assert (found(tx, which), all_numbers(tx, which)) == (counted, ids), which
            assert sum(count_jobs(tx, which).values()) == len(ids)
        assert find_ids(tx, JobFilter(), 2, 6, 3) == [3, 4, 5]
        with pytest.raises(NoSuchCommand):
            count_jobs(tx, JobFilter(command="none"))
        for read in (all_numbers, count_jobs):
            with pytest.raises(NoSuchJob, match="there is no batch 99"):
                read(tx, JobFilter(batch=99))


def test_filters_skip_jobs_of_unopened_batches(store: Store) -> None:
    with store.transaction() as tx:
        q.queue_jobs(tx, 2, hold=batches.HOLD_UNOPENED)
    with store.snapshot() as tx:
        assert all_numbers(tx, JobFilter(command="true")) == []


def test_lists_show_the_requirements_of_a_job(store: Store) -> None:
    with store.transaction() as tx:
        q.queue_job(tx, subject="a", deadline_ms=q.NOON + 9, failures=1)
    with store.snapshot() as tx:
        [listed] = list_jobs(tx, subject="a")["jobs"]
        assert (listed["deadline_ms"], listed["failures"]) == (q.NOON + 9, 1)
        assert (listed["machine"], listed["labels"], listed["semaphores"]) == ("", [], {})
        assert list_jobs(tx, subject="b")["jobs"] == []


def test_jobs_since_a_time_are_those_that_ended_later_or_have_not_ended(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        for command in ("true", "other"):
            old, new, failed, running, _waiting = q.queue_jobs(
                tx, 5, command=command, subject=command
            )
            q.run(tx, old, at_ms=q.NOON)
            q.run(tx, new, at_ms=q.NOON + 5)
            q.run(tx, failed, JobEvent.FAILED, at_ms=q.NOON + 6)
            q.start(tx, *q.lease(tx, running))
        batch = q.queue_batch(tx, 2)
        q.run(tx, 11, at_ms=q.NOON)
    with store.snapshot() as tx:
        since = q.NOON + 5
        for which, ids in (
            (JobFilter(since_ms=since), [2, 3, 4, 5, 7, 8, 9, 10, 12]),
            (JobFilter(since_ms=since + 1), [3, 4, 5, 8, 9, 10, 12]),
            (JobFilter(since_ms=since, command="other"), [7, 8, 9, 10]),
            (JobFilter(("failed",), since_ms=since), [3, 8]),
            (JobFilter(("succeeded", "failed"), since_ms=since), [2, 3, 7, 8]),
            (JobFilter(("succeeded", "running"), since_ms=since), [2, 4, 7, 9]),
            (JobFilter(("running",), since_ms=since + 9), [4, 9]),
            (JobFilter(since_ms=since, subject="true", command="true"), [2, 3, 4, 5]),
            (JobFilter(since_ms=since, batch=batch), [12]),
            (JobFilter(("failed",), since_ms=since + 2), []),
            (JobFilter(since_ms=since, ended_before_ms=since + 1), [2, 7]),
        ):
            assert all_numbers(tx, which) == ids, which
            assert sum(count_jobs(tx, which).values()) == len(ids)
        listed = list_jobs(tx, since_ms=since, limit=4)
        assert [each["id"] for each in listed["jobs"]] == [12, 10, 9, 8]
        listed = list_jobs(tx, since_ms=since, limit=9, before=listed["next"])
        assert [each["id"] for each in listed["jobs"]] == [7, 5, 4, 3, 2]
