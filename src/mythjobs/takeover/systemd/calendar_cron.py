"""Translation of a systemd calendar event to a cron expression, exactly or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from mythjobs.takeover.systemd.calendar_event import LATEST_YEAR, WEEKDAYS, CalendarEvent

_DAYS_OF_A_WEEK: Final = 7


class CronForm(NamedTuple):
    """A cron expression of five fields. difference: how it differs from the event, or ""."""

    expression: str
    difference: str


def translate_event(event: CalendarEvent, this_year: int) -> CronForm:
    """Return the cron expression of an event. Raises ValueError with the reason if none exists."""
    if event.years:
        coming = {each for each in event.years if each >= this_year}
        if not coming:
            raise ValueError("its years are past, so it never elapses again")
        if coming != set(range(this_year, LATEST_YEAR + 1)):
            raise ValueError("it is bound to certain years; a schedule repeats every year")
    if len(event.seconds) != 1:
        raise ValueError("it elapses several times a minute; a schedule does at most once")
    (second,) = event.seconds
    days, weekdays = _translate_days(event)
    fields = (
        _format_set(event.minutes, 0, 59),
        _format_set(event.hours, 0, 23),
        days,
        _format_set(event.months, 1, 12),
        weekdays,
    )
    return CronForm(
        " ".join(fields), f"starts at second 0 of its minute, not at {second:g}" if second else ""
    )


def _translate_days(event: CalendarEvent) -> tuple[str, str]:
    """Return the fields day of the month and day of the week.

    Cron runs if either field matches, systemd if both do. So events with both are translated only
    if cron has a sign for them: the first Monday, the last Friday.
    """
    if not event.days:
        return "*", _format_weekdays(event.weekdays)
    days = sorted(event.days)
    if not event.weekdays:
        if not event.is_from_end:
            return _format_set(event.days, 1, 31), "*"
        if days == [1]:
            return "L", "*"
        raise ValueError("it counts days from the end of the month; cron knows only the last day")
    numbers = [each + 1 for each in sorted(event.weekdays)]
    is_week = days == list(range(days[0], days[0] + _DAYS_OF_A_WEEK))
    if event.is_from_end:
        if is_week and days[0] == 1:
            return "*", ",".join(f"{each % _DAYS_OF_A_WEEK}L" for each in numbers)
    elif days == [29, 30, 31] or (is_week and days[0] % _DAYS_OF_A_WEEK == 1):
        week = days[0] // _DAYS_OF_A_WEEK + 1
        return "*", ",".join(f"{each % _DAYS_OF_A_WEEK}#{week}" for each in numbers)
    names = ", ".join(WEEKDAYS[each].capitalize() for each in sorted(event.weekdays))
    raise ValueError(
        f"it elapses on certain days of the month only if they are {names}; cron runs on either"
    )


def _format_weekdays(weekdays: frozenset[int]) -> str:
    # 1 is Monday, 7 is Sunday, so that ranges may end with Sunday.
    return _join(sorted(each + 1 for each in weekdays)) if weekdays else "*"


def _format_set(values: frozenset[int], least: int, most: int) -> str:
    """Return a field of cron: `*`, `*/15`, or numbers and ranges."""
    found = sorted(values)
    if not found or found == list(range(least, most + 1)):
        return "*"
    if len(found) > 2 and found[0] == least:
        step = found[1] - found[0]
        if step > 1 and found == list(range(least, most + 1, step)):
            return f"*/{step}"
    return _join(found)


def _join(values: Sequence[int]) -> str:
    return ",".join(
        f"{first}-{last}"
        if last > first + 1
        else str(first)
        if last == first
        else f"{first},{last}"
        for first, last in _find_runs(values)
    )


def _find_runs(values: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of each run of consecutive values."""
    first = last = values[0]
    for each in values[1:]:
        if each != last + 1:
            yield first, last
            first = each
        last = each
    yield first, last
