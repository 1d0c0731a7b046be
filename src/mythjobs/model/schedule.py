"""Schedule: a calendar that submits jobs of a command; parser of its definition."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from mythjobs.errors import DefinitionError
from mythjobs.model import toml_values as toml
from mythjobs.model.names import MAX_NAME_LENGTH, NAME_SYNTAX, is_short_name
from mythjobs.model.notify_policy import read_heartbeat
from mythjobs.model.units import format_duration
from mythjobs.model.weekly import FULL, parse_range
from mythjobs.model.zone import load_zone

# Values of `where` besides the name of a machine, which cannot have a blank.
ANY_MACHINE: Final = "any machine"
EACH_MACHINE: Final = "each machine"
CATCH_UP: Final = ("skip", "last", "all")
OVERLAP: Final = ("skip", "queue", "allow")
DST: Final = ("once", "clock")
MAX_AT_MOST: Final = 100

_KEYS: Final = (
    "name", "command", "summary", "cron", "between", "every", "start", "zone", "where", "dst",
    "catch_up", "overlap", "at_most", "spread", "start_within", "late_after", "priority",
    "arguments", "retry", "heartbeat",
)  # fmt: skip
# Keys that show that the table is the definition of a command.
_COMMAND_KEYS: Final = ("argv", "shell", "parameters")
_WHEN_KEYS: Final = ("cron", "between", "every")
_ALIASES: Final = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
# What cronie, robfig/cron and others accept before the fields.
_ZONE_PREFIX: Final = re.compile(r"(?:CRON_)?TZ=(\S*) ")
_MAX_EXPRESSIONS: Final = 50
_MAX_EVERY_S: Final = 366 * 86_400.0
_START_FORMATS: Final = ("%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d")
_START_SYNTAX: Final = 'must be a local time like "2026-11-03 00:00"'


@dataclass(frozen=True, slots=True)
class Cron:
    """Cron expressions with five fields each. dst: "once" or "clock", "" by each expression."""

    expressions: tuple[str, ...]
    dst: str = ""


@dataclass(frozen=True, slots=True)
class Between:
    """Once in these hours: on each of `days` (0 is Monday) from minute `start` on, for `minutes`.

    text: as the author wrote it.
    """

    text: str
    days: frozenset[int]
    start: int
    minutes: int


@dataclass(frozen=True, slots=True)
class Every:
    """Every `step_ms` of real time, from `start` on.

    start: day, and minute of that day, in the schedule's zone. None: it has to be completed.
    """

    step_ms: int
    start: tuple[dt.date, int] | None = None


When = Cron | Between | Every


@dataclass(frozen=True, slots=True)
class Schedule:
    """One schedule, as its author defined it (docs/schedules.md describes the keys).

    zone: "" is the master's. where: ANY_MACHINE, EACH_MACHINE or a machine's name. failures:
    number of further jobs that are submitted for a tick after its job has failed. heartbeat: URL
    that is called at start and end of its jobs.
    """

    name: str
    command: str
    when: When
    summary: str = ""
    zone: str = ""
    where: str = ANY_MACHINE
    catch_up: str = "last"
    overlap: str = "skip"
    at_most: int = 10
    spread_s: float = 0.0
    start_within_s: float | None = None
    late_after_s: float | None = None
    priority: int = 0
    arguments: dict[str, str | int | float] = field(default_factory=dict)
    failures: int = 0
    backoff_s: float = 60.0
    heartbeat: str = ""

    @property
    def machine(self) -> str:
        """Name of the only machine to run on, or ""."""
        return "" if self.where in (ANY_MACHINE, EACH_MACHINE) else self.where


def schedule_from_table(table: toml.Table, *, known_zone: bool = True) -> Schedule:
    """Parse a schedule's definition. Raises DefinitionError, which names the invalid key.

    Cron expressions are checked only by scheduler/ticks.py. known_zone: refuse a zone that this
    machine does not know.
    """
    for key in table:
        if key in _COMMAND_KEYS:
            raise DefinitionError(
                key, "is a key of a command; define that with `mythjobs command add`, and name it "
                'in the schedule, like command = "backup"',
            )  # fmt: skip
        if key not in _KEYS:
            raise DefinitionError(key, f"unknown key; known are {', '.join(_KEYS)}")
    when = _parse_when(table)
    zone = toml.read_text(table, "zone")
    if known_zone:
        try:
            load_zone(zone)
        except ValueError as error:
            raise DefinitionError("zone", str(error)) from None
    overlap = toml.read_choice(table, "overlap", OVERLAP, "skip")
    catch_up = toml.read_choice(table, "catch_up", CATCH_UP, "last")
    if isinstance(when, Between):
        for key, why in _NOT_WITH_BETWEEN.items():
            if key in table:
                raise DefinitionError(key, why)
        catch_up = "skip"
    at_most = toml.read_int(table, "at_most", 1, MAX_AT_MOST)
    if at_most is not None and catch_up != "all" and overlap != "queue":
        raise DefinitionError("at_most", 'needs catch_up = "all" or overlap = "queue"')
    failures, backoff_s = _parse_retry(table.get("retry", {}))
    spread_s = toml.read_duration(table, "spread") or 0.0
    if spread_s > _MAX_EVERY_S:
        raise DefinitionError("spread", "must be at most 366d")
    return Schedule(
        name=_parse_name(table, "name", 'name = "nightly-backup"'),
        command=_parse_name(table, "command", 'command = "backup"'),
        when=when,
        summary=toml.read_text(table, "summary"),
        zone=zone,
        where=_parse_where(table),
        catch_up=catch_up,
        overlap=overlap,
        at_most=10 if at_most is None else at_most,
        spread_s=spread_s,
        start_within_s=toml.read_duration(table, "start_within"),
        late_after_s=toml.read_duration(table, "late_after"),
        priority=toml.read_int(table, "priority", -100, 100) or 0,
        arguments=_parse_arguments(table.get("arguments", {})),
        failures=failures,
        backoff_s=backoff_s,
        heartbeat=read_heartbeat(table),
    )


_NOT_WITH_BETWEEN: Final = {
    "catch_up": "cannot be combined with between: outside its hours no job is submitted, and in "
    "its hours none is missed",
    "start_within": "cannot be combined with between, whose end is the latest start",
}


def _parse_name(table: toml.Table, key: str, example: str) -> str:
    name = toml.read_text(table, key)
    if not name:
        raise DefinitionError(key, f"is missing; add it, like {example}")
    if not is_short_name(name):
        syntax = f"{NAME_SYNTAX} (up to {MAX_NAME_LENGTH} characters)"
        raise DefinitionError(key, f'"{name}" is invalid; use {syntax}')
    return name


def _parse_when(table: toml.Table) -> When:
    given = [key for key in _WHEN_KEYS if key in table]
    if len(given) != 1:
        found = f"; found {' and '.join(given)}" if given else ""
        raise DefinitionError(
            "cron",
            'give one of cron = "30 2 * * *", between = "02:00-05:00" and every = "6h"' + found,
        )
    for key, needed in (("start", "every"), ("dst", "cron")):
        if key in table and needed not in table:
            raise DefinitionError(key, f"is for {needed}; remove it")
    match given[0]:
        case "cron":
            return _parse_cron(table)
        case "between":
            return _parse_between(table)
    every_s = toml.read_duration(table, "every", least_s=1)
    assert every_s is not None
    if every_s > _MAX_EVERY_S:
        raise DefinitionError("every", "must be at most 366d")
    return Every(round(every_s * 1000), _parse_start(table))


def _parse_cron(table: toml.Table) -> Cron:
    value = table["cron"]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, list) or not all(isinstance(each, str) for each in texts):
        raise DefinitionError("cron", 'must be text, like "30 2 * * *", or a list of texts')
    if not 0 < len(texts) <= _MAX_EXPRESSIONS:
        raise DefinitionError("cron", f"must have 1 to {_MAX_EXPRESSIONS} expressions")
    expressions = tuple(_parse_expression(each) for each in texts)
    return Cron(expressions, toml.read_choice(table, "dst", DST, ""))


def _parse_expression(text: str) -> str:
    """Return a cron expression with five fields. Their values are not checked."""
    fields = text.split()
    text = " ".join(fields)
    zone = _ZONE_PREFIX.match(text)
    if zone:
        raise DefinitionError("cron", f'"{text}" has a time zone; write zone = "{zone[1]}"')
    if text.startswith("@"):
        if text.lower() in _ALIASES:
            return _ALIASES[text.lower()]
        raise DefinitionError("cron", f'"{text}" {_find_remedy(fields)}')
    if len(fields) != 5:
        more = "; seconds and years cannot be given" if len(fields) in (6, 7) else ""
        raise DefinitionError(
            "cron",
            f'"{text}" has {len(fields)} field{"" if len(fields) == 1 else "s"}; write the 5 '
            f'fields minute, hour, day of month, month, day of week, like "30 2 * * *"{more}',
        )
    return text


def _find_remedy(parts: list[str]) -> str:
    """Return what to write instead of a nickname of cron that is none here."""
    if parts[0].lower() == "@reboot":
        return "is no calendar; start the program from a service of the system instead"
    if parts[0].lower() == "@every":
        return f'is an interval; write every = "{parts[1] if len(parts) > 1 else "6h"}"'
    return f"is unknown; known are {', '.join(_ALIASES)}"


def _parse_between(table: toml.Table) -> Between:
    text = toml.read_text(table, "between")
    try:
        hours = parse_range(text)
    except ValueError as error:
        raise DefinitionError("between", str(error)) from None
    if hours.level != FULL:
        raise DefinitionError(
            "between",
            f'"{text}" has a level; write only days and hours, like "mon-fri 02:00-05:00"',
        )
    return Between(text, hours.days, hours.start, hours.minutes)


def _parse_start(table: toml.Table) -> tuple[dt.date, int] | None:
    if "start" not in table:
        return None
    text = toml.read_text(table, "start")
    for form in _START_FORMATS:
        try:
            at = dt.datetime.strptime(text, form)  # noqa: DTZ007 (local time in the zone)
        except ValueError:
            continue
        if not 1970 <= at.year < 9990:
            break
        return at.date(), 60 * at.hour + at.minute
    raise DefinitionError("start", f'"{text}" {_START_SYNTAX}')


def _parse_where(table: toml.Table) -> str:
    where = toml.read_text(table, "where", ANY_MACHINE)
    if not where or (" " in where and where not in (ANY_MACHINE, EACH_MACHINE)):
        raise DefinitionError(
            "where", f'must be "{ANY_MACHINE}", "{EACH_MACHINE}", or the name of a machine'
        )
    return where


def _parse_arguments(value: object) -> dict[str, str | int | float]:
    if not isinstance(value, Mapping):
        raise DefinitionError("arguments", 'must be a table, like [arguments] with file = "…"')
    for name, given in value.items():
        if isinstance(given, bool) or not isinstance(given, str | int | float):
            raise DefinitionError(f"arguments.{name}", "must be text or a number")
    return dict(value)


def _parse_retry(value: object) -> tuple[int, float]:
    given = toml.read_table(value, "retry", "failures = 1", ("failures", "backoff"))
    failures = toml.read_int(given, "failures", 1, 100, "retry.") or 0
    backoff_s = toml.read_duration(given, "backoff", "retry.")
    if not failures and given:
        raise DefinitionError("retry.backoff", "needs failures = N, the number of further jobs")
    return failures, 60.0 if backoff_s is None else backoff_s


def describe_when(when: When) -> str:
    """Return when a schedule runs, in one line: `30 2 * * *`, `between 02:00-05:00`."""
    match when:
        case Cron(expressions):
            return "; ".join(expressions)
        case Between(text):
            return f"between {text}"
        case Every(step_ms):
            return f"every {format_duration(step_ms / 1000)}"
