"""From a seed to a plan. What can happen at all, and how often, is drawn anew for each seed."""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from mythjobs.protocol.messages import HEARTBEAT_S
from tests.simulation.plan import MASTER, Fault, Plan
from tests.simulation.work import draw_work

HOUR_MS: Final = 3_600_000
_RATES: Final = (900, 950, 990, 1000, 1010, 1050, 1100)
# The first is what a master says; what is promised must not hang on it, and a heartbeat is what
# a seed costs.
_BEATS_S: Final = (HEARTBEAT_S, 8.0, 10.0, 12.0, 15.0)
_BACKOFFS_MS: Final = (0, 0, 3_000, 30_000, 120_000)


def draw(seed: int, *, machines: int = 3, jobs: int = 8, hours: float = 1.0) -> Plan:
    random = Random(f"plan {seed}")
    calm_ms = round(hours * HOUR_MS)
    drift = random.random() < 0.7
    rates = [random.choice(_RATES) if drift else 1000 for _ in range(machines + 1)]
    commands, settings, work = draw_work(random, machines, jobs, calm_ms)
    faults = draw_faults(random, machines, calm_ms)
    if random.random() < 0.6:
        moments = [each.at_ms for each in work if each.do == "submit"]
        for _ in range(random.randint(1, 5)):
            storm = random.choice((_storm, _storm, _flapping, _blackout))
            faults += storm(random, machines, calm_ms, random.choice(moments))
    faults.sort(key=lambda each: each.at_ms)
    return Plan(
        seed, machines, calm_ms, rates, commands, settings,
        faults, work, {"nas": random.randint(1, 3)},
        random.choice(_BEATS_S), random.choice(_BACKOFFS_MS),
    )  # fmt: skip


# Of each kind: how many in an hour at most, how long at least and at most (ms), whether it can
# befall the master (0), machines (1) or both (2).
_KINDS: Final[dict[str, tuple[int, int, int, int]]] = {
    "break": (12, 0, 0, 1),
    "cut": (8, 2_000, 900_000, 1),
    "slow": (6, 2_000, 600_000, 1),
    "kill": (8, 100, 300_000, 2),
    "stall": (6, 1_000, 240_000, 2),
    "reaper": (3, 0, 0, 1),
    "reboot": (3, 3_000, 600_000, 1),
    "wall": (3, 0, 0, 2),
    "full": (3, 1_000, 120_000, 2),
    "disk": (3, 10_000, 600_000, 1),
}
_JUMPS_MS: Final = (-3_600_000, -60_000, 5_000, 600_000, 7_200_000)


def draw_faults(random: Random, machines: int, calm_ms: int) -> list[Fault]:
    found: list[Fault] = []
    for kind, (most, least_ms, most_ms, whom) in _KINDS.items():
        # Many seeds have none of a kind, so that what others hide is seen too.
        if random.random() < 0.45:
            continue
        share = random.random() ** 2
        for _ in range(max(1, round(share * most * calm_ms / HOUR_MS))):
            at_ms = random.randrange(calm_ms - 1000)
            who = random.randint(1 if whom == 1 else 0, machines)
            found.append(_one(random, kind, who, at_ms, (least_ms, most_ms), calm_ms))
    if random.random() < 0.3:
        found += _swizzle(random, machines, calm_ms)
    return found


def _one(
    random: Random, kind: str, who: int, at_ms: int, span: tuple[int, int], calm_ms: int
) -> Fault:
    least_ms, most_ms = span
    # Short ones as often as long ones.
    for_ms = round(least_ms * (most_ms / least_ms) ** random.random()) if least_ms else 0
    for_ms = min(for_ms, calm_ms - at_ms)
    value = 0
    if kind == "cut":
        value = random.choice((0, 0, 1, 2))
    elif kind == "slow":
        value = random.choice((50, 500, 4_000, 10_000, 20_000, 150_000))
    elif kind == "reboot":
        value = random.randrange(2)
    elif kind == "disk":
        value = random.choice((20, 200, 2_000))
    elif kind == "wall":
        value = random.choice(_JUMPS_MS)
    return Fault(at_ms, kind, who, for_ms, value)


def _swizzle(random: Random, machines: int, calm_ms: int) -> list[Fault]:
    """Links are cut one after the other, and come back in another order."""
    order = random.sample(range(1, machines + 1), machines)
    at_ms = random.randrange(calm_ms // 2)
    found = []
    for who in order:
        at_ms += random.randrange(60_000)
        for_ms = random.randrange(1000, max(2000, min(1_500_000, calm_ms - at_ms)))
        found.append(Fault(at_ms, "cut", who, for_ms))
    if random.random() < 0.5:
        found.append(Fault(at_ms, "kill", MASTER, random.randrange(100, 20_000)))
    return found


_STORMY: Final = ("cut", "slow", "stall", "kill", "disk", "break", "reboot", "reaper")


def _storm(random: Random, machines: int, calm_ms: int, at_ms: int) -> list[Fault]:
    """Faults close together, about when a job begins, and then long silence: what hurts is that
    a word was said and not heard."""
    who = random.randint(1, machines)
    at_ms += random.randrange(3000) if random.random() < 0.5 else random.randrange(120_000)
    found: list[Fault] = []
    for _ in range(random.randint(1, 4)):
        if at_ms >= calm_ms - 5000:
            return found
        kind = random.choice(_STORMY)
        whom = MASTER if kind in ("kill", "stall") and random.random() < 0.5 else who
        fault = _one(random, kind, whom, at_ms, (300, 60_000), calm_ms)
        if kind in ("break", "reaper"):
            fault = Fault(at_ms, kind, whom)
        found.append(fault)
        at_ms += random.choice((0, fault.for_ms)) + random.randrange(4000)
    if at_ms < calm_ms - 5000:
        found.append(_one(random, "cut", who, at_ms, (60_000, 900_000), calm_ms))
    return found


def _flapping(random: Random, machines: int, calm_ms: int, at_ms: int) -> list[Fault]:
    """A link, or the switch of all, that comes and goes, so that what is granted is not heard,
    or not heard of again."""
    who = random.randint(1, machines)
    all_ = range(1, machines + 1) if random.random() < 0.5 else (who,)
    at_ms = max(0, at_ms - random.randrange(5000))
    found: list[Fault] = []
    for _ in range(random.randint(2, 6)):
        if at_ms >= calm_ms - 5000:
            break
        cut = _one(random, "cut", who, at_ms, (15_000, 120_000), calm_ms)
        found += [msgspec.structs.replace(cut, who=each) for each in all_]
        # So soon that what begins in between is silent again before its first heartbeat.
        at_ms += cut.for_ms + random.randrange(500, 14_000)
    return found


def _blackout(random: Random, machines: int, calm_ms: int, at_ms: int) -> list[Fault]:
    """The power fails just as a job begins: of the switch, of a machine whose disk is busy, and
    of the master."""
    who = random.randint(1, machines)
    at_ms = min(at_ms, calm_ms - 70_000)
    off_ms = at_ms + random.randrange(100, 2500)
    cut = Fault(at_ms + random.randrange(60), "cut", who, random.randrange(3000, 60_000))
    return [
        Fault(max(0, at_ms - 3000), "disk", who, 20_000, random.choice((200, 2000, 10_000))),
        msgspec.structs.replace(cut, value=random.choice((0, 1))),
        Fault(off_ms, "reboot", who, random.randrange(2000, 30_000), random.randrange(2)),
        Fault(random.randrange(at_ms + 100, off_ms + 3000), "kill", MASTER, 2000),
    ]
