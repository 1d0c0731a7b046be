"""Schedules of a plan: definitions with short intervals, and requests about them."""

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
            steps.append(_pause(pause_ms, name, is_paused=True))
            steps.append(_pause(pause_ms + random.randrange(1000, 600_000), name, is_paused=False))
        steps.append(_pause(calm_ms * 4 // 5, name, is_paused=True))
    requests = Random(f"schedule requests {seed}")  # of its own: other draws stay what they were
    for each in [each for each in steps if each.action == "schedule"]:
        steps += _generate_requests(requests, each, calm_ms)
    return steps


def _generate_requests(random: Random, added: Step, calm_ms: int) -> list[Step]:
    """Return requests about a schedule that its calendar does not expect.

    Jobs are submitted beside those of the ticks, and some of them are cancelled while others wait
    for them. An edit changes everything but the calendar.
    """
    steps: list[Step] = []
    table = added.arguments
    for _ in range(random.choice((0, 0, 1, 2, 3))):
        at_ms = random.randrange(added.at_ms + 1000, calm_ms * 3 // 5)
        match random.choice(("run", "run", "backfill", "edit")):
            case "run":
                steps.append(Step(at_ms, "run schedule", {"name": table["name"]}))
            case "backfill":
                age_s = random.randrange(60, max(61, (at_ms - added.at_ms) // 1000))
                span_s = random.choice((60, 300, 600))
                backfill = {"name": table["name"], "age_s": age_s, "span_s": min(span_s, age_s)}
                steps.append(Step(at_ms, "backfill", backfill))
            case _:
                kept = {each: table[each] for each in ("cron", "every") if each in table}
                changed = _definition(random, table["name"], table["command"])
                for each in ("cron", "every"):
                    changed.pop(each, None)
                steps.append(Step(at_ms, "schedule", changed | kept))
        if random.random() < 0.6:
            cancel_ms = at_ms + random.randrange(1000, 200_000)
            steps.append(Step(cancel_ms, "cancel tick", {"newest": random.randrange(4)}))
    return steps


def _pause(at_ms: int, name: str, *, is_paused: bool) -> Step:
    return Step(at_ms, "pause schedule", {"name": name, "on": is_paused})


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
