"""Hours that close while nobody is there to say so: the reaper alone acts on time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.model.units import format_duration
from tests.acceptance import testimony
from tests.acceptance.household import Household, a_household, boottime_ns, until, witness_command

CLOSINGS = ("finish", "freeze", "requeue", "terminate")
# Long enough for four jobs to start and two programs to be killed before.
OPEN_S = 4.0
# The acceptance asks for two; a busy test machine gets the same.
ON_TIME_NS = 2_000_000_000


@pytest.fixture
def household(tmp_path: Path) -> Iterator[Household]:
    with a_household(tmp_path) as household:
        household.post("machines/cellar", {"jobs": 0})
        settings = {
            "allow": "all",
            "jobs": len(CLOSINGS),
            "zone": "UTC",
            "windows": {"open": [twelve_hours_from_now()]},
        }
        household.post("machines/attic/settings", {"settings": settings})
        for closing in CLOSINGS:
            grace = {} if closing == "finish" else {"grace": format_duration(1)}
            windows = {"closing": closing, **grace}
            definition = witness_command(tmp_path) | {"name": closing, "windows": windows}
            household.post("commands", {"definition": definition, "replace": False})
        yield household


def twelve_hours_from_now() -> str:
    hour = (time.gmtime().tm_hour + 12) % 24
    return f"{hour:02}:00-{hour:02}:30"


def allow(household: Household, seconds: float) -> int:
    """Opens the attic for so long; when that ends, on CLOCK_BOOTTIME."""
    until_ms = round((time.time() + seconds) * 1000)
    household.post("machines/attic/hours", {"kind": "allow", "until_ms": until_ms})
    return boottime_ns() + round(until_ms * 1e6 - time.time() * 1e9)


@pytest.mark.slow
def test_hours_close_on_time_with_master_and_agent_dead(
    household: Household, tmp_path: Path
) -> None:
    closes_ns = allow(household, OPEN_S)
    ids = {
        closing: household.post(
            "jobs", {"command": closing, "arguments": {"seconds": "7", "code": 0}}
        )["id"]
        for closing in CLOSINGS
    }

    def last_ns(closing: str, n: int = 1) -> int:
        told = testimony.read_testimony(tmp_path / "testimony")
        return told[ids[closing], n].last_ns if (ids[closing], n) in told else 0

    until(lambda: all(last_ns(each) for each in CLOSINGS), "not all have started")
    assert boottime_ns() < closes_ns
    household.kill_master()
    household.kill_agent("attic")

    until(lambda: boottime_ns() > closes_ns + ON_TIME_NS, "time does not pass")
    for closing in ("freeze", "requeue", "terminate"):
        assert abs(last_ns(closing) - closes_ns) < ON_TIME_NS, closing
    assert last_ns("finish") > closes_ns + ON_TIME_NS - 1_000_000_000

    household.start_master()
    household.start_agent("attic")

    def job(closing: str) -> Any:
        return household.get(f"jobs/{ids[closing]}")

    until(lambda: job("terminate")["state"] == "failed", "what was ended for good is not told")
    assert job("terminate")["reason"]["code"] == "window_closed"
    until(lambda: job("requeue")["state"] == "queued", "what was ended is not queued again")
    until(lambda: job("finish")["state"] == "succeeded", "what may finish does not")
    assert job("freeze")["state"] == "running"

    allow(household, 60)
    until(lambda: job("freeze")["state"] == "succeeded", "what was frozen does not go on")
    until(lambda: job("requeue")["state"] == "succeeded", "what was ended is not run again")
    assert job("freeze")["attempt"] == 1
    assert job("requeue")["attempt"] == 2
