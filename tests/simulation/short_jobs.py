"""Bursts of jobs that end at once, so that machines get more of them than they have slots."""

from __future__ import annotations

from random import Random
from typing import Any, Final

from tests.simulation.plan import Fault, Step
from tests.simulation.workload import ARGV, PARAMETERS

_SHARE: Final = 0.25
_COMMAND: Final = {"name": "blink", "argv": ARGV, "parameters": PARAMETERS, "silence": "keep"}
# A burst of 20 jobs takes less than a second.
_SPAN_MS: Final = 700


def add_short_jobs(
    seed: int,
    calm_ms: int,
    commands: list[dict[str, Any]],
    settings: list[dict[str, Any]],
    work: list[Step],
) -> list[Fault]:
    """Add short jobs to a quarter of the plans; return faults that come while they run."""
    random = Random(f"short {seed}")  # of its own: other draws stay what they were
    if random.random() > _SHARE:
        return []
    commands.append(_COMMAND)
    faults = []
    for _ in range(random.randint(2, 4)):
        at_ms = random.randrange(10_000, calm_ms // 2)
        # Jobs are sent ahead once it is known that they are short.
        work += [_make_batch(random, at_ms, 4), _make_batch(random, at_ms + 20_000, 20)]
        for _ in range(random.randint(1, 4)):
            now_ms = at_ms + 20_000 + random.randrange(_SPAN_MS)
            number = random.randint(1, len(settings))
            match random.choice(("fault", "control", "edit", "batch")):
                case "fault":
                    kind = random.choice(("kill", "cut", "stall", "reaper", "reboot"))
                    faults.append(Fault(now_ms, kind, number, random.randrange(100, 9000)))
                case "control":
                    work += _control(random, f"m{number}", now_ms)
                case "edit":
                    changed = settings[number - 1] | {"jobs": random.randint(1, 4)}
                    edit = {"name": f"m{number}", "settings": changed}
                    work.append(Step(now_ms, "edit", edit))
                case _:
                    work.append(_make_batch(random, now_ms, 5))
    return faults


def _make_batch(random: Random, at_ms: int, jobs: int) -> Step:
    seconds = [0 if random.random() < 0.9 else random.choice((1, 20)) for _ in range(jobs)]
    if jobs < 5:
        seconds = [0] * jobs
    batch = {
        "command": "blink",
        "rows": [
            {"seconds": each, "codes": "0", "manner": "obeys", "about": "none"} for each in seconds
        ],
        "slice": 10,
        "priority": random.choice((0, 0, 5)),
        "hold": False,
        "breaks_off": False,
    }
    return Step(at_ms, "batch", batch)


def _control(random: Random, name: str, at_ms: int) -> list[Step]:
    action = random.choice(("drain", "pause"))
    resume_ms = at_ms + random.randrange(200, 60_000)
    return [
        Step(at_ms, "control", {"name": name, "action": action, "for_ms": 0}),
        Step(resume_ms, "control", {"name": name, "action": "resume", "for_ms": 0}),
    ]
