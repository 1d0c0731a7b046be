"""Workload generator: commands, machine settings and user actions of a plan."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from tests.simulation.plan import Step

Table = dict[str, Any]

# Parameters and argv of simulated programs (program.py). Plan files contain these names and values.
PARAMETERS: Final = [
    {"name": "seconds", "type": "int"},
    {"name": "codes", "type": "text", "default": "0"},
    {"name": "manner", "type": "text", "default": "obeys"},
    {"name": "about", "type": "text", "default": "none"},
]
ARGV: Final = ["work", "{seconds}", "{codes}", "{manner}", "{about}"]
# Runs start at noon and last some hours; clock steps are at most -1 h and +2 h.
_NIGHT: Final = ["00:00-10:00", "20:00-24:00"]
_WINDOWS: Final = (
    [*_NIGHT, *(f"{hour}:02-{hour}:32" for hour in range(10, 20))],
    [*_NIGHT, *(f"{hour}:00-{hour}:50" for hour in range(10, 20))],
    [*_NIGHT, *(f"{hour}:10-{hour}:40 at most 1" for hour in range(10, 20))],
)
# The same around the clock, with ranges that begin or end in skipped and repeated hours.
DAILY_WINDOWS: Final = (
    [f"{hour}:02-{hour}:32" for hour in range(24)],
    [f"{hour}:40-{(hour + 1) % 24}:20" for hour in range(24)],
    [f"{hour}:10-{hour}:40 at most 1" for hour in range(24)],
)
CLOSINGS: Final = ("finish", "freeze", "requeue", "terminate")


def generate_workload(
    random: Random, machines: int, jobs: int, calm_ms: int
) -> tuple[list[Table], list[Table], list[Step]]:
    commands = [_command(random, number) for number in range(random.randint(2, 4))]
    settings = [_machine_settings(random) for _ in range(machines)]
    names = [str(each["name"]) for each in commands]
    steps = [_submit(random, number, names, calm_ms) for number in range(jobs)]
    steps += _other_actions(random, machines, jobs, names, calm_ms)
    return commands, settings, sorted(steps, key=lambda each: each.at_ms)


def _command(random: Random, number: int) -> Table:
    table: Table = {"name": f"c{number}", "argv": ARGV, "parameters": PARAMETERS}
    silence = random.choice(("", "rerun", "rerun", "hold", "keep", "idempotent"))
    if silence:
        table["silence"] = silence
    if silence in ("rerun", "hold") and random.random() < 0.85:
        table["lease"] = random.choice(("60s", "90s", "3m", "10m"))
    if random.random() < 0.5:
        table["retry"] = {"failures": random.randint(1, 3), "backoff": "10s"}
    if random.random() < 0.3:
        table["windows"] = _windows(random)
    if random.random() < 0.3:
        table["limits"] = {"grace": random.choice(("1s", "10s", "2m"))}
    if random.random() < 0.2:
        table["semaphores"] = {"nas": 1}
    if random.random() < 0.2:
        table["at_most"] = random.randint(1, 2)
    return table


def _windows(random: Random) -> Table:
    table = {"open": random.choice(_WINDOWS), "closing": random.choice(CLOSINGS)}
    if table["closing"] not in ("finish", "freeze"):
        table["grace"] = random.choice(("1s", "10s", "60s"))
    return table


def _machine_settings(random: Random) -> Table:
    table: Table = {"allow": "all", "jobs": random.randint(1, 3)}
    if random.random() < 0.2:
        table["windows"] = _windows(random)
    return table


def _submit(random: Random, number: int, names: list[str], calm_ms: int) -> Step:
    subject = random.choice((None, None, "film a", "film b"))
    seconds = round(10 ** random.uniform(0, 3.2))
    arguments = {
        "seconds": seconds,
        "codes": random.choice(("0", "0", "0", "1", "1,0", "75,0")),
        "manner": random.choice(("obeys", "deaf")),
        "about": subject or "none",
    }
    submit: Table = {
        "command": random.choice(names),
        "arguments": arguments,
        "subject": subject,
        "priority": random.choice((0, 0, 0, 5, -5)),
    }
    if number and random.random() < 0.2:
        when = random.choice(("ok", "any", "failure"))
        submit["after"] = [{"job": random.randrange(number), "when": when}]
    if random.random() < 0.1:
        submit["not_before_s"] = random.randrange(600)
    elif random.random() < 0.05:
        submit["deadline_s"] = random.randrange(60, 1200)
    return Step(random.randrange(5000, calm_ms * 2 // 5), "submit", submit)


def _other_actions(
    random: Random, machines: int, jobs: int, names: list[str], calm_ms: int
) -> list[Step]:
    steps = []
    for _ in range(random.randrange(6)):
        at_ms = random.randrange(10_000, calm_ms // 2)
        job = random.randrange(jobs)
        action = random.choice(("cancel", "hold", "freeze", "hours", "enable", "rerun"))
        arguments: Table = {"job": job}
        if action == "freeze":
            thaw_ms = min(calm_ms, at_ms + 90_000)
            steps.append(Step(thaw_ms, action, {"job": job, "on": False}))
            arguments["on"] = True
        elif action == "hours":
            name = f"m{random.randint(1, machines)}"
            arguments = {"name": name, "kind": random.choice(("allow", "pause"))}
            arguments["for_ms"] = random.randrange(60_000, 900_000)
        elif action == "enable":
            arguments = {"name": random.choice(names), "on": random.random() < 0.5}
        steps.append(Step(at_ms, action, arguments))
    return steps
