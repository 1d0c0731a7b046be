"""Dependencies between jobs, over long chains."""

from __future__ import annotations

import pytest

from mythjobs.master.turn_context import MAX_RESOLVED
from mythjobs.store.invariants.run import check
from tests.unit.master.harness import Harness


def test_dependents_that_can_never_run_are_cancelled_along_a_long_chain(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    [first] = chain = master.queue(1)
    assert master.take_grants() == [first]
    for _ in range(700):
        chain.append(master.submit(after=[{"job": chain[-1], "when": "ok"}]).id)
    master.finish(attic, first, code=1)
    assert master.state(first) == "failed"
    for _ in range(len(chain) // MAX_RESOLVED):
        assert master.state(chain[-1]) == "queued"
        _check(master)
        master.turn()
    assert {master.state(each) for each in chain[1:]} == {"cancelled"}
    _check(master)


@pytest.mark.slow
def test_many_dependents_of_one_job_are_resolved_over_several_turns(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    [first] = master.queue(1)
    assert master.take_grants() == [first]
    waiting = [
        master.submit(after=[{"job": first, "when": "ok" if number % 2 else "failure"}]).id
        for number in range(2 * MAX_RESOLVED + 10)
    ]
    master.finish(attic, first, code=1)
    assert _count_unmet(master) == len(waiting) - MAX_RESOLVED
    _check(master)
    # The rest is not forgotten by a restart.
    master.restart()
    while left := _count_unmet(master):
        master.turn()
        assert left - _count_unmet(master) == min(left, MAX_RESOLVED)
        _check(master)
    states = [master.state(each) for each in waiting]
    assert states[1::2] == ["cancelled"] * (len(waiting) // 2)
    assert "cancelled" not in states[::2]


def _count_unmet(master: Harness) -> int:
    with master.store.snapshot() as tx:
        tx.cursor.execute("SELECT count(*) FROM dependency WHERE met = 0")
        return int(tx.cursor.fetchone()[0])


def _check(master: Harness) -> None:
    with master.store.snapshot() as tx:
        assert check(tx) == []
