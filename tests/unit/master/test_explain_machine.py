"""Explanation of a machine: why it does not run more jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from mythjobs.errors import NoSuchMachine
from mythjobs.master import requests
from mythjobs.master.explain.machine import explain_machine
from mythjobs.protocol import messages as m
from tests.unit.master.harness import Harness


def why(master: Harness, name: str = "attic") -> Mapping[str, Any]:
    with master.store.snapshot() as tx:
        return explain_machine(tx, master.core.state, name, master.now)


def test_the_explanation_says_why_a_machine_does_not_run_more(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    assert why(master)["code"] == "idle"
    running = master.submit().id
    master.submit()
    found = why(master)
    assert found["code"] == "no_room"
    assert found["sentence"] == f"attic has no free slot: jobs {running}"
    assert found["commands"] == [
        {"command": "flag", "waiting": 1, "code": "no_room", "detail": "no free slot (1 in use)"}
    ]
    master.disconnect(attic)
    assert why(master)["code"] == "not_connected"
    with pytest.raises(NoSuchMachine):
        why(master, "cellar")


def test_the_command_that_meets_most_rules_is_named_first(master: Harness) -> None:
    master.join("attic", 1)
    master.define("forbidden")
    master.define("nightly", windows={"open": ["22:00-06:00"]})
    master.define("off")
    master.request(requests.EditMachine("attic", {"allow": {"except": ["forbidden"]}}))
    master.request(requests.EnableCommand("off", False))
    master.queue(3, "forbidden")
    master.queue(2, "nightly")
    master.queue(1, "off")
    found = why(master)
    assert (found["code"], found["sentence"]) == (
        "window_closed",
        "2 jobs of nightly wait, next to start here: opens 22:00",
    )
    assert [(each["command"], each["code"]) for each in found["commands"]] == [
        ("nightly", "window_closed"), ("forbidden", "not_allowed"), ("off", "disabled"),
    ]  # fmt: skip


def test_a_cancelled_job_is_not_waiting(master: Harness) -> None:
    master.join("attic", 2)
    master.define()
    gone = master.submit(semaphores={"nas": 2}).id
    assert "there is no semaphore nas" in why(master)["sentence"]
    master.request(requests.CancelJobs([gone], "anna"))
    assert why(master)["code"] == "idle"
    assert why(master)["commands"] == []
    master.request(requests.SetSemaphore("nas", 1))
    master.submit(semaphores={"nas": 5})
    assert why(master)["sentence"] == "flag waits: needs 5 units of semaphore nas, which has 1"


def test_a_machine_may_report_fewer_free_slots_than_the_master_counts(master: Harness) -> None:
    attic = master.join("attic", 4)
    master.define()
    job = master.submit().id
    assert why(master)["code"] == "idle"
    master.send_frame(attic, m.Started(job, 1, master.now.wall_ms), room=0)
    found = why(master)
    assert (found["code"], found["sentence"]) == (
        "no_room",
        "attic reports no free slot, although it has only 1 of 4 jobs: its agent limits it "
        "(`mythjobs agent --jobs N`), or it still ends jobs whose lease expired",
    )
    # The reason of a waiting job comes first.
    master.define("nightly", windows={"open": ["22:00-06:00"]})
    master.submit("nightly")
    assert why(master)["code"] == "window_closed"
