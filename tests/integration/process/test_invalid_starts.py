"""Starts whose settings make no sense: each ends as not started, and says which value."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.integration.process.reaper_agent import Agent, Home, reaper, start

NUMBERS: list[Any] = [float("inf"), 10**400, 1e300, -1, "1", []]
INVALID: list[tuple[str, Any]] = [
    *((name, value) for name in ("wall_s", "cpu_s", "memory_bytes") for value in NUMBERS),
    ("processes", 2**70),
    ("grace_s", 10**400),
    ("grace_s", None),
    ("nice", 10**400),
    ("nice", 2**40),
    ("nice", float("inf")),
    ("io", "fast"),
    ("io", 5),
    ("keep", [float("inf"), 1]),
    ("keep", [1, 10**400]),
    ("keep", [-1, 1]),
    ("keep", None),
    ("acts", [[float("inf"), "stop", "lease", 1.0]]),
    ("acts", [[2**70, "stop", "lease", 1.0]]),
    ("acts", [[1, "stop", "lease", 10**400]]),
    ("acts", [[1, "dance", "lease", 1.0]]),
    ("acts", 5),
    ("start_by_ms", 10**400),
    ("start_by_ms", "soon"),
    ("env", None),
    ("argv", "true"),
    ("stdin", 5),
    ("cwd", 5),
]  # fmt: skip


def test_an_invalid_start_ends_as_not_started_and_names_the_value(home: Home) -> None:
    """Seen: numbers that no float can hold, and infinite ones, were internal errors of the reaper,
    and the agent was disconnected, whose other attempts then waited."""
    directory = home.reapers / "r1"
    with reaper(home) as agent:
        for job, (name, value) in enumerate(INVALID, 1):
            agent.send({**start(job, ["true"]), name: value})
            end = agent.wait_ended(job)
            assert (end["outcome"]["kind"], end["started_ms"]) == ("not_started", None), name
            assert name in end["outcome"]["sentence"], end
            assert len(json.dumps(end)) < 1000
        assert agent.run(1000, ["true"])["outcome"] == {"kind": "exited", "code": 0}
    # A thread writes the log, and has written all of it once the reaper has exited.
    assert "internal error" not in (directory / "log").read_text()


@pytest.mark.parametrize(
    "message",
    [
        {"type": "limits", "wall_s": 10**400},
        {"type": "limits", "idle_s": float("inf")},
        {"type": "acts", "acts": [[10**400, "stop", "lease", 1.0]]},
        {"type": "acts", "acts": [[float("inf"), "stop", "lease", 1.0]]},
        {"type": "freeze", "holder": "x", "on": True, "lapse_s": float("inf")},
        {"type": "start", "job": 2**70},
        {"type": "start", "job": -1},
        {"type": "start", "n": 10**400},
        {"type": "start", "n": "1"},
    ],
    ids=lambda message: f"{message['type']}-{list(message)[1]}",
)
def test_another_message_with_such_a_number_only_closes_the_connection(
    home: Home, message: dict[str, Any]
) -> None:
    with reaper(home) as agent:
        agent.start(1, ["sleep", "600"])
        agent.wait_for("started", 1)
        agent.send({"job": 1, "n": 1, **message})
        while agent.receive():
            pass
        agent.close()
        agent = Agent(home.reapers / "r1")
        assert [each["job"] for each in agent.hello["attempts"]] == [1]
        agent.close()
    log = (home.reapers / "r1" / "log").read_text()
    assert "internal error" not in log
    assert f"agent disconnected: {message['type']}" in log or "invalid start message" in log
