"""Units of work that are set aside: the rest goes on without them."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.master.isolation import SetAside, Unit
from mythjobs.protocol import messages as m
from tests.unit.master.harness import Harness


def set_aside(master: Harness, kind: str, number: int) -> None:
    master.core.state.set_aside = {
        Unit(kind, number): SetAside(master.now.wall_ms, "KeyError: 'x'")
    }


def test_a_grant_that_cannot_be_repeated_is_held_once_its_job_is_queued(master: Harness) -> None:
    attic = master.join("attic")
    master.define()
    bad, good = master.queue(2)
    master.received(m.Grant)
    master.disconnect(attic)
    set_aside(master, "grant", bad)

    # The machine got neither; only the second is repeated. The first stays leased.
    attic = master.join("attic")
    assert [each.job for each in master.received(m.Grant)] == [good]
    assert (master.state(bad), master.shown_job(bad)["hold"]) == ("leased", False)
    master.attempts["attic"][good, 1] = "leased"
    for _ in range(2):
        master.heartbeat(attic)
    assert master.state(bad) == "queued"
    reason = master.shown_job(bad)["reason"]
    assert reason["sentence"] == (
        "held, as the master failed to start it (KeyError: 'x'); cancel it, or let "
        "`mythjobs release` try again"
    )
    # A release tries again.
    master.request(requests.ReleaseJobs([bad]))
    assert [each.job for each in master.received(m.Grant)] == [bad]


def test_a_class_that_was_set_aside_is_not_placed_and_its_live_jobs_get_no_changes(
    master: Harness,
) -> None:
    master.join("attic", 4)
    master.define()
    master.define("other")
    [live] = master.queue(1)
    [live_other] = master.queue(1, "other")
    master.take_grants()
    set_aside(master, "class", 1)
    [waiting] = master.queue(1)
    [good] = master.queue(1, "other")
    assert master.take_grants() == [good]
    found = master.explain(waiting)
    assert (found["code"], found["sentence"]) == (
        "set_aside",
        "set aside after an internal error (KeyError: 'x'); the master's log has the traceback. "
        "`mythjobs command enable flag`, or a restart of the master, tries again",
    )
    master.request(requests.EditMachine("attic", {"allow": "all", "limits": {"wall": "1h"}}))
    changed = [each.job for each in master.received(m.LimitsChanged)]
    assert changed == [live_other, good]
    assert live not in changed
    master.request(requests.EnableCommand("flag", True))
    assert master.take_grants() == [waiting]
