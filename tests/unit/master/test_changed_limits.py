"""What an owner says of limits holds for what runs as well, tighter and looser."""

from __future__ import annotations

from typing import Any

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from tests.unit.master.house import House


def _edit(house: House, **settings: Any) -> None:
    house.ask(requests.EditMachine("attic", {"allow": "all"} | settings))


def test_limits_of_a_machine_and_of_a_command_on_it_reach_what_runs(house: House) -> None:
    attic = house.join("attic")
    house.define(limits={"wall": "2h", "memory": "1GiB"})
    job = house.submit().id
    [grant] = house.heard(m.Grant)
    house.held["attic"][job, 1] = "running"
    house.hear(attic, m.Started(job, 1, house.now.wall_ms))
    assert (grant.run.wall_s, grant.run.memory_bytes) == (7200.0, 2**30)
    _edit(house, limits={"wall": "1h", "cpu": "10m"})
    [told] = house.heard(m.LimitsChanged)
    assert told == m.LimitsChanged(job, 1, 3600.0, 600.0, None, 2**30)
    # Of the command on this machine; and what is not said any more is loosened again.
    _edit(house, commands={"flag": {"limits": {"memory": "1MiB", "grace": "3s"}}})
    [told] = house.heard(m.LimitsChanged)
    assert told == m.LimitsChanged(job, 1, 7200.0, None, None, 2**20, None, None, 3.0)
    # Another owner's word changes nothing here, and is not told.
    _edit(house, labels=["gpu"], commands={"flag": {"limits": {"memory": "1MiB", "grace": "3s"}}})
    assert house.heard(m.LimitsChanged) == []


def test_a_machine_that_was_away_hears_of_them_when_it_comes_again(house: House) -> None:
    attic = house.join("attic")
    house.define()
    job = house.submit().id
    house.granted()
    house.held["attic"][job, 1] = "running"
    house.hear(attic, m.Started(job, 1, house.now.wall_ms))
    house.leave(attic)
    _edit(house, limits={"wall": "1h"})
    assert house.heard(m.LimitsChanged) == []
    house.join("attic")
    assert house.heard(m.LimitsChanged) == [m.LimitsChanged(job, 1, 3600.0)]


def test_an_ad_hoc_run_keeps_its_own_wall_limit(house: House) -> None:
    house.join("attic")
    run = {"argv": ["/bin/true"], "wall_s": 60.0}
    job = house.submit("run", run=run).id
    house.granted()
    _edit(house, limits={"wall": "1h", "cpu": "1h"})
    assert house.heard(m.LimitsChanged) == [m.LimitsChanged(job, 1, 60.0, 3600.0)]
