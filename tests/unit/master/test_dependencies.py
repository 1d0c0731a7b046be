"""Jobs that wait for jobs, over many of them."""

from __future__ import annotations

from mythjobs.store.invariants.run import check
from tests.unit.master.house import House


def test_who_waits_in_vain_is_cancelled_along_a_chain_of_any_length(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    [first] = chain = house.queue(1)
    assert house.granted() == [first]
    for _ in range(700):
        chain.append(house.submit(after=[{"job": chain[-1], "when": "ok"}]).id)
    house.run(attic, first, code=1)
    assert house.state(first) == "failed"
    assert {house.state(each) for each in chain[1:]} == {"cancelled"}
    with house.store.reading() as tx:
        assert check(tx) == []
