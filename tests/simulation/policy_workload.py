"""Changes of machine policies while jobs run: labels, rights, slots, zones, run windows, hours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

from tests.simulation.plan import Step
from tests.simulation.workload import CLOSINGS, LABELS

_SHARE: Final = 0.3
_ZONES: Final = ("UTC", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe")
_GRACES: Final = ("1s", "10s", "60s")

Table = dict[str, Any]


def generate_policy_changes(
    seed: int,
    calm_ms: int,
    commands: Sequence[str],
    settings: Sequence[Table],
    windows: Sequence[list[str]],
) -> list[Step]:
    """Return changes of the policies of machines, in a share of the plans.

    windows: run windows to choose from, open at least every 20 minutes.
    """
    random = Random(f"policy {seed}")  # of its own: other draws stay what they were
    if random.random() > _SHARE:
        return []
    kinds: tuple[Callable[..., Table], ...] = (_labels, _rights, _slots, _zone)
    steps = []
    for _ in range(random.randint(2, 6)):
        number = random.randint(1, len(settings))
        name = {"name": f"m{number}"}
        at_ms = random.randrange(20_000, calm_ms * 3 // 4)
        match random.choice(("set", "set", "windows", "hours")):
            case "set":
                kind = random.choice(kinds)
                steps.append(Step(at_ms, "set machine", name | kind(random, commands)))
            case "windows":
                for _ in range(random.randint(1, 2)):
                    changed = settings[number - 1] | _draw_windows(random, commands, windows)
                    steps.append(Step(at_ms, "edit", name | {"settings": changed}))
                    at_ms += random.randrange(1000, 600_000)
            case _:
                steps += _overrides(random, name, commands, at_ms)
    return steps


def _labels(random: Random, _: Sequence[str]) -> Table:
    return {random.choice(("labels", "no_labels")): [random.choice(LABELS)]}


def _rights(random: Random, commands: Sequence[str]) -> Table:
    return {random.choice(("deny", "allow")): [random.choice(commands)]}


def _slots(random: Random, commands: Sequence[str]) -> Table:
    jobs = random.choice((0, 1, 2, 3, "auto"))
    if random.random() < 0.5:
        return {"jobs": jobs}
    return {"jobs": jobs, "command": random.choice(commands)}


def _zone(random: Random, _: Sequence[str]) -> Table:
    return {"zone": random.choice(_ZONES)}


def _draw_windows(random: Random, commands: Sequence[str], windows: Sequence[list[str]]) -> Table:
    """Return run windows of a machine, for all its jobs or for one command."""
    table: Table = {"open": random.choice(windows), "closing": random.choice(CLOSINGS)}
    if table["closing"] in ("requeue", "terminate"):
        table["grace"] = random.choice(_GRACES)
    if random.random() < 0.6:
        return {"windows": table}
    return {"commands": {random.choice(commands): {"windows": table}}}


def _overrides(random: Random, name: Table, commands: Sequence[str], at_ms: int) -> list[Step]:
    """Return an override for one command or all, which may be removed before its end."""
    override = name | {"kind": random.choice(("allow", "pause"))}
    if random.random() < 0.6:
        override["command"] = random.choice(commands)
    duration_ms = random.randrange(20_000, 900_000)
    steps = [Step(at_ms, "hours", override | {"for_ms": duration_ms})]
    if random.random() < 0.5:
        removal = override | {"kind": "hours", "for_ms": 0}
        steps.append(Step(at_ms + random.randrange(duration_ms), "hours", removal))
    return steps
