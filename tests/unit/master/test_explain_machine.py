"""What a machine waits for."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import NoSuchMachine
from mythjobs.master import requests
from mythjobs.master.explain.machine import explain_machine
from tests.unit.master.house import House


def why(house: House, name: str = "attic") -> dict[str, Any]:
    with house.store.snapshot() as tx:
        return explain_machine(tx, house.core.state, name, house.now)


def test_a_machine_says_why_it_does_not_run_more(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    assert why(house)["code"] == "idle"
    running = house.submit().id
    house.submit()
    told = why(house)
    assert told["code"] == "no_room"
    assert told["sentence"] == f"all 1 places of attic are taken: jobs {running}"
    assert told["commands"] == [
        {"command": "flag", "waiting": 1, "code": "no_room", "detail": "all 1 places are taken"}
    ]
    house.disconnect(attic)
    assert why(house)["code"] == "not_connected"
    with pytest.raises(NoSuchMachine):
        why(house, "cellar")


def test_the_command_that_comes_furthest_is_named_first(house: House) -> None:
    house.join("attic", 1)
    house.define("forbidden")
    house.define("nightly", windows={"open": ["22:00-06:00"]})
    house.define("off")
    house.request(requests.EditMachine("attic", {"allow": {"except": ["forbidden"]}}))
    house.request(requests.EnableCommand("off", False))
    house.queue(3, "forbidden")
    house.queue(2, "nightly")
    house.queue(1, "off")
    told = why(house)
    assert (told["code"], told["sentence"]) == (
        "window_closed",
        "2 of nightly wait, the first that could run here: opens 22:00",
    )
    assert [(each["command"], each["code"]) for each in told["commands"]] == [
        ("nightly", "window_closed"), ("forbidden", "not_allowed"), ("off", "disabled"),
    ]  # fmt: skip


def test_what_was_cancelled_keeps_nothing_waiting(house: House) -> None:
    house.join("attic", 2)
    house.define()
    gone = house.submit(semaphores={"nas": 2}).id
    assert "there is no semaphore nas" in why(house)["sentence"]
    house.request(requests.CancelJobs([gone], "anna"))
    assert why(house)["code"] == "idle"
    assert why(house)["commands"] == []
    house.request(requests.SetSemaphore("nas", 1))
    house.submit(semaphores={"nas": 5})
    assert why(house)["sentence"] == "flag waits: takes 5 of semaphore nas, which has 1"
