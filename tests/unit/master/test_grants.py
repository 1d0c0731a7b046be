"""Grants, and limits that change while a job runs."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.master.placement.grants import build_run
from mythjobs.model.command import RUN, Command
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import RunSpec
from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.invariants.run import check
from tests.unit.master.harness import Harness


def _edit(master: Harness, **settings: Any) -> None:
    master.request(requests.EditMachine("attic", {"allow": "all"} | settings))


def test_limits_of_a_machine_and_its_commands_reach_running_jobs(master: Harness) -> None:
    attic = master.join("attic")
    master.define(limits={"wall": "2h", "memory": "1GiB"})
    job = master.submit().id
    [grant] = master.received(m.Grant)
    master.attempts["attic"][job, 1] = "running"
    master.send_frame(attic, m.Started(job, 1, master.now.wall_ms))
    assert (grant.run.wall_s, grant.run.memory_bytes) == (7200.0, 2**30)
    _edit(master, limits={"wall": "1h", "cpu": "10m"})
    [changed] = master.received(m.LimitsChanged)
    assert changed == m.LimitsChanged(job, 1, 3600.0, 600.0, None, 2**30)
    # Limits of the command on this machine; the removed ones no longer apply.
    _edit(master, commands={"flag": {"limits": {"memory": "1MiB", "grace": "3s"}}})
    [changed] = master.received(m.LimitsChanged)
    assert changed == m.LimitsChanged(job, 1, 7200.0, None, None, 2**20, None, None, 3.0)
    # A change of other settings sends no limits.
    _edit(master, labels=["gpu"], commands={"flag": {"limits": {"memory": "1MiB", "grace": "3s"}}})
    assert master.received(m.LimitsChanged) == []


def test_changed_limits_are_sent_after_a_reconnect(master: Harness) -> None:
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


def test_a_wall_limit_that_no_machine_can_keep_is_refused(master: Harness) -> None:
    """Seen: any number was accepted, and the machine that got the job disconnected."""
    for wall_s in (3.2e9, 1e300):
        with pytest.raises(BadRequest, match="wall limit must be at most 3153600000 s"):
            master.submit("run", run={"argv": ["/bin/true"], "wall_s": wall_s})
    # The store of an older master may have one.
    run = build_run(Command(RUN), '{"argv":["/bin/true"],"wall_s":1e300}', RunSpec([]))
    assert run.wall_s == 3.1536e9


def test_an_ad_hoc_run_has_its_own_progress_setting(master: Harness) -> None:
    master.join("attic", 3)
    for progress in ("", "rsync", r"regex:(\d+)%"):
        master.submit("run", run={"argv": ["/bin/true"], "progress": progress})
    grants = master.received(m.Grant)
    assert [each.run.progress for each in grants] == ["", "rsync", r"regex:(\d+)%"]
    for progress in ("x", "regex:x", "regex:("):
        with pytest.raises(BadRequest, match=r"^progress "):
            master.submit("run", run={"argv": ["/bin/true"], "progress": progress})


def test_a_grant_has_the_input_file_with_the_arguments_filled_in(master: Harness) -> None:
    master.join("attic")
    parameters = [{"name": "source", "type": "path"}, {"name": "extra", "required": False}]
    master.define(stdin="{source}.{{in}}", parameters=parameters)
    master.submit(arguments={"source": "/srv/a b"})
    master.define(stdin="{extra}", parameters=parameters)
    master.submit(arguments={"source": "/srv/a b"})
    assert [each.run.stdin for each in master.received(m.Grant)] == ["/srv/a b.{in}", ""]


def test_submitted_jobs_that_start_at_once_are_inserted_as_leased(master: Harness) -> None:
    master.join("attic", 3)
    master.define()
    master.queue(1)
    assert isinstance(master.store, SqliteStore)
    executed: list[str] = []
    master.store._writer.set_trace_callback(executed.append)
    master.queue(3)  # the last one waits: three slots
    master.store._writer.set_trace_callback(None)
    with master.store.snapshot() as tx:
        assert check(tx) == []
    assert [each.job for each in master.received(m.Grant)] == [1, 2, 3]
    assert [master.state(each) for each in (2, 3, 4)] == ["leased", "leased", "queued"]
    assert not [each for each in executed if each.startswith("UPDATE job")]


def test_terms_of_grants_follow_machines_and_policies(master: Harness) -> None:
    def next_grants() -> list[m.Grant]:
        for _ in range(2):
            master.submit(prefer="attic")
        return master.received(m.Grant)

    master.join("attic", 20)
    master.define()
    assert [each.silence for each in next_grants()] == ["keep", "keep"]
    cellar = master.join("cellar")
    assert [each.silence for each in next_grants()] == ["rerun", "rerun"]
    _edit(master, limits={"wall": "1h"})
    assert [each.run.wall_s for each in next_grants()] == [3600.0, 3600.0]
    master.disconnect(cellar)
    assert [each.silence for each in next_grants()] == ["rerun", "rerun"]
    master.request(requests.RevokeMachine("cellar"))
    assert [each.silence for each in next_grants()] == ["keep", "keep"]
