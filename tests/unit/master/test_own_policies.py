"""The machines' own policies: what the master learns from the hello, and how placement uses it."""

from __future__ import annotations

from typing import Any

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from tests.unit.master.harness import NOON, Harness


def join(master: Harness, connection: int = 7, **policy: Any) -> None:
    """Attach a machine with a policy of its own, and send its first heartbeat."""
    hello = m.Hello(
        1, "key of attic", "", "", "attic", "boot", f"i{connection}", 2, zone="UTC",
        can=sorted(m.CAPABILITIES), policy=policy,
    )  # fmt: skip
    master.request(requests.Attach(hello, True, connection))
    frame = m.AgentFrame(1, 0, 2, [m.Heartbeat(1)])
    master.turn(requests.FrameReceived(connection, frame))


def grants(master: Harness) -> list[m.Grant]:
    return master.received(m.Grant, "")


def test_a_machine_runs_no_more_jobs_than_it_allows_itself(master: Harness) -> None:
    master.define()
    join(master, jobs=1)
    first, second = master.queue(2)
    assert [each.job for each in grants(master)] == [first]
    assert master.explain(second)["code"] == "no_room"
    assert master.machine_page()["jobs"] == 1
    # What a user of the master sets cannot exceed that.
    master.request(requests.SetMachine("attic", jobs=5))
    assert grants(master) == []
    master.request(requests.SetMachine("attic", jobs=0))
    assert master.machine_page()["jobs"] == 0


def test_a_job_waits_for_the_windows_of_the_machine_itself(master: Harness) -> None:
    master.define()
    join(master, windows={"open": ["22:00-06:00"], "closing": "requeue"})
    [job] = master.queue(1)
    assert grants(master) == []
    assert master.explain(job)["code"] == "window_closed"
    assert "22:00" in master.rules(job)["attic"]["window"]
    # `machine open` does not override them, and a zone set at the master does not move them.
    master.request(requests.OverrideHours("attic", "allow", NOON + 3_600_000))
    master.request(requests.SetMachine("attic", zone="Asia/Tokyo"))
    assert grants(master) == []
    master.advance(10 * 3600)
    [grant] = grants(master)
    assert grant.hours is not None
    assert grant.hours.sets == [[], [], [], ["22:00-06:00"]]
    assert (grant.hours.zone, grant.hours.closing) == ("UTC", "requeue")


def test_limits_of_the_machine_itself_are_granted(master: Harness) -> None:
    master.define(limits={"wall": "2h"})
    join(master, limits={"wall": "1h", "nice": 5})
    master.queue(1)
    [grant] = grants(master)
    assert (grant.run.wall_s, grant.run.nice) == (3600.0, 5)


def test_a_policy_that_cannot_be_read_allows_nothing(master: Harness) -> None:
    master.define()
    join(master, jobs="many")
    [job] = master.queue(1)
    assert master.rules(job)["attic"]["rights"] == (
        "flag is refused by the machine's own policy file"
    )
    # Keys of a newer version are the agent's business.
    master.disconnect(7)
    join(master, 8, colour="red")
    assert [each.job for each in grants(master)] == [job]


def define_copy(master: Harness) -> None:
    parameters = [{"name": name, "type": "path"} for name in ("source", "target")]
    master.define("copy", argv=["cp", "{source}", "{target}"], parameters=parameters)


def test_jobs_with_paths_outside_the_roots_go_to_other_machines(master: Harness) -> None:
    define_copy(master)
    join(master, roots=["/srv/tv"])
    paths = {"source": "/srv/tv/a.ts", "target": "/srv/tv/b.ts"}
    accepted = master.submit("copy", arguments=paths).id
    [grant] = grants(master)
    assert (grant.job, grant.run.paths) == (accepted, ["/srv/tv/a.ts", "/srv/tv/b.ts"])
    refused = [
        master.submit("copy", arguments=paths | {"target": target}).id
        for target in ("/etc/b.ts", "/srv/tv/../../etc/b.ts", "/srv/tv2/b.ts")
    ]
    assert grants(master) == []
    for job in refused:
        why = master.explain(job)
        assert why["code"] == "not_visible"
        assert "attic does not accept" in why["sentence"]
        assert "outside the roots of its own policy" in why["sentence"]
    master.join("cellar")
    assert master.take_grants("cellar") == refused[:2]


def test_the_working_directory_of_a_run_is_below_the_roots(master: Harness) -> None:
    join(master, roots=["/srv/tv"])
    jobs = [
        master.submit("run", run={"argv": ["ls"], "cwd": cwd}).id
        for cwd in ("/home/anna", "/srv/tv/new")
    ]
    assert [each.job for each in grants(master)] == jobs[1:]


def test_jobs_wait_no_longer_once_the_roots_are_gone(master: Harness) -> None:
    define_copy(master)
    join(master, roots=["/srv/tv"])
    job = master.submit("copy", arguments={"source": "/mnt/a", "target": "/mnt/b"}).id
    master.disconnect(7)
    join(master, 8)
    master.advance(1)
    assert [each.job for each in grants(master)] == [job]
