"""Plan of a systemd timer: a command and a schedule, or the reason why not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from mythjobs.model.units import format_duration
from mythjobs.takeover.entry import ImportFacts, ImportMark, Place, PlanEntry, Table
from mythjobs.takeover.naming import clean_name
from mythjobs.takeover.program import build_schedule
from mythjobs.takeover.refusals import refuse_text, refuse_user
from mythjobs.takeover.systemd.calendar_cron import translate_event
from mythjobs.takeover.systemd.calendar_event import parse_calendar_event
from mythjobs.takeover.systemd.service import translate_service
from mythjobs.takeover.systemd.time_span import parse_time_span
from mythjobs.takeover.systemd.unit_file import UnitFile

_AT_START: Final = ("OnBootSec", "OnStartupSec", "OnActiveSec")
_REPEATED: Final = ("OnUnitActiveSec", "OnUnitInactiveSec")
_ON_CHANGE: Final = ("OnClockChange", "OnTimezoneChange")
_LONGEST_EVERY_S: Final = 366 * 86400.0


@dataclass(frozen=True, slots=True)
class Timer:
    """A timer with its service.

    kind: "timer" or "user timer". service: None if it does not exist. user: of the manager.
    specifiers: values of %i, %h and others. problem: why systemd does not run the timer, or "".
    normalise: returns the normalized form of a calendar event by systemd-analyze, or "".
    """

    kind: str
    timer: UnitFile
    service_name: str
    service: UnitFile | None
    user: str
    specifiers: Mapping[str, str]
    problem: str = ""
    normalise: Callable[[str], str] = field(default=lambda text: "")


def plan_timer(given: Timer, facts: ImportFacts) -> PlanEntry:
    """Return the entry of a timer."""
    timer, service = given.timer, given.service
    written = _format_triggers(timer)
    commands = service.values("Service", "ExecStart") if service else []
    user = (service.value("Service", "User") if service else "") or given.user
    text = "; ".join(commands) or given.service_name
    entry = PlanEntry(Place(given.kind, timer.name), 0, written, text, user, ImportMark.EXACT)
    if given.problem:
        return entry.skipped(given.problem)
    if any(each.split()[0].endswith("/anacron") for each in commands):
        return entry.skipped("starts anacron, whose jobs `mythjobs import cron` lists")
    if service is None:
        return entry.skipped(f"its service {given.service_name} does not exist", ImportMark.DECIDE)
    refusal = refuse_user(user, facts) or refuse_text("".join(commands), {})
    if refusal:
        return entry.skipped(refusal, ImportMark.DECIDE)
    try:
        when, reasons = _translate_triggers(given, facts)
    except ValueError as error:
        return entry.skipped(str(error), ImportMark.DECIDE)
    name = clean_name(timer.name.removesuffix(".timer"))
    command, obstacle = translate_service(
        name, service, facts.accounts[user], given.specifiers, facts,
        is_user_manager=given.kind == "user timer",
    )  # fmt: skip
    if obstacle:
        # The service itself stays under systemd, which alone decides who may start it.
        if facts.runner not in ("root", given.user):
            return entry.skipped(
                f"{obstacle} cannot be a setting of a job, and only root may let systemd start it",
                ImportMark.DECIDE,
            )
        reasons.append(f"systemd starts it, because of {obstacle}; its output stays in the journal")
    zone = str(when.pop("zone", ""))
    # As systemd does: a timer does not start a service that still runs.
    schedule = build_schedule(name, {**when, "overlap": "skip"}, facts, zone=zone)
    return PlanEntry(
        entry.place, 0, written, text, user, ImportMark.DIFFERENT if reasons else ImportMark.EXACT,
        tuple(reasons), name, command, schedule,
    )  # fmt: skip


def _format_triggers(timer: UnitFile) -> str:
    found = [
        f"{key}={value}" if key != "OnCalendar" else value
        for key in ("OnCalendar", *_AT_START, *_REPEATED, *_ON_CHANGE)
        for value in timer.values("Timer", key)
    ]
    return ", ".join(found)


def _translate_triggers(given: Timer, facts: ImportFacts) -> tuple[Table, list[str]]:
    """Return when the schedule runs, and the differences. Raises ValueError with the reason."""
    timer = given.timer
    reasons: list[str] = []
    at_start = [each for each in _AT_START if timer.values("Timer", each)]
    repeated = [each for each in _REPEATED if timer.values("Timer", each)]
    for key in _ON_CHANGE:
        if timer.flag("Timer", key):
            raise ValueError(f"{key}= starts it after a change of the clock; no schedule does that")
    if timer.values("Timer", "OnCalendar"):
        when = _translate_calendar(given, facts, reasons)
        when["catch_up"] = "last" if timer.flag("Timer", "Persistent") else "skip"
        if at_start or repeated:
            dropped = ", ".join(f"{each}=" for each in (*at_start, *repeated))
            reasons.append(f"only its calendar is imported, without {dropped}")
    elif repeated:
        when = _translate_repetition(timer, repeated, reasons)
    elif at_start:
        raise ValueError(
            f"{at_start[0]}= runs it once after a start of the machine, which no schedule does; "
            "leave it to systemd"
        )
    else:
        raise ValueError("it has no time at which it elapses")
    delay = timer.value("Timer", "RandomizedDelaySec")
    delay_s = parse_time_span(delay) if delay else 0.0
    if delay_s > _LONGEST_EVERY_S:
        raise ValueError(f"RandomizedDelaySec={delay} is longer than 366d, the longest spread")
    if delay_s:
        when["spread"] = format_duration(delay_s)
        if timer.flag("Timer", "FixedRandomDelay"):
            reasons.append("its delay differs from run to run, in spite of FixedRandomDelay=")
    if timer.flag("Timer", "WakeSystem"):
        reasons.append("it does not wake a machine that is suspended (WakeSystem=)")
    return when, reasons


def _translate_calendar(given: Timer, facts: ImportFacts, reasons: list[str]) -> Table:
    expressions, zones = [], set()
    for text in given.timer.values("Timer", "OnCalendar"):
        try:
            event = parse_calendar_event(text)
        except ValueError as error:
            normal = given.normalise(text)
            if not normal:
                raise ValueError(f"OnCalendar={text}: {error}") from None
            event = parse_calendar_event(normal)
        try:
            form = translate_event(event, facts.this_year)
        except ValueError as error:
            raise ValueError(f"OnCalendar={text}: {error}") from None
        expressions.append(form.expression)
        zones.add(event.zone)
        if form.difference:
            reasons.append(form.difference)
    if len(zones) > 1:
        raise ValueError("its calendar events are in several time zones; a schedule has one")
    when: Table = {"cron": expressions[0] if len(expressions) == 1 else expressions}
    if zones != {""}:
        when["zone"] = zones.pop()
    return when


def _translate_repetition(timer: UnitFile, repeated: list[str], reasons: list[str]) -> Table:
    spans = [parse_time_span(value) for key in repeated for value in timer.values("Timer", key)]
    step_s = min(spans)
    if not 1 <= step_s <= _LONGEST_EVERY_S:
        raise ValueError("it repeats more often than every second, or less than once a year")
    origin = "a start of the machine"
    if repeated == ["OnUnitInactiveSec"]:
        origin = "the end of a run"
    reasons.append(
        f"every {format_duration(step_s)} from the midnight before the import on, not from {origin}"
    )
    # A timer with OnBootSec= runs soon after each start of the machine.
    return {"every": format_duration(step_s), "catch_up": "last"}
