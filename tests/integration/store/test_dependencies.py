"""Who waits for which job, and what the ends of these mean."""

from __future__ import annotations

import pytest

from mythjobs.model.life import JobEvent, JobState
from mythjobs.store.invariants.run import check
from mythjobs.store.open import Store
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
    ],
)
def test_an_end_is_what_was_waited_for_or_not(when: str, state: JobState, accepted: bool) -> None:
    assert dependencies.accepts(when, state) is accepted


def test_a_job_is_ready_after_the_last_of_those_it_waits_for(store: Store) -> None:
    with store.transaction() as tx:
        q.machines_join(tx)
        first, second = q.queue_jobs(tx, 2)
        waits = q.queue_job(tx, after=[(first, "ok"), (second, "any")])
        assert dependencies.has_unmet(tx)
        q.run(tx, second, JobEvent.FAILED)
        assert (q.column(tx, waits, "unmet"), q.is_ready(tx, waits)) == (1, False)
        q.run(tx, first)
        assert (q.column(tx, waits, "unmet"), q.is_ready(tx, waits)) == (0, True)
        assert not dependencies.has_unmet(tx)
    with store.transaction() as tx:
        assert check(tx) == []


def test_who_waits_in_vain_is_told_with_what_it_waited_for(store: Store) -> None:
    with store.transaction() as tx:
        q.machines_join(tx)
        first = q.queue_job(tx)
        vain = q.queue_job(tx, after=[(first, "ok")])
        glad = q.queue_job(tx, after=[(first, "failure")])
        freed, in_vain = dependencies.resolve_ended(tx, {first: JobState.FAILED})
        assert freed == [glad]
        assert in_vain == {vain: first}


def test_a_job_that_is_over_waits_for_nothing_more(store: Store) -> None:
    with store.transaction() as tx:
        first, second = q.queue_jobs(tx, 2)
        waits = q.queue_job(tx, after=[(first, "any"), (second, "any")])
        dependencies.mark_all_met(tx, [waits])
        assert not dependencies.has_unmet(tx)
        assert dependencies.resolve_ended(tx, {first: JobState.SUCCEEDED}) == ([], {})


def test_many_ends_of_one_turn_free_a_job_once(store: Store) -> None:
    with store.transaction() as tx:
        ids = q.queue_jobs(tx, 50)
        waits = q.queue_job(tx, after=[(each, "any") for each in ids])
        freed, _ = dependencies.resolve_ended(tx, dict.fromkeys(ids, JobState.CANCELLED))
        assert freed == [waits] * 50
        assert q.column(tx, waits, "unmet") == 0
