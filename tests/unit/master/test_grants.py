"""What an owner says of limits holds for what runs as well, tighter and looser."""

from __future__ import annotations

from typing import Any

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from tests.unit.master.harness import Harness


def _edit(master: Harness, **settings: Any) -> None:
    master.request(requests.EditMachine("attic", {"allow": "all"} | settings))


def test_limits_of_a_machine_and_of_a_command_on_it_reach_what_runs(master: Harness) -> None:
    attic = master.join("attic")
    master.define(limits={"wall": "2h", "memory": "1GiB"})
    job = master.submit().id
    [grant] = master.received(m.Grant)
    master.attempts["attic"][job, 1] = "running"
    master.send_frame(attic, m.Started(job, 1, master.now.wall_ms))
    assert (grant.run.wall_s, grant.run.memory_bytes) == (7200.0, 2**30)
    _edit(master, limits={"wall": "1h", "cpu": "10m"})
    [told] = master.received(m.LimitsChanged)
    assert told == m.LimitsChanged(job, 1, 3600.0, 600.0, None, 2**30)
    # Of the command on this machine; and what is not said any more is loosened again.
    _edit(master, commands={"flag": {"limits": {"memory": "1MiB", "grace": "3s"}}})
    [told] = master.received(m.LimitsChanged)
    assert told == m.LimitsChanged(job, 1, 7200.0, None, None, 2**20, None, None, 3.0)
    # Another owner's word changes nothing here, and is not told.
    _edit(master, labels=["gpu"], commands={"flag": {"limits": {"memory": "1MiB", "grace": "3s"}}})
    assert master.received(m.LimitsChanged) == []


def test_a_machine_that_was_away_hears_of_them_when_it_comes_again(master: Harness) -> None:
    attic = master.join("attic")
    master.define()
    job = master.submit().id
    master.take_grants()
    master.attempts["attic"][job, 1] = "running"
    master.send_frame(attic, m.Started(job, 1, master.now.wall_ms))
    master.disconnect(attic)
    _edit(master, limits={"wall": "1h"})
    assert master.received(m.LimitsChanged) == []
    master.join("attic")
    assert master.received(m.LimitsChanged) == [m.LimitsChanged(job, 1, 3600.0)]


def test_an_ad_hoc_run_keeps_its_own_wall_limit(master: Harness) -> None:
    master.join("attic")
    run = {"argv": ["/bin/true"], "wall_s": 60.0}
    job = master.submit("run", run=run).id
    master.take_grants()
    _edit(master, limits={"wall": "1h", "cpu": "1h"})
    assert master.received(m.LimitsChanged) == [m.LimitsChanged(job, 1, 60.0, 3600.0)]
