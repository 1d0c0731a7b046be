"""Why a ready job has no place: a stable code and one sentence, by the rules of eligibility."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from mythjobs.model.units import humanize_duration
from mythjobs.model.zone import format_local_time
from mythjobs.scheduler.eligibility import (
    ALL_RULES,
    Check,
    Conditions,
    EffectiveSettings,
    MachineFacts,
    Requirements,
    find_command_stop,
)

CandidateMachine = tuple[MachineFacts, EffectiveSettings, Conditions]
NO_SUCH_MACHINE: Final = "no_such_machine"
REASON_CODES: Final = {
    "rights": "not_allowed",
    "pin": "pinned",
    "labels": "no_label",
    "limits": "not_enforceable",
    "zone": "unknown_zone",
    "connected": "not_connected",
    "window": "window_closed",
    "clock": "clock_differs",
    "fits": "does_not_fit",
    "ceiling": "ceiling",
    "at_most": "at_most",
    "semaphores": "semaphore",
    "room": "no_room",
}


def explain_wait(
    ask: Requirements, machines: Sequence[CandidateMachine], now_ms: int
) -> tuple[str, str]:
    """The code and sentence of why a ready job of this class has no place.

    The first rule that leaves no machine names the reason, told of those it stopped.
    """
    stopped = find_command_stop(ask, now_ms)
    if stopped is not None:
        return stopped
    if ask.pin and all(machine.name != ask.pin for machine, _, _ in machines):
        return (
            NO_SUCH_MACHINE,
            f"will wait: no machine named {ask.pin} has ever joined; one that does takes it",
        )
    if not machines:
        return ("no_machine", "no machine has joined yet; that of `mythjobs up` does in seconds")
    left = list(machines)
    for name, check in ALL_RULES:
        met = [each for each in left if not check(ask, *each)]
        if not met:
            return REASON_CODES[name], _sentence(name, check, ask, left)
        left = met
    return ("starting", "is about to start")


def add_unknown_machines(
    waits: tuple[str, str], ask: Requirements, names: Collection[str]
) -> tuple[str, str]:
    """The same, and which machines the job names that have never joined."""
    code, sentence = waits
    if ask.pin and ask.pin not in names and code != NO_SUCH_MACHINE:
        sentence += f"; no machine named {ask.pin} has ever joined, and it runs nowhere else"
    unknown = ", ".join(each for each in ask.preferred if each not in names)
    if unknown:
        sentence += f"; it prefers {unknown}, and no machine of that name has ever joined"
    return code, sentence


def _sentence(
    name: str, check: Check, ask: Requirements, places: Sequence[CandidateMachine]
) -> str:
    names = ", ".join(machine.name for machine, _, _ in places)
    match name:
        case "rights":
            return (
                f"will wait: no machine allows {ask.command}; allow it with "
                f"`mythjobs machine allow MACHINE {ask.command}`"
            )
        case "pin":
            return f"will wait: it is pinned to {ask.pin}, and no machine of that name allows it"
        case "labels" | "limits" | "zone":
            told = "; ".join(f"{place[0].name} {check(ask, *place)}" for place in places)
            return f"will wait: no machine can run it: {told}"
        case "connected":
            return f"waits for a machine that allows it: {names} (not connected)"
        case "window":
            return _opens(ask, places)
        case "at_most" | "semaphores":
            return f"waits: {check(ask, *places[0])}"
        case "room":
            told = ", ".join(f"{m.name} (all {m.jobs} taken)" for m, _, _ in places)
            return f"waits for a place on {told}"
        case _:
            told = "; ".join(f"{place[0].name} {check(ask, *place)}" for place in places)
            return f"waits: {told}"


def _opens(ask: Requirements, places: Sequence[CandidateMachine]) -> str:
    """The machine whose hours open first."""
    coming = [
        (moment.window.opens_ms, machine.name, site.hours, moment)
        for machine, site, moment in places
        if moment.window is not None
        and moment.window.opens_ms is not None
        and site.hours is not None
    ]
    if not coming:
        names = ", ".join(machine.name for machine, _, _ in places)
        return f"will wait: the hours of {ask.command} never open on {names}"
    at_ms, name, hours, moment = min(coming, key=lambda each: each[:2])
    when = format_local_time(at_ms, moment.now_ms, hours.zone)
    left = humanize_duration((at_ms - moment.now_ms) / 1000)
    zone = f" {hours.zone}" if hours.zone else ""
    return f"waits for the window of machine {name}, opens at {when}{zone} (in {left})"
