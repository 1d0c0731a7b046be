"""Dependencies between jobs."""

from __future__ import annotations

import pytest

from mythjobs.model.life import JobEvent, JobState
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import dependencies
from tests.support import queue as q


@pytest.mark.parametrize(
    "when, state, accepted",
    [
        ("ok", JobState.SUCCEEDED, True),
        ("ok", JobState.FAILED, False),
        ("ok", JobState.CANCELLED, False),
        ("any", JobState.SUCCEEDED, True),
        ("any", JobState.FAILED, True),
        ("any", JobState.CANCELLED, True),
        ("failure", JobState.SUCCEEDED, False),
        ("failure", JobState.FAILED, True),
        ("failure", JobState.CANCELLED, False),
        ("serial", JobState.CANCELLED, True),
    ],
)
def test_a_final_state_meets_a_dependency_or_not(
    when: str, state: JobState, accepted: bool
) -> None:
    assert dependencies.accepts(when, state) is accepted


def test_a_job_is_ready_once_its_last_dependency_is_met(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        first, second = q.queue_jobs(tx, 2)
        waits = q.queue_job(tx, after=[(first, "ok"), (second, "any")])
        assert dependencies.has_unmet(tx)
        q.run(tx, second, JobEvent.FAILED)
        assert (q.read_column(tx, waits, "unmet"), q.is_ready(tx, waits)) == (1, False)
        q.run(tx, first)
        assert (q.read_column(tx, waits, "unmet"), q.is_ready(tx, waits)) == (0, True)
        assert not dependencies.has_unmet(tx)
    with store.transaction() as tx:
        assert check(tx) == []


def test_dependents_that_can_never_run_are_returned_with_their_dependency(store: Store) -> None:
    with store.transaction() as tx:
        q.enrol_machines(tx)
        first = q.queue_job(tx)
        never = q.queue_job(tx, after=[(first, "ok")])
        runnable = q.queue_job(tx, after=[(first, "failure")])
        resolved = dependencies.resolve_ended(tx, {first: JobState.FAILED}, limit=9)
        assert resolved == (2, [runnable], {never: first})


def test_an_ended_job_has_no_unmet_dependencies(store: Store) -> None:
    with store.transaction() as tx:
        first, second = q.queue_jobs(tx, 2)
        waits = q.queue_job(tx, after=[(first, "any"), (second, "any")])
        dependencies.mark_all_met(tx, [waits])
        assert not dependencies.has_unmet(tx)
        ended = {first: JobState.SUCCEEDED}
        assert dependencies.resolve_ended(tx, ended, limit=9) == (0, [], {})


def test_many_dependencies_resolved_at_once_are_counted_once_each(store: Store) -> None:
    with store.transaction() as tx:
        ids = q.queue_jobs(tx, 50)
        waits = q.queue_job(tx, after=[(each, "any") for each in ids])
        ended = dict.fromkeys(ids, JobState.CANCELLED)
        assert dependencies.resolve_ended(tx, ended, limit=20).freed == [waits] * 20
        assert q.read_column(tx, waits, "unmet") == 30
        assert len(dependencies.find_unresolved(tx, ids)) == 30
        assert dependencies.resolve_ended(tx, ended, limit=50).freed == [waits] * 30
        assert q.read_column(tx, waits, "unmet") == 0
        assert dependencies.find_unresolved(tx, ids) == []


def test_serial_dependencies_of_jobs_that_ended_while_they_waited_pass_on(store: Store) -> None:
    with store.transaction() as tx:
        running, other = q.queue_jobs(tx, 2)
        first = q.queue_job(tx, after=[(running, "serial"), (other, "any")])
        second = q.queue_job(tx, after=[(first, "serial")])
        third = q.queue_job(tx, after=[(second, "serial"), (running, "any")])
        last = q.queue_job(tx, after=[(third, "serial"), (second, "serial")])
        user = q.queue_job(tx, after=[(second, "any")])
        dependencies.pass_on(tx, [first, second])
        # The dependencies that a user states stay as they are, and none is stored twice.
        assert _read_unmet(tx, third) == [(running, "any"), (second, "serial")]
        assert _read_unmet(tx, last) == [
            (running, "serial"),
            (second, "serial"),
            (third, "serial"),
        ]
        assert _read_unmet(tx, user) == [(second, "any")]
        assert [q.read_column(tx, each, "unmet") for each in (third, last, user)] == [2, 3, 1]
        dependencies.pass_on(tx, [running, user])
        assert q.read_column(tx, last, "unmet") == 3


def test_the_last_of_open_jobs_are_those_for_which_none_waits_serially(store: Store) -> None:
    with store.transaction() as tx:
        first = q.queue_job(tx)
        second = q.queue_job(tx, after=[(first, "serial")])
        third = q.queue_job(tx, after=[(second, "any")])
        assert dependencies.find_last(tx, [first, second, third]) == [second, third]
        assert dependencies.find_last(tx, [first]) == [first]
        assert dependencies.find_last(tx, []) == []


def _read_unmet(tx: Transaction, job_id: int) -> list[tuple[int, str]]:
    tx.cursor.execute(
        "SELECT on_job_id, accept FROM dependency WHERE met = 0 AND job_id = "
        f"{job_id} ORDER BY on_job_id"
    )
    return [(int(on_job_id), str(accept)) for on_job_id, accept in tx.cursor.fetchall()]
