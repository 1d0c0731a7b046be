"""Workload generator: commands, machine settings and user actions of a plan."""

from __future__ import annotations

from random import Random
from typing import Any, Final, NamedTuple

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
_SUBJECTS: Final = (None, None, "film a", "film b")
CLOSINGS: Final = ("finish", "freeze", "requeue", "terminate")


LABELS: Final = ("gpu", "tape")
_THEMES: Final = (None, None, None, None, "limits", "pauses")
_WALLS: Final = ("1m", "5m", "20m")


class Calendar(NamedTuple):
    """Time zone of the machines ("": UTC), and run windows to choose from."""

    zone: str = ""
    windows: tuple[list[str], ...] = _WINDOWS


class Workload(NamedTuple):
    commands: list[Table]
    settings: list[Table]  # of each machine
    work: list[Step]


class WorkloadGenerator:
    """Draws commands, machines and jobs; for a share of the plans also labels, limits, batches …"""

    def __init__(self, random: Random, machines: int, calm_ms: int, calendar: Calendar) -> None:
        self._random = random
        self._machines = machines
        self._calm_ms = calm_ms
        self._calendar = calendar
        # Each plan omits some of these, so that they do not hide the effects of the others.
        self._has_labels = random.random() < 0.3
        self._has_rights = random.random() < 0.3
        self._has_limits = random.random() < 0.4
        self._theme = random.choice(_THEMES)
        self._names = [f"c{number}" for number in range(random.randint(2, 4))]

    def generate(self, jobs: int) -> Workload:
        random = self._random
        commands = [self._command(each) for each in self._names]
        settings = [self._settings(number) for number in range(1, self._machines + 1)]
        steps = [self._submit(number) for number in range(jobs)]
        for _ in range(random.randrange(6)):
            steps += self._action(jobs)
        if random.random() < 0.3:
            steps += [self._batch() for _ in range(random.randint(1, 2))]
        if random.random() < 0.3:
            for _ in range(random.randint(1, 3)):
                steps.append(self._change(commands, settings))
        steps += self._theme_steps(jobs, settings)
        return Workload(commands, settings, sorted(steps, key=lambda each: each.at_ms))

    def _theme_steps(self, jobs: int, settings: list[Table]) -> list[Step]:
        """Return actions that rarely coincide with the rest by chance."""
        random = self._random
        steps: list[Step] = []
        for _ in range(random.randint(2, 4) if self._theme else 0):
            at_ms = random.randrange(60_000, self._calm_ms * 3 // 5)
            if self._theme == "limits":
                number = random.randint(1, self._machines)
                limits = {"limits": {"wall": random.choice(_WALLS)}}
                edit = {"name": f"m{number}", "settings": settings[number - 1] | limits}
                steps.append(Step(at_ms, "edit", edit))
            else:
                steps += self._freeze(random.randrange(jobs), at_ms, 600_000)
        return steps

    def _freeze(self, job: int, at_ms: int, span_ms: int) -> list[Step]:
        thaw_ms = min(self._calm_ms, at_ms + span_ms)
        return [
            Step(at_ms, "freeze", {"job": job, "on": True}),
            Step(thaw_ms, "freeze", {"job": job, "on": False}),
        ]

    # Commands and machines.

    def _command(self, name: str) -> Table:
        random = self._random
        table: Table = {"name": name, "argv": ARGV, "parameters": PARAMETERS}
        silence = random.choice(("", "rerun", "rerun", "hold", "keep", "idempotent"))
        if silence:
            table["silence"] = silence
        if silence in ("rerun", "hold") and random.random() < 0.85:
            table["lease"] = random.choice(("60s", "90s", "3m", "10m"))
        if random.random() < 0.5:
            table["retry"] = {"failures": random.randint(1, 3), "backoff": "10s"}
        if random.random() < 0.3:
            table["windows"] = self._windows()
        if limits := self._limits():
            table["limits"] = limits
        if random.random() < 0.2:
            table["semaphores"] = {"nas": 1}
        if random.random() < 0.2:
            table["at_most"] = random.randint(1, 2)
        if self._has_labels and random.random() < 0.3:
            table["labels"] = [random.choice(LABELS)]
        return table

    def _windows(self) -> Table:
        random = self._random
        table = {"open": random.choice(self._calendar.windows), "closing": random.choice(CLOSINGS)}
        if table["closing"] not in ("finish", "freeze"):
            table["grace"] = random.choice(("1s", "10s", "60s"))
        return table

    def _limits(self) -> Table:
        limits: Table = {}
        if self._random.random() < 0.3:
            limits["grace"] = self._random.choice(("1s", "10s", "2m"))
        if self._has_limits and self._random.random() < 0.4:
            limits["wall"] = self._random.choice(_WALLS)
        return limits

    def _settings(self, number: int) -> Table:
        """Return settings of a machine. Machine 1 may run every command, whatever its labels."""
        random = self._random
        table: Table = {"allow": "all", "jobs": random.randint(1, 3)}
        if self._calendar.zone:
            table["zone"] = self._calendar.zone
        if random.random() < 0.2:
            table["windows"] = self._windows()
        if self._has_labels:
            count = len(LABELS) if number == 1 else random.randrange(len(LABELS) + 1)
            table["labels"] = list(LABELS[:count])
        if self._has_rights and number > 1 and random.random() < 0.6:
            table["allow"] = {"except": [random.choice(self._names)]}
        if self._has_limits:
            if limits := self._limits():
                table["limits"] = limits
            if random.random() < 0.3:
                table["commands"] = {random.choice(self._names): {"jobs": 1}}
        return table

    # Jobs.

    def _arguments(self, subject: str | None, max_log_seconds: float) -> Table:
        random = self._random
        return {
            "seconds": round(10 ** random.uniform(0, max_log_seconds)),
            "codes": random.choice(("0", "0", "0", "1", "1,0", "75,0")),
            "manner": random.choice(("obeys", "deaf")),
            "about": subject or "none",
        }

    def _draw_time_ms(self) -> int:
        return self._random.randrange(5000, self._calm_ms * 2 // 5)

    def _submit(self, number: int) -> Step:
        random = self._random
        subject = random.choice(_SUBJECTS)
        submit: Table = {
            "command": random.choice(self._names),
            "arguments": self._arguments(subject, 3.2),
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
        if self._has_labels and random.random() < 0.2:
            submit["labels"] = [random.choice(LABELS)]
        elif random.random() < 0.1:
            # Only machine 1 may surely run it.
            is_open = not (self._has_labels or self._has_rights)
            submit["machine"] = f"m{random.randint(1, self._machines) if is_open else 1}"
        elif random.random() < 0.1:
            submit["prefer"] = f"m{random.randint(1, self._machines)}"
        if self._has_limits and random.random() < 0.1:
            submit["limits"] = {"wall": random.choice(_WALLS)}
        return Step(self._draw_time_ms(), "submit", submit)

    def _batch(self) -> Step:
        random = self._random
        rows = [self._arguments(random.choice(_SUBJECTS), 2.0) for _ in range(random.randint(1, 6))]
        batch = {
            "command": random.choice(self._names),
            "rows": rows,
            "slice": random.randint(1, 3),
            "priority": random.choice((0, 0, 5)),
            "hold": random.random() < 0.15,
            "breaks_off": random.random() < 0.15,
        }
        return Step(self._draw_time_ms(), "batch", batch)

    # Other actions of users.

    def _action(self, jobs: int) -> list[Step]:
        random = self._random
        at_ms = random.randrange(10_000, self._calm_ms // 2)
        job: Table = {"job": random.randrange(jobs)}
        action = random.choice(("cancel", "hold", "freeze", "hours", "enable", "rerun", "set"))
        match action:
            case "set":
                return [Step(at_ms, action, job | self._job_changes())]
            case "freeze":
                return self._freeze(job["job"], at_ms, random.choice((90_000, 600_000)))
            case "hours":
                name = f"m{random.randint(1, self._machines)}"
                kind = random.choice(("allow", "pause"))
                hours = {"name": name, "kind": kind, "for_ms": random.randrange(60_000, 900_000)}
                return [Step(at_ms, action, hours)]
            case "enable":
                enable = {"name": random.choice(self._names), "on": random.random() < 0.5}
                return [Step(at_ms, action, enable)]
            case "rerun" if random.random() < 0.3:
                return [Step(at_ms, "rerun many", {})]
            case _:
                return [Step(at_ms, action, job)]

    def _job_changes(self) -> Table:
        """Return changes of a waiting job: its order, start, subject, machine or arguments."""
        random = self._random
        kind = random.choice(("priority", "start", "subject", "prefer", "arguments", "limits"))
        match kind:
            case "priority":
                return {"priority": random.choice((-5, 0, 5))}
            case "start":
                return {"not_before_s": random.choice((0, 60, 600))}
            case "subject":
                # Programs tell their subject in an argument, which the checkers compare.
                subject = random.choice(_SUBJECTS)
                return {"subject": subject or "", "arguments": {"about": subject or "none"}}
            case "prefer":
                return {"prefer": f"m{random.randint(1, self._machines)}"}
            case "limits" if self._has_limits:
                return {"limits": {"wall": random.choice(_WALLS)}}
            case _:
                return {"arguments": {"manner": random.choice(("obeys", "deaf"))}}

    def _change(self, commands: list[Table], settings: list[Table]) -> Step:
        """Change the settings of a machine, the definition of a command or the size of a semaphore
        while jobs run."""
        random = self._random
        at_ms = random.randrange(10_000, self._calm_ms * 3 // 4)
        kind = random.choice(("edit", "edit", "define", "semaphore"))
        if kind == "semaphore":
            return Step(at_ms, kind, {"name": "nas", "size": random.randrange(4)})
        if kind == "define":
            name = random.choice(self._names)
            return Step(at_ms, kind, self._command(name))
        number = random.randint(1, self._machines)
        changed = settings[number - 1] | self._settings(number)
        return Step(at_ms, kind, {"name": f"m{number}", "settings": changed})

    def generate_retention(self, commands: list[Table]) -> tuple[Table | None, list[Step]]:
        """Return the [retention] table of the queue, and requests to delete jobs."""
        random = self._random
        limits: Table | None = None
        if random.random() < 0.4:
            limits = {"age": random.choice(("2m", "10m", "30d"))}
            if random.random() < 0.5:
                limits["jobs"] = random.randint(1, 3)
            for each in commands:
                if random.random() < 0.2:
                    each["retention"] = {"jobs": random.randint(1, 3)}
        steps = []
        if random.random() < 0.2:
            for _ in range(random.randint(1, 3)):
                at_ms = random.randrange(60_000, self._calm_ms * 3 // 4)
                states = random.choice(([], ["succeeded"], ["failed", "cancelled"]))
                prune = {"age_s": random.choice((0, 60, 600)), "states": states}
                steps.append(Step(at_ms, "prune", prune))
        return limits, steps
