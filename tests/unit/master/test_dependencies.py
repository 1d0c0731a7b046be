"""Dependencies between jobs, over long chains."""

from __future__ import annotations

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
    assert {master.state(each) for each in chain[1:]} == {"cancelled"}
    with master.store.snapshot() as tx:
        assert check(tx) == []
