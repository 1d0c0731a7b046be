"""Jobs that are submitted once more."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.store.queries import details
from tests.unit.master.house import House


def test_a_rerun_is_of_who_asks_for_it(house: House) -> None:
    attic = house.join("attic", 1)
    house.define("backup")
    old = house.submit("backup", machine="attic").id
    house.granted()
    house.run(attic, old)
    [acted] = house.ask(requests.RerunJobs([old], "ben"))
    again = int(acted.done)
    assert house.granted() == [again]
    with house.store.reading() as tx:
        pages = [details.job(tx, each) for each in (old, again)]
    assert [each["submitter"] for each in pages] == ["anna", "ben"]
    house.run(attic, again)

    house.ask(requests.RemoveCommand("backup"))
    [acted] = house.ask(requests.RerunJobs([old], "ben"))
    assert acted.error == f"the command of job {old} was removed"
