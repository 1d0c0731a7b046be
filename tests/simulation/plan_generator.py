"""Plan generator: derives a plan from a seed. Kinds and rates of faults vary between seeds."""

from __future__ import annotations

from random import Random
from typing import Final

import msgspec

from mythjobs.protocol.messages import HEARTBEAT_S
from tests.simulation.membership_workload import generate_membership_changes
from tests.simulation.plan import MASTER, Fault, Plan, Step
from tests.simulation.policy_workload import generate_policy_changes
from tests.simulation.restore_workload import generate_restore
from tests.simulation.schedule_workload import generate_schedules
from tests.simulation.short_jobs import add_short_jobs
from tests.simulation.simulator import NOON_MS
from tests.simulation.workload import DAILY_WINDOWS, Calendar, WorkloadGenerator

HOUR_MS: Final = 3_600_000
_RATES: Final = (900, 950, 990, 1000, 1010, 1050, 1100)
# The product's interval and longer ones: no property may depend on it, and heartbeats are most of
# the cost of a seed.
_HEARTBEATS_S: Final = (HEARTBEAT_S, 8.0, 10.0, 12.0, 15.0)
_BACKOFFS_MS: Final = (0, 0, 3_000, 30_000, 120_000)


def generate_plan(seed: int, *, machines: int = 3, jobs: int = 8, hours: float = 1.0) -> Plan:
    random = Random(f"plan {seed}")
    calm_ms = round(hours * HOUR_MS)
    drift = random.random() < 0.7
    rates = [random.choice(_RATES) if drift else 1000 for _ in range(machines + 1)]
    start_ms, calendar = NOON_MS, Calendar()
    if random.random() < 0.25:
        start_ms, calendar = _draw_clock_change(random, calm_ms)
    generator = WorkloadGenerator(random, machines, calm_ms, calendar)
    commands, settings, work = generator.generate(jobs)
    retention, prunes = generator.generate_retention(commands)
    work += prunes
    work += generate_schedules(seed, [str(each["name"]) for each in commands], calm_ms)
    names = [str(each["name"]) for each in commands]
    work += generate_policy_changes(seed, calm_ms, names, settings, calendar.windows)
    work += _draw_controls(seed, machines, calm_ms)
    faults = generate_faults(random, machines, calm_ms)
    faults += add_short_jobs(seed, calm_ms, commands, settings, work)
    if random.random() < 0.6:
        submit_times_ms = [each.at_ms for each in work if each.action == "submit"]
        for _ in range(random.randint(1, 5)):
            generate = random.choice((_fault_burst, _fault_burst, _link_flapping, _power_failure))
            faults += generate(random, machines, calm_ms, random.choice(submit_times_ms))
    for each in work:
        if each.action == "freeze" and each.arguments["on"] and random.random() < 0.4:
            at_ms = min(each.at_ms + random.randrange(5_000, 300_000), calm_ms - 1000)
            target = random.randint(1, machines)
            faults.append(_fault(random, "reboot", target, at_ms, (3_000, 60_000), calm_ms))
    if machines > 1 and random.random() < 0.12:
        _add_dead_machine(random, machines, calm_ms, faults, work)
    work += generate_membership_changes(seed, machines, calm_ms, faults)
    faults += generate_restore(seed, calm_ms, faults, work)
    faults.sort(key=lambda each: each.at_ms)
    work.sort(key=lambda each: each.at_ms)
    return Plan(
        seed, machines, calm_ms, rates, commands, settings,
        faults, work, {"nas": random.randint(1, 3)},
        random.choice(_HEARTBEATS_S), random.choice(_BACKOFFS_MS),
        start_ms, retention,
    )  # fmt: skip


def _draw_controls(seed: int, machines: int, calm_ms: int) -> list[Step]:
    """Return drains and pauses of machines, in a third of the plans."""
    random = Random(f"control {seed}")  # of its own: other draws stay what they were
    steps: list[Step] = []
    if random.random() > 1 / 3:
        return steps
    for _ in range(random.randint(1, 4)):
        name = f"m{random.randint(1, machines)}"
        at_ms = random.randrange(20_000, calm_ms * 4 // 5)
        action = random.choice(("drain", "pause", "pause", "pause"))
        for_ms = random.choice((0, random.randrange(10_000, 1_800_000)))
        control = {"name": name, "action": action, "for_ms": for_ms if action == "pause" else 0}
        steps.append(Step(at_ms, "control", control))
        resume_ms = at_ms + random.randrange(60_000, 1_800_000)
        resume = {"name": name, "action": "resume", "for_ms": 0}
        steps.append(Step(min(resume_ms, calm_ms), "control", resume))
    return steps


# Zones, and instants (ms UTC) at which their clocks change: forward or back, by one hour or half.
_CLOCK_CHANGES: Final = (
    ("Europe/Berlin", 1_774_746_000_000),  # 2026-03-29
    ("Europe/Berlin", 1_792_890_000_000),  # 2026-10-25
    ("America/St_Johns", 1_772_947_800_000),  # 2026-03-08
    ("America/St_Johns", 1_793_507_400_000),  # 2026-11-01
    ("Australia/Lord_Howe", 1_775_314_800_000),  # 2026-04-05
    ("Australia/Lord_Howe", 1_791_041_400_000),  # 2026-10-04
)


def _draw_clock_change(random: Random, calm_ms: int) -> tuple[int, Calendar]:
    """Return a start of the run shortly before the clocks change, and the zone in which they do."""
    zone, change_ms = random.choice(_CLOCK_CHANGES)
    return change_ms - random.randrange(calm_ms * 2 // 3), Calendar(zone, DAILY_WINDOWS)


def _add_dead_machine(
    random: Random, machines: int, calm_ms: int, faults: list[Fault], work: list[Step]
) -> None:
    """Let a machine that no job needs burn down, and a user tell the master so, sooner or later."""
    pinned = {each.arguments.get("machine") for each in work}
    candidates = [each for each in range(2, machines + 1) if f"m{each}" not in pinned]
    if candidates:
        number = random.choice(candidates)
        at_ms = random.randrange(10_000, calm_ms * 3 // 4)
        faults.append(Fault(at_ms, "dead", number))
        told_ms = at_ms + random.choice((1000, 60_000, 900_000))
        work.append(Step(told_ms, "dead", {"name": f"m{number}"}))


# For each kind: maximum number in an hour, minimum and maximum duration (ms), and possible targets:
# 1 machines only, 2 machines and the master.
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
    "fsync": (3, 20, 20_000, 1),
}
_CLOCK_STEPS_MS: Final = (-3_600_000, -60_000, 5_000, 600_000, 7_200_000)


def generate_faults(random: Random, machines: int, calm_ms: int) -> list[Fault]:
    faults: list[Fault] = []
    for kind, (max_per_hour, min_ms, max_ms, targets) in _KINDS.items():
        # Many seeds omit a kind, so that it does not hide the effects of other kinds.
        if random.random() < 0.45:
            continue
        share = random.random() ** 2
        for _ in range(max(1, round(share * max_per_hour * calm_ms / HOUR_MS))):
            at_ms = random.randrange(calm_ms - 1000)
            target = random.randint(1 if targets == 1 else 0, machines)
            faults.append(_fault(random, kind, target, at_ms, (min_ms, max_ms), calm_ms))
    if random.random() < 0.15:
        at_ms = random.randrange(calm_ms - 1000)
        span_ms = 1000, 600_000
        row = _fault(random, "row", MASTER, at_ms, span_ms, calm_ms)
        faults.append(msgspec.structs.replace(row, value=random.randint(1, 6)))
    if random.random() < 0.12:
        # Faults of the disk beneath the store.
        for _ in range(random.randint(1, 4)):
            at_ms = random.randrange(calm_ms // 2)
            kind, span_ms = random.choice((("reboot", (3_000, 60_000)), ("fsync", (1000, 60_000))))
            faults.append(_fault(random, kind, MASTER, at_ms, span_ms, calm_ms))
    if random.random() < 0.3:
        faults += _staggered_cuts(random, machines, calm_ms)
    return faults


def _fault(
    random: Random, kind: str, target: int, at_ms: int, span_ms: tuple[int, int], calm_ms: int
) -> Fault:
    min_ms, max_ms = span_ms
    # Log-uniform: short durations are as likely as long ones.
    duration_ms = round(min_ms * (max_ms / min_ms) ** random.random()) if min_ms else 0
    duration_ms = min(duration_ms, calm_ms - at_ms)
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
        value = random.choice(_CLOCK_STEPS_MS)
    return Fault(at_ms, kind, target, duration_ms, value)


def _staggered_cuts(random: Random, machines: int, calm_ms: int) -> list[Fault]:
    """Cut all links one after the other, and restore them in another order."""
    order = random.sample(range(1, machines + 1), machines)
    at_ms = random.randrange(calm_ms // 2)
    faults = []
    for target in order:
        at_ms += random.randrange(60_000)
        duration_ms = random.randrange(1000, max(2000, min(1_500_000, calm_ms - at_ms)))
        faults.append(Fault(at_ms, "cut", target, duration_ms))
    if random.random() < 0.5:
        faults.append(Fault(at_ms, "kill", MASTER, random.randrange(100, 20_000)))
    return faults


_BURST_KINDS: Final = ("cut", "slow", "stall", "kill", "disk", "break", "reboot", "reaper")


def _fault_burst(random: Random, machines: int, calm_ms: int, at_ms: int) -> list[Fault]:
    """Several faults in a short time around the start of a job, then a long cut: messages are lost
    after they were sent."""
    machine = random.randint(1, machines)
    at_ms += random.randrange(3000) if random.random() < 0.5 else random.randrange(120_000)
    faults: list[Fault] = []
    for _ in range(random.randint(1, 4)):
        if at_ms >= calm_ms - 5000:
            return faults
        kind = random.choice(_BURST_KINDS)
        target = MASTER if kind in ("kill", "stall") and random.random() < 0.5 else machine
        fault = _fault(random, kind, target, at_ms, (300, 60_000), calm_ms)
        if kind in ("break", "reaper"):
            fault = Fault(at_ms, kind, target)
        faults.append(fault)
        at_ms += random.choice((0, fault.duration_ms)) + random.randrange(4000)
    if at_ms < calm_ms - 5000:
        faults.append(_fault(random, "cut", machine, at_ms, (60_000, 900_000), calm_ms))
    return faults


def _link_flapping(random: Random, machines: int, calm_ms: int, at_ms: int) -> list[Fault]:
    """Repeated short cuts of one link, or of all (a switch): grants, or reports about them, get
    lost."""
    machine = random.randint(1, machines)
    targets = range(1, machines + 1) if random.random() < 0.5 else (machine,)
    at_ms = max(0, at_ms - random.randrange(5000))
    faults: list[Fault] = []
    for _ in range(random.randint(2, 6)):
        if at_ms >= calm_ms - 5000:
            break
        cut = _fault(random, "cut", machine, at_ms, (15_000, 120_000), calm_ms)
        faults += [msgspec.structs.replace(cut, target=each) for each in targets]
        # The next cut may begin before the first heartbeat of a new connection.
        at_ms += cut.duration_ms + random.randrange(500, 14_000)
    return faults


def _power_failure(random: Random, machines: int, calm_ms: int, at_ms: int) -> list[Fault]:
    """Power failure at the start of a job: of the switch, of a machine with a busy disk, and of the
    master."""
    machine = random.randint(1, machines)
    at_ms = min(at_ms, calm_ms - 70_000)
    off_ms = at_ms + random.randrange(100, 2500)
    cut = Fault(at_ms + random.randrange(60), "cut", machine, random.randrange(3000, 60_000))
    return [
        Fault(max(0, at_ms - 3000), "disk", machine, 20_000, random.choice((200, 2000, 10_000))),
        msgspec.structs.replace(cut, value=random.choice((0, 1))),
        Fault(off_ms, "reboot", machine, random.randrange(2000, 30_000), random.randrange(2)),
        Fault(random.randrange(at_ms + 100, off_ms + 3000), "kill", MASTER, 2000),
    ]
