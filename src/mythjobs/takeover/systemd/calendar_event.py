"""Parser of the calendar events of systemd.time(7), as in `OnCalendar=Mon..Fri *-*-* 02:00`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from mythjobs.model.zone import load_zone

WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FULL_WEEKDAYS: Final = (
    "monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday",
)  # fmt: skip
_SHORTHANDS: Final = {
    "minutely": "*-*-* *:*:00",
    "hourly": "*-*-* *:00:00",
    "daily": "*-*-* 00:00:00",
    "monthly": "*-*-01 00:00:00",
    "weekly": "mon *-*-* 00:00:00",
    "yearly": "*-01-01 00:00:00",
    "annually": "*-01-01 00:00:00",
    "anually": "*-01-01 00:00:00",  # systemd accepts this spelling, too
    "quarterly": "*-01,04,07,10-01 00:00:00",
    "biannually": "*-01,07-01 00:00:00",
    "bi-annually": "*-01,07-01 00:00:00",
    "semiannually": "*-01,07-01 00:00:00",
    "semi-annually": "*-01,07-01 00:00:00",
}
# Systemd knows no later years.
LATEST_YEAR: Final = 2199
_ZONE: Final = re.compile(r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*")
_DATE: Final = re.compile(
    r"(?:(?P<year>[\d*./,]+)-)?(?P<month>[\d*./,]+)(?P<sign>[-~])(?P<day>[\d*./,]+)"
)
_TERM: Final = re.compile(r"(\d+(?:\.\d+)?)(?:\.\.(\d+(?:\.\d+)?))?(?:/(\d+(?:\.\d+)?))?")


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """Instants at which all components match. An empty set matches every value.

    weekdays: 0 is Monday. days: of the month; with is_from_end 1 is the last day. seconds: may
    have fractions. zone: "" is the local time zone.
    """

    weekdays: frozenset[int]
    years: frozenset[int]
    months: frozenset[int]
    days: frozenset[int]
    is_from_end: bool
    hours: frozenset[int]
    minutes: frozenset[int]
    seconds: frozenset[float]
    zone: str


def parse_calendar_event(text: str) -> CalendarEvent:
    """Return the event. Raises ValueError with the part that is not understood."""
    parts = text.split()
    zone = ""
    if len(parts) > 1 and parts[-1].lower() == "utc":
        zone = parts.pop().upper()
    elif len(parts) > 1 and _is_zone(parts[-1]):
        zone = parts.pop()
        load_zone(zone)
    if not parts:
        raise ValueError("the calendar event is empty")
    if parts[0].startswith("@"):
        raise ValueError(f"{parts[0]} is one instant, not a repetition")
    if len(parts) == 1 and parts[0].lower() in _SHORTHANDS:
        parts = _SHORTHANDS[parts[0].lower()].split()
    weekdays: set[int] = set()
    if parts[0][0].isalpha():
        weekdays = _parse_weekdays(parts.pop(0))
    date = parts.pop(0) if parts and _is_date(parts[0]) else "*-*-*"
    time = parts.pop(0) if parts and ":" in parts[0] else "00:00:00"
    if parts:
        raise ValueError(f'"{parts[0]}" is not a weekday, a date or a time of systemd.time(7)')
    found = _DATE.fullmatch(date)
    if found is None:
        raise ValueError(f'"{date}" is not a date like *-*-01')
    is_from_end = found["sign"] == "~"
    clock = time.split(":")
    if len(clock) not in (2, 3):
        raise ValueError(f'"{time}" is not a time like 02:00')
    return CalendarEvent(
        frozenset(weekdays) if len(weekdays) < 7 else frozenset(),
        _parse_component(found["year"] or "*", 1970, LATEST_YEAR, "year"),
        _parse_component(found["month"], 1, 12, "month"),
        # Systemd counts at most 28 days from the end.
        _parse_component(
            found["day"], 1, 28 if is_from_end else 31, "day", is_downwards=is_from_end
        ),
        is_from_end,
        _parse_component(clock[0], 0, 23, "hour"),
        _parse_component(clock[1], 0, 59, "minute"),
        _parse_seconds(clock[2] if len(clock) == 3 else "00"),
        zone,
    )


def _is_zone(text: str) -> bool:
    # Systemd asks the time zones first, and no weekday has the name of one.
    return _ZONE.fullmatch(text) is not None and not _is_weekdays(text)


def _is_date(text: str) -> bool:
    return ":" not in text and ("-" in text or "~" in text)


def _is_weekdays(text: str) -> bool:
    try:
        _parse_weekdays(text)
    except ValueError:
        return False
    return True


def _parse_weekdays(text: str) -> set[int]:
    found: set[int] = set()
    for term in text.split(","):
        if not term:
            continue
        first, dots, last = term.partition("..")
        if not dots:
            first, dots, last = term.partition("-")
        begin = _read_weekday(first)
        end = _read_weekday(last) if dots else begin
        if end < begin:
            raise ValueError(f'the weekdays "{term}" end before they begin')
        found |= set(range(begin, end + 1))
    return found


def _read_weekday(text: str) -> int:
    lower = text.lower()
    for names in (WEEKDAYS, _FULL_WEEKDAYS):
        if lower in names:
            return names.index(lower)
    raise ValueError(f'"{text}" is not a weekday')


def _parse_seconds(text: str) -> frozenset[float]:
    if "." not in text.replace("..", ""):
        return frozenset(map(float, _parse_component(text, 0, 59, "second")))
    seconds: set[float] = set()
    for term in text.split(","):
        found = _TERM.fullmatch(term)
        if found is None:
            raise ValueError(f'second "{term}" is not understood')
        first, last = float(found[1]), float(found[2]) if found[2] else None
        step = float(found[3]) if found[3] else 0.0
        if step or last is not None:
            end = 59.999999 if last is None else last
            count = int((end - first) / (step or 1.0))
            seconds |= {round(first + each * (step or 1.0), 6) for each in range(count + 1)}
        else:
            seconds.add(first)
    return frozenset(seconds)


def _parse_component(
    text: str, least: int, most: int, name: str, *, is_downwards: bool = False
) -> frozenset[int]:
    """Return the values of a component; empty for all values.

    is_downwards: days are counted from the end of the month, so that ~07/1 is 7, 6, … 1.
    """
    if text == "*":
        return frozenset()
    values: set[int] = set()
    for term in text.split(","):
        found = _TERM.fullmatch(term)
        if found is None or "." in "".join(each or "" for each in found.groups()):
            raise ValueError(f'{name} "{term}" is not understood')
        first, last, step = (int(each) if each else None for each in found.groups())
        assert first is not None
        if step == 0:
            raise ValueError(f'{name} "{term}": the repetition must be 1 or more')
        if name == "year":
            first, last = _complete_year(first), last and _complete_year(last)
        if not all(least <= each <= most for each in (first, first if last is None else last)):
            raise ValueError(f'{name} "{term}" is not between {least} and {most}')
        if last is None and step is None:
            values.add(first)
            continue
        end = last if last is not None else least if is_downwards else most
        step = step or 1
        if last is not None and last < first:
            raise ValueError(f'{name} "{term}" ends before it begins')
        if last is None and abs(end - first) < step:
            raise ValueError(f'{name} "{term}" goes beyond {end}, which systemd refuses')
        values |= set(range(first, end - 1, -step) if end < first else range(first, end + 1, step))
    return frozenset(values)


def _complete_year(year: int) -> int:
    """Return the year that systemd means: 12 is 2012, 70 is 1970."""
    return year + 2000 if year < 70 else year + 1900 if year < 100 else year
