"""Plans at scale: hundreds of jobs of many classes, whose limits and order the machines fight for.

No machine fails in them: they exist to exercise the rules of placement, at sizes at which one pass
cannot look at every job, and with programs so short that the master leases ahead of free slots.
"""

from __future__ import annotations

from random import Random
from typing import Any, Final

from tests.simulation.plan import MASTER, Fault, Plan, Step
from tests.simulation.workload import ARGV, CLOSINGS, DAILY_WINDOWS

Table = dict[str, Any]

PARAMETERS: Final = [
    {"name": "seconds", "type": "float"},
    {"name": "codes", "type": "text", "default": "0"},
    {"name": "manner", "type": "text", "default": "obeys"},
    {"name": "about", "type": "text", "default": "none"},
]
_CALM_MS: Final = 3_600_000
_BURST_MS: Final = 20_000


def generate_scale_plan(
    seed: int, *, machines: int = 20, commands: int = 50, jobs: int = 600
) -> Plan:
    random = Random(f"scale {seed}")
    tables = [_command(random, number) for number in range(commands)]
    seconds = [random.choice((0.01, 0.05, 0.3, 3.0, 30.0)) for _ in tables]
    subjects = [None, *(f"film {number}" for number in range(random.choice((4, 40))))]
    work = [
        _submit(random, number, tables, seconds, subjects)
        for number in range(jobs)
    ]  # fmt: skip
    settings = [_settings(random, commands) for _ in range(machines)]
    settings[0] = {"allow": "all", "jobs": 4, "labels": ["gpu", "tape"]}
    faults = []
    if random.random() < 0.5:
        faults.append(Fault(random.randrange(10_000, 60_000), "kill", MASTER, 2000))
    sizes = {"nas": random.randint(2, 6), "tuner": random.randint(2, 4)}
    return Plan(
        seed, machines, _CALM_MS, [1000] * (machines + 1), tables, settings, faults,
        sorted(work, key=lambda each: each.at_ms), sizes, 15.0,
    )  # fmt: skip


def _command(random: Random, number: int) -> Table:
    table: Table = {"name": f"c{number}", "argv": ARGV, "parameters": PARAMETERS}
    table["silence"] = "rerun"
    table["lease"] = "3m"
    if random.random() < 0.2:
        table["retry"] = {"failures": random.randint(1, 2), "backoff": "10s"}
    if random.random() < 0.2:
        table["semaphores"] = {random.choice(("nas", "tuner")): random.randint(1, 2)}
    if random.random() < 0.2:
        table["at_most"] = random.randint(1, 4)
    if random.random() < 0.1:
        windows = {"open": random.choice(DAILY_WINDOWS), "closing": random.choice(CLOSINGS)}
        table["windows"] = windows
    if random.random() < 0.15:
        table["labels"] = [random.choice(("gpu", "tape"))]
    return table


def _settings(random: Random, commands: int) -> Table:
    table: Table = {"allow": "all", "jobs": random.randint(1, 4)}
    if random.random() < 0.3:
        names = random.sample(range(commands), commands // 3)
        table["allow"] = {"except": sorted(f"c{each}" for each in names)}
    if random.random() < 0.4:
        table["labels"] = ["gpu"]
    if random.random() < 0.3:
        named = random.sample(range(commands), 3)
        table["commands"] = {f"c{each}": {"jobs": 1} for each in named}
    if random.random() < 0.2:
        table["windows"] = {"open": ["00:00-24:00 at most 2"]}
    return table


def _submit(
    random: Random, number: int, tables: list[Table], seconds: list[float],
    subjects: list[str | None],
) -> Step:  # fmt: skip
    index = random.randrange(len(tables))
    subject = random.choice(subjects)
    submit: Table = {
        "command": tables[index]["name"],
        "arguments": {
            "seconds": seconds[index],
            "codes": random.choice(("0", "0", "0", "0", "1,0", "1")),
            "manner": "obeys",
            "about": subject or "none",
        },
        "subject": subject,
        "priority": random.choice((0, 0, 0, 0, 1, 5)),
        "submitter": random.choice(("anna", "anna", "anna", "bert", "cleo")),
    }
    if random.random() < 0.05:
        submit["deadline_s"] = random.randrange(60, 1200)
    if random.random() < 0.05:
        submit["machine"] = "m1"
    if number and random.random() < 0.05:
        submit["after"] = [{"job": random.randrange(number), "when": "any"}]
    return Step(5000 + random.randrange(_BURST_MS), "submit", submit)
