"""Eligibility of a machine for a job class: the rules used by placement and by explanations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from mythjobs.model.bounds import TREE_LIMITS, Bounds, names_of_set_bounds
from mythjobs.model.command import RUN
from mythjobs.model.machine_control import NO_CONTROL, MachineControl
from mythjobs.model.machine_policy import (
    ALLOW_ALL,
    MachinePolicy,
    Rights,
)
from mythjobs.model.units import describe_clock_skew, humanize_duration
from mythjobs.model.window import Hours
from mythjobs.model.zone import format_local_time
from mythjobs.scheduler.capacity import Units, UsageCounts, free_slots
from mythjobs.scheduler.window_state import WindowState


class Requirements(NamedTuple):
    """Requirements shared by all jobs of a job class, and the current state of their command."""

    command: str
    command_id: int = 0
    class_id: int = 0
    submitter: str = ""
    enabled: bool = True
    set_aside: str = ""  # why the master starts no job of the class after an internal error
    put_off_ms: int | None = None
    put_off_reason: str = ""
    pin: str = ""
    preferred: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    semaphores: Units = ()
    best_effort: bool = False
    at_most: int | None = None
    capabilities: tuple[str, ...] = ()  # needed beyond those for limits and hours


class MachineFacts(NamedTuple):
    """Facts about a machine that decide which jobs it gets.

    running: number of leased and started attempts. can: what the machine enforces by itself
    (`protocol.messages.CAPABILITIES`). clock_skew_ms: the machine's wall clock minus the master's
    when the last heartbeat arrived. own_rights: of the machine's own policy file. found_labels: as
    the machine found by running programs.
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
    own_rights: Rights = ALLOW_ALL
    no_room: Mapping[str, str] = MappingProxyType({})  # by command, why its load permits no more
    found_labels: frozenset[str] = frozenset()
    control: MachineControl = NO_CONTROL


class EffectiveSettings(NamedTuple):
    """Hours and limits of a job class on a machine, combined from command, machine and job."""

    hours: Hours | None = None
    bounds: Bounds = Bounds()
    hours_error: str = ""  # why the hours cannot be evaluated


class MachineFit(NamedTuple):
    """Fit of a job class to a machine, as far as policy alone decides it.

    permitted: policy allows the class on the machine. unconditional: if permitted, a job needs
    only a free slot, because no run window, ceiling or semaphore applies.
    """

    settings: EffectiveSettings
    permitted: bool
    unconditional: bool


class Conditions(NamedTuple):
    """Inputs of eligibility that change without a change of policy: time and running attempts.

    reserved: job class for which a semaphore's free units are reserved, by semaphore name.
    declined_ms: time for which the machine gets no job of the class, because it returned one.
    hidden: why the machine cannot start the job because of one of its paths, "" if it can.
    """

    now_ms: int
    counts: UsageCounts
    semaphore_sizes: Mapping[str, int]
    window: WindowState | None = None
    typical_s: float | None = None
    reserved: Mapping[str, int] = MappingProxyType({})
    declined_ms: int = 0
    hidden: str = ""


class Rule(NamedTuple):
    """Result of one rule of eligibility for a machine; `detail` says why it is not met."""

    rule: str
    ok: bool
    detail: str


class Candidate(NamedTuple):
    """A machine considered for the jobs of a class, with all inputs of the eligibility rules."""

    requirements: Requirements
    machine: MachineFacts
    settings: EffectiveSettings
    conditions: Conditions


# Function that checks a rule: returns "" if the machine meets it, else the reason, worded to
# follow the machine's name.
Check = Callable[[Candidate], str]


def _check_rights(candidate: Candidate) -> str:
    command = candidate.requirements.command
    if not candidate.machine.rights.allows(command):
        return f"{command} is not allowed here"
    if not candidate.machine.own_rights.allows(command):
        return f"{command} is refused by the machine's own policy file"
    return ""


def _check_pin(candidate: Candidate) -> str:
    pin = candidate.requirements.pin
    return "" if pin in ("", candidate.machine.name) else f"the job is pinned to {pin}"


def _check_labels(candidate: Candidate) -> str:
    wanted = candidate.requirements.labels
    if not wanted:
        return ""
    policy, found = candidate.machine.policy, candidate.machine.found_labels
    missing = [
        each
        for each in wanted
        if each not in policy.labels and (each not in found or each in policy.no_labels)
    ]
    if not missing:
        return ""
    refused = [each for each in missing if each in policy.no_labels]
    why = f" (its settings refuse {', '.join(refused)})" if refused else ""
    return f"has no label {', '.join(missing)}{why}"


def _check_limits(candidate: Candidate) -> str:
    requirements, machine, settings, _ = candidate
    needed = {*requirements.capabilities, *names_of_set_bounds(settings.bounds)}
    needed -= {"wall", "grace"}
    if requirements.best_effort:
        needed -= set(TREE_LIMITS)
    if settings.hours is not None:
        needed.add("windows")
        if settings.hours.closing == "freeze":
            needed.add("freeze")
    missing = sorted(needed - machine.can)
    if not missing:
        return ""
    return (
        f"cannot enforce {', '.join(missing)} by itself{_find_limits_hint(missing, requirements)}"
    )


def _find_limits_hint(missing: Sequence[str], requirements: Requirements) -> str:
    if not set(missing) <= set(TREE_LIMITS):
        return ""
    if requirements.command == RUN:  # it has no definition
        return (
            "; cancel the job, and run it without these limits, or with --best-effort, which only "
            "samples them"
        )
    return "; with best_effort = true the job starts, and these limits are only sampled"


def _check_zone(candidate: Candidate) -> str:
    return candidate.settings.hours_error


def _check_connected(candidate: Candidate) -> str:
    return "" if candidate.machine.connected else "not connected"


def _check_drained(candidate: Candidate) -> str:
    return "is drained: it starts no jobs" if candidate.machine.control.is_drained else ""


def _check_paused(candidate: Candidate) -> str:
    control, now_ms = candidate.machine.control, candidate.conditions.now_ms
    return control.describe_pause(now_ms, candidate.machine.zone) if control.is_paused else ""


def _check_window(candidate: Candidate) -> str:
    hours, window = candidate.settings.hours, candidate.conditions.window
    if window is None or window.is_open:
        return ""
    assert hours is not None
    if window.opens_ms is None:
        return "its hours never open"
    return f"opens {format_local_time(window.opens_ms, candidate.conditions.now_ms, hours.zone)}"


def _check_declined(candidate: Candidate) -> str:
    declined_ms = candidate.conditions.declined_ms
    if declined_ms <= 0:
        return ""
    skew = describe_clock_skew(candidate.machine.clock_skew_ms)
    why = f" ({skew})" if skew else ""
    return (
        f"returned a job because its own clock says that the hours are closed{why}; "
        f"next offer in {-(-declined_ms // 1000)} s"
    )


def _check_fits(candidate: Candidate) -> str:
    hours, conditions = candidate.settings.hours, candidate.conditions
    window, typical_s = conditions.window, conditions.typical_s
    if window is None or hours is None or not hours.must_fit:
        return ""
    if typical_s is None or window.closes_ms is None:
        return ""
    if typical_s <= (window.closes_ms - conditions.now_ms) / 1000:
        return ""
    closes = format_local_time(window.closes_ms, conditions.now_ms, hours.zone)
    return f"closes {closes}, too soon for a job that usually takes {humanize_duration(typical_s)}"


def _check_ceiling(candidate: Candidate) -> str:
    requirements, machine, _, conditions = candidate
    command, counts = requirements.command, conditions.counts
    running = counts.by_machine_and_command[machine.machine_id, requirements.command_id]
    ceiling = machine.policy.command(command).jobs
    if ceiling is not None and running >= ceiling:
        return f"runs at most {ceiling} of {command} at once"
    window = conditions.window
    if window is not None:
        level = min(window.command_level, window.shared_level)
        if 0 < level <= running:
            return f"runs at most {level} of {command} at this hour"
        if 0 < window.machine_level <= counts.by_machine[machine.machine_id]:
            return f"runs at most {window.machine_level} jobs at this hour"
    return ""


def _check_at_most(candidate: Candidate) -> str:
    requirements, counts = candidate.requirements, candidate.conditions.counts
    most = requirements.at_most
    if most is not None and counts.by_command[requirements.command_id] >= most:
        return f"at most {most} of {requirements.command} run at once"
    return ""


def _check_semaphores(candidate: Candidate) -> str:
    requirements, _, _, conditions = candidate
    for name, units in requirements.semaphores:
        size = conditions.semaphore_sizes.get(name)
        if size is None:
            return f"there is no semaphore {name}; make it with `mythjobs semaphore set {name} N`"
        if units > size:
            return f"needs {units} units of semaphore {name}, which has {size}"
        if conditions.reserved.get(name, requirements.class_id) != requirements.class_id:
            return f"free units of semaphore {name} are reserved for a job that has waited longer"
        used = conditions.counts.semaphore_units[name]
        if used + units > size:
            return f"{used} of {size} units of semaphore {name} are in use"
    return ""


def _check_visible(candidate: Candidate) -> str:
    return candidate.conditions.hidden


def _check_slots(candidate: Candidate) -> str:
    machine = candidate.machine
    if free_slots(machine.jobs, machine.running) <= 0:
        return f"no free slot ({machine.jobs} in use)"
    return machine.no_room.get(candidate.requirements.command, "")


# Rules whose result changes only with policy: settings of the machine, the command or the job.
POLICY_RULES: Final[tuple[tuple[str, Check], ...]] = (
    ("rights", _check_rights),
    ("pin", _check_pin),
    ("labels", _check_labels),
    ("limits", _check_limits),
    ("zone", _check_zone),
)
# Rules whose result changes with time and with the jobs that run.
STATE_RULES: Final[tuple[tuple[str, Check], ...]] = (
    ("window", _check_window),
    ("clock", _check_declined),
    ("fits", _check_fits),
    ("ceiling", _check_ceiling),
    ("at_most", _check_at_most),
    ("semaphores", _check_semaphores),
)
ALL_RULES: Final[tuple[tuple[str, Check], ...]] = (
    *POLICY_RULES,
    ("connected", _check_connected),
    ("drained", _check_drained),
    ("paused", _check_paused),
    *STATE_RULES,
    ("visible", _check_visible),
    ("room", _check_slots),
)
# Rules that `mythjobs why` lists even if they are met.
_ALWAYS_LISTED: Final = frozenset({"rights", "connected", "window", "room"})
_NO_SETTINGS: Final = EffectiveSettings()
_NO_CONDITIONS: Final = Conditions(0, UsageCounts(()), {})


def check_rules(candidate: Candidate) -> list[Rule]:
    """Return the rules that `mythjobs why` lists, in its order: all unmet and some met ones."""
    found = []
    for name, check in ALL_RULES:
        reason = check(candidate)
        if reason or name in _ALWAYS_LISTED:
            found.append(Rule(name, not reason, reason))
    skew = describe_clock_skew(candidate.machine.clock_skew_ms)
    if skew and candidate.conditions.declined_ms <= 0:
        found.append(Rule("clock", True, skew))
    return found


def is_permitted(
    requirements: Requirements, machine: MachineFacts, settings: EffectiveSettings
) -> bool:
    """Return whether policy allows the class on the machine, whatever the hour and free slots."""
    candidate = Candidate(requirements, machine, settings, _NO_CONDITIONS)
    return not any(check(candidate) for _, check in POLICY_RULES)


def may_ever_run(requirements: Requirements, machine: MachineFacts) -> bool:
    """Return whether rights, pin and labels allow the class on the machine.

    Unlike limits and zone, these rules do not depend on what the machine reports.
    """
    candidate = Candidate(requirements, machine, _NO_SETTINGS, _NO_CONDITIONS)
    return not any(check(candidate) for _, check in POLICY_RULES[:3])


def find_blocking_rule(candidate: Candidate) -> str:
    """Return the name of the first of STATE_RULES that is not met; "" if all are met."""
    for name, check in STATE_RULES:
        if check(candidate):
            return name
    return ""


def compute_fit(
    requirements: Requirements, machine: MachineFacts, settings: EffectiveSettings
) -> MachineFit:
    """Return whether policy permits the class on the machine, and if a free slot is then enough."""
    is_unconditional = (
        settings.hours is None
        and machine.policy.command(requirements.command).jobs is None
        and requirements.at_most is None
        and not requirements.semaphores
    )
    return MachineFit(settings, is_permitted(requirements, machine, settings), is_unconditional)
