"""Schedules of a plan: definitions with short intervals, and pauses of them."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final

from tests.simulation.plan import Step

_WHEN: Final = (
    {"every": "45s"}, {"every": "3m"}, {"every": "10m"}, {"cron": "*/7 * * * *"},
    {"cron": "* * * * *"}, {"cron": ["3,33 * * * *", "*/20 * * * *"]},
)  # fmt: skip


def generate_schedules(seed: int, commands: Sequence[str], calm_ms: int) -> list[Step]:
    """Return steps that add schedules, for a share of the seeds. All are paused before `calm_ms`.

    The random numbers are not those of the rest of the plan, which is the same with and without.
    """
    random = Random(f"schedules {seed}")
    if random.random() > 0.3:
        return []
    steps: list[Step] = []
    for number in range(random.randint(1, 2)):
        name = f"s{number}"
        at_ms = random.randrange(5000, calm_ms // 3)
        steps.append(Step(at_ms, "schedule", _definition(random, name, random.choice(commands))))
        if random.random() < 0.3:
            pause_ms = random.randrange(at_ms + 1000, calm_ms // 2)
            steps.append(_pause(pause_ms, name, on=True))
            steps.append(_pause(pause_ms + random.randrange(1000, 600_000), name, on=False))
        steps.append(_pause(calm_ms * 4 // 5, name, on=True))
    return steps


def _pause(at_ms: int, name: str, *, on: bool) -> Step:
    return Step(at_ms, "pause schedule", {"name": name, "on": on})


def _definition(random: Random, name: str, command: str) -> dict[str, Any]:
    arguments = {
        "seconds": random.choice((1, 30, 200)),
        "codes": random.choice(("0", "0", "1", "1,0")),
    }
    table: dict[str, Any] = {"name": name, "command": command, "arguments": arguments}
    table |= random.choice(_WHEN)
    table["catch_up"] = random.choice(("skip", "last", "last", "all"))
    table["overlap"] = random.choice(("skip", "skip", "queue"))
    if table["catch_up"] == "all" or table["overlap"] == "queue":
        table["at_most"] = random.randint(1, 4)
    if random.random() < 0.3:
        table["retry"] = {"failures": random.randint(1, 2), "backoff": "20s"}
    if random.random() < 0.3:
        table["start_within"] = "2m"
    if random.random() < 0.3:
        table["spread"] = "30s"
    return table
