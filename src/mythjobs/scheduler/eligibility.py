"""Which machine may run a job of a class, and why not: the scheduler and `why` ask the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from mythjobs.model.bounds import TREE_LIMITS, Bounds, names_of_set_bounds
from mythjobs.model.machine_policy import MachinePolicy, Rights
from mythjobs.model.units import describe_clock_skew, humanize_duration
from mythjobs.model.window import Hours
from mythjobs.model.zone import format_local_time
from mythjobs.scheduler.capacity import Units, UsageCounts, free_slots
from mythjobs.scheduler.window_state import WindowState


class Requirements(NamedTuple):
    """What every job of a class asks, and what is true of its command now."""

    command: str
    command_id: int = 0
    class_id: int = 0
    submitter: str = ""
    enabled: bool = True
    put_off_ms: int | None = None
    put_off_reason: str = ""
    pin: str = ""
    preferred: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    semaphores: Units = ()
    best_effort: bool = False
    at_most: int | None = None
    capabilities: tuple[str, ...] = ()  # words of Hello.can that no combination of limits tells


class MachineFacts(NamedTuple):
    """A machine as placement sees it. `running` counts leased attempts too.

    can: what it enforces by itself (`protocol.messages.CAN`). clock_ms: how much its clock on
    the wall is ahead of the master's, as its last heartbeat came.
    """

    name: str
    rights: Rights
    connected: bool
    jobs: int
    running: int
    machine_id: int = 0
    policy: MachinePolicy = MachinePolicy()
    zone: str = ""
    can: frozenset[str] = frozenset()
    clock_skew_ms: int = 0


class EffectiveSettings(NamedTuple):
    """A class on a machine, as far as it follows from what both say: cached between turns."""

    hours: Hours | None = None
    bounds: Bounds = Bounds()
    hours_error: str = ""  # why its hours cannot be told


class Conditions(NamedTuple):
    """What changes without anybody saying so: time, what runs, what was learned."""

    now_ms: int
    counts: UsageCounts
    semaphore_sizes: Mapping[str, int]
    window: WindowState | None = None
    typical_s: float | None = None
    reserved: Mapping[str, int] = MappingProxyType({})  # semaphore to the class it is kept for
    declined_ms: int = 0  # so long nothing of the class is offered there, which gave it back


class Rule(NamedTuple):
    """One rule on one machine: whether it is met, and what to say if not."""

    rule: str
    ok: bool
    detail: str


class JobFacts(NamedTuple):
    """What of a job itself keeps it from being ready."""

    state: str
    command: str
    hold: int
    not_before_ms: int | None
    unmet: int
    ready: bool
    subject: str | None
    reason_code: str
    reason: str
    deadline_ms: int | None = None


# Each check answers "" if its rule is met, else why not, as it stands behind the machine's
# name. Checks of what people said come first, then those that time alone can change.
Check = Callable[[Requirements, MachineFacts, EffectiveSettings, Conditions], str]


def _rights(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    return "" if machine.rights.allows(ask.command) else f"{ask.command} is not allowed here"


def _pin(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    return "" if ask.pin in ("", machine.name) else f"it is pinned to {ask.pin}"


def _labels(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    missing = [each for each in ask.labels if each not in machine.policy.labels]
    return f"has no label {', '.join(missing)}" if missing else ""


def _limits(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    needed = {*ask.capabilities, *names_of_set_bounds(site.bounds)} - {"wall", "grace"}
    if ask.best_effort:
        needed -= set(TREE_LIMITS)
    if site.hours is not None:
        needed.add("windows")
        if site.hours.closing == "freeze":
            needed.add("freeze")
    missing = sorted(needed - machine.can)
    if not missing:
        return ""
    hint = "; best_effort = true takes what it can" if set(missing) <= set(TREE_LIMITS) else ""
    return f"cannot enforce {', '.join(missing)} by itself{hint}"


def _zone(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    return site.hours_error


def _connected(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    return "" if machine.connected else "not connected"


def _window(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    opening = moment.window
    if opening is None or opening.is_open:
        return ""
    assert site.hours is not None
    if opening.opens_ms is None:
        return "its hours never open"
    return f"opens {format_local_time(opening.opens_ms, moment.now_ms, site.hours.zone)}"


def _clock(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    if moment.declined_ms <= 0:
        return ""
    differs = describe_clock_skew(machine.clock_skew_ms)
    why = f" ({differs})" if differs else ""
    left_s = -(-moment.declined_ms // 1000)
    return f"gave it back, closed by its own clock{why}; offered again in {left_s} s"


def _fits(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    opening = moment.window
    if opening is None or site.hours is None or not site.hours.must_fit:
        return ""
    if moment.typical_s is None or opening.closes_ms is None:
        return ""
    left_s = (opening.closes_ms - moment.now_ms) / 1000
    if moment.typical_s <= left_s:
        return ""
    return (
        f"closes {format_local_time(opening.closes_ms, moment.now_ms, site.hours.zone)}, too soon for what "
        f"usually takes {humanize_duration(moment.typical_s)}"
    )


def _ceiling(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    counts, key = moment.counts, (machine.machine_id, ask.command_id)
    most = machine.policy.command(ask.command).jobs
    if most is not None and counts.by_machine_and_command[key] >= most:
        return f"at most {most} of {ask.command} at once here"
    opening = moment.window
    if opening is not None:
        level = min(opening.command_level, opening.shared_level)
        if 0 < level <= counts.by_machine_and_command[key]:
            return f"at most {level} of {ask.command} at this hour"
        if 0 < opening.machine_level <= counts.by_machine[machine.machine_id]:
            return f"at most {opening.machine_level} at this hour"
    return ""


def _everywhere(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    if ask.at_most is not None and moment.counts.by_command[ask.command_id] >= ask.at_most:
        return f"at most {ask.at_most} of {ask.command} at once"
    return ""


def _semaphores(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    for name, units in ask.semaphores:
        size = moment.semaphore_sizes.get(name)
        if size is None:
            return f"there is no semaphore {name}; make it with `mythjobs semaphore set {name} N`"
        if units > size:
            return f"takes {units} of semaphore {name}, which has {size}"
        if moment.reserved.get(name, ask.class_id) != ask.class_id:
            return f"what becomes free of semaphore {name} is kept for a job that waited long"
        used = moment.counts.semaphore_units[name]
        if used + units > size:
            return f"{used} of {size} of semaphore {name} are taken"
    return ""


def _room(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    free = free_slots(machine.jobs, machine.running) > 0
    return "" if free else f"all {machine.jobs} places are taken"


# What follows from what people said; an act of theirs alone changes it.
POLICY_RULES: Final[tuple[tuple[str, Check], ...]] = (
    ("rights", _rights),
    ("pin", _pin),
    ("labels", _labels),
    ("limits", _limits),
    ("zone", _zone),
)
_NOWHERE: Final = EffectiveSettings()
_NEVER: Final = Conditions(0, UsageCounts(()), {})

# What time and other jobs change.
STATE_RULES: Final[tuple[tuple[str, Check], ...]] = (
    ("window", _window),
    ("clock", _clock),
    ("fits", _fits),
    ("ceiling", _ceiling),
    ("at_most", _everywhere),
    ("semaphores", _semaphores),
)
ALL_RULES: Final = (*POLICY_RULES, ("connected", _connected), *STATE_RULES, ("room", _room))
# Told only where there is something to tell.
_QUIET: Final = frozenset(
    {"pin", "labels", "limits", "zone", "clock", "fits", "ceiling", "at_most", "semaphores"}
)


def check_rules(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> list[Rule]:
    """Every rule of this machine for a class, in the order in which they are told."""
    found = []
    for name, check in ALL_RULES:
        why = check(ask, machine, site, moment)
        if why or name not in _QUIET:
            found.append(Rule(name, not why, why))
    differs = describe_clock_skew(machine.clock_skew_ms)
    if differs and moment.declined_ms <= 0:
        found.append(Rule("clock", True, differs))
    return found


def is_permitted(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> bool:
    """Whether all that people said lets it run there, at some hour, with room."""
    return not any(check(ask, machine, site, moment) for _, check in POLICY_RULES)


def may_ever_run(ask: Requirements, machine: MachineFacts) -> bool:
    """Whether rights, pin and labels let it run there, whatever else is so now."""
    return not any(check(ask, machine, _NOWHERE, _NEVER) for _, check in POLICY_RULES[:3])


def find_blocking_rule(
    ask: Requirements, machine: MachineFacts, site: EffectiveSettings, moment: Conditions
) -> str:
    """The first rule that time or other jobs break here, room not asked; "" if none."""
    for name, check in STATE_RULES:
        if check(ask, machine, site, moment):
            return name
    return ""


def find_command_stop(ask: Requirements, now_ms: int) -> tuple[str, str] | None:
    """Why the whole command may not start now, on no machine."""
    if not ask.enabled:
        return (
            "disabled",
            f"{ask.command} is disabled; `mythjobs command enable {ask.command}` lets it go on",
        )
    if ask.put_off_ms is not None and now_ms < ask.put_off_ms:
        left = humanize_duration((ask.put_off_ms - now_ms) / 1000)
        why = f" ({ask.put_off_reason})" if ask.put_off_reason else ""
        return ("put_off", f"{ask.command} is put off for {left}{why}")
    return None


def find_job_wait(job: JobFacts, now_ms: int) -> tuple[str, str] | None:
    """The code and sentence of what a queued job itself waits for; None if it is ready."""
    if job.hold == 1:
        return (job.reason_code or "held", job.reason or "held; `mythjobs release` lets it go on")
    if job.hold:
        return ("batch_opening", "its batch is being made ready")
    if job.not_before_ms is not None:
        left_s = max(job.not_before_ms - now_ms, 0) / 1000
        # What is stored is how the last attempt ended, if that is what it waits after.
        after = f": {job.reason}" if job.reason else ""
        return ("not_before", f"waits for its time (in {humanize_duration(left_s)}){after}")
    if job.unmet:
        jobs = "another job" if job.unmet == 1 else f"{job.unmet} other jobs"
        return ("dependency", f"waits for {jobs} to end")
    if not job.ready and job.subject is not None:
        return ("subject_taken", f"another job about {job.subject} comes first")
    return None
