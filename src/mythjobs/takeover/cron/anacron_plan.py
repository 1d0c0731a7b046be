"""Plan of an anacrontab: each job as a command and a schedule, or the reason why not."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from mythjobs.takeover.cron.anacrontab import AnacronLine, parse_anacrontab
from mythjobs.takeover.cron.cron_plan import (
    build_cron_command,
    build_cron_environment,
    describe_mail,
    find_mail_address,
    int_or_zero,
)
from mythjobs.takeover.cron.crontab import InvalidLine
from mythjobs.takeover.entry import ImportFacts, ImportMark, Place, PlanEntry, Table
from mythjobs.takeover.naming import derive_name
from mythjobs.takeover.program import ShellProgram, build_schedule
from mythjobs.takeover.refusals import refuse_text, refuse_user

_USER: Final = "root"
_HOURS: Final = re.compile(r"(\d{1,2})-(\d{1,2})")
_WEEK: Final = 7


@dataclass(frozen=True, slots=True)
class Anacron:
    """Text of an anacrontab. starts_at: the hour and minute at which anacron is first started each
    day. last_runs: day of the last run of each job."""

    path: str
    text: str
    starts_at: tuple[int, int]
    last_runs: Mapping[str, dt.date]


def plan_anacrontab(anacron: Anacron, facts: ImportFacts) -> Iterator[PlanEntry]:
    """Yield an entry for each job, in their order. Names may be equal."""
    seen: dict[str, int] = {}
    for line in parse_anacrontab(anacron.text):
        occurrence = seen.get(line.raw, 0)
        seen[line.raw] = occurrence + 1
        place = Place("file", anacron.path, line.raw, occurrence)
        if isinstance(line, InvalidLine):
            yield PlanEntry(place, line.number, "", line.raw, _USER, ImportMark.DECIDE, (line.why,))
        else:
            yield _plan_line(line, place, anacron, facts)


def _plan_line(line: AnacronLine, place: Place, anacron: Anacron, facts: ImportFacts) -> PlanEntry:
    entry = PlanEntry(place, line.number, line.period, line.text, _USER, ImportMark.DIFFERENT)
    if line.disabled_as:
        return entry.skipped(f"taken over as {line.disabled_as}")
    refusal = refuse_user(_USER, facts) or refuse_text(line.raw, line.settings)
    if refusal:
        return entry.skipped(refusal, ImportMark.DECIDE)
    try:
        when, reason = _translate(line, anacron)
    except ValueError as error:
        return entry.skipped(str(error), ImportMark.DECIDE)
    name = derive_name(line.text)
    settings = {"PATH": "/usr/bin:/bin", **line.settings}
    command = build_cron_command(
        name,
        f"{anacron.path} line {line.number}",
        ShellProgram(settings.get("SHELL") or "/bin/sh", line.text),
        build_cron_environment(settings, facts.accounts[_USER], facts),
        facts.accounts[_USER],
        facts,
    )
    # Anacron starts in / and not in the home directory.
    command["cwd"] = "/"
    schedule = build_schedule(name, when, facts)
    delay_min = int_or_zero(line.settings.get("RANDOM_DELAY", ""))
    if delay_min:
        schedule["spread"] = f"{delay_min}m"
    address = find_mail_address(line.settings, _USER, facts)
    reasons = (reason, describe_mail(address)) if address else (reason,)
    return PlanEntry(
        place, line.number, line.period, line.text, _USER, ImportMark.DIFFERENT, reasons, name,
        command, schedule, address,
    )  # fmt: skip


def _translate(line: AnacronLine, anacron: Anacron) -> tuple[Table, str]:
    """Return when the schedule runs, and what differs from anacron. Raises ValueError."""
    hour, minute = anacron.starts_at
    end_hour = 24
    given = line.settings.get("START_HOURS_RANGE")
    if given is not None:
        hours = _HOURS.fullmatch(given)
        if hours is None or not int(hours[1]) < int(hours[2]) <= 24:
            raise ValueError(f"START_HOURS_RANGE={given} is not a range of hours like 3-22")
        begin, end_hour = int(hours[1]), int(hours[2])
        hour, minute = (begin, 0) if begin > hour else (hour, minute)
    start = hour * 60 + minute + line.delay_min
    hour, minute = divmod(start, 60)
    if hour >= end_hour:
        raise ValueError(
            f"its delay of {line.delay_min} min after {anacron.starts_at[0]:02}:"
            f"{anacron.starts_at[1]:02} is past the end of its hours"
        )
    time = f"{hour:02}:{minute:02}"
    if line.days == 1:
        return {"between": f"{time}-{end_hour:02}:00"}, (
            f"once a day, as soon as possible from {time} on, not only after a start of anacron"
        )
    last = anacron.last_runs.get(line.job)
    if line.days == _WEEK:
        # cron counts from Sunday; without a last run, Monday.
        weekday = (last.isoweekday() % _WEEK) if last else 1
        return {"cron": f"{minute} {hour} * * {weekday}", "catch_up": "last"}, (
            f"on one day of the week at {time}; if missed, as soon as possible"
        )
    if line.period in ("@monthly", "@yearly", "@annually"):
        months = "*" if line.period == "@monthly" else "1"
        return {"cron": f"{minute} {hour} 1 {months} *", "catch_up": "last"}, (
            f"on the first day at {time}; if missed, as soon as possible"
        )
    if last is None:
        return {"every": f"{line.days}d", "catch_up": "last"}, (
            f"every {line.days} days from now on; if missed, as soon as possible"
        )
    return {"every": f"{line.days}d", "start": f"{last} {time}", "catch_up": "last"}, (
        f"every {line.days} days at {time}; if missed, as soon as possible"
    )
