"""Ticks of a schedule: the instants at which it asks for a run, in local time with its daylight
saving."""

from __future__ import annotations

import datetime as dt
import heapq
from collections.abc import Iterator
from itertools import islice
from typing import Final, NamedTuple

from mythjobs.errors import DefinitionError
from mythjobs.model.schedule import Between, Cron, Every, Schedule, When
from mythjobs.model.units import MAX_WALL_MS
from mythjobs.model.zone import instant_ms, overlap_ms, resolve_local_time, to_local
from mythjobs.scheduler.cron_fields import check_fields, replace_single_ranges

# Maximum number of ticks of a cron expression that are examined at once, at 50 µs each.
MAX_EXAMINED: Final = 500
_MINUTE_MS: Final = 60_000
_DAY: Final = dt.timedelta(days=1)


class Tick(NamedTuple):
    """One tick, at an instant (ms since 1970).

    runs: false for a local time that does not run because of daylight saving; its row has outcome
    `dst`. until_ms: end of the hours of `between`. note: what daylight saving did to the tick.
    """

    at_ms: int
    runs: bool = True
    until_ms: int | None = None
    note: str = ""


class DueTicks(NamedTuple):
    """Ticks that are due: `passed` in number, too many to be examined, then `ticks`.

    first_ms, last_ms: the first and the last of the `passed` ticks. more: after these ticks, others
    are due.
    """

    ticks: list[Tick]
    passed: int = 0
    first_ms: int = 0
    last_ms: int = 0
    more: bool = False


def check_when(schedule: Schedule) -> Schedule:
    """Return the schedule if its cron expressions are valid. Raises DefinitionError otherwise."""
    if isinstance(schedule.when, Cron):
        for each in schedule.when.expressions:
            check_expression(each)
    return schedule


def check_expression(text: str) -> None:
    """Raise DefinitionError for a cron expression that is invalid or never matches."""
    # cronsim is imported only for schedules with `cron`.
    from cronsim import CronSimError

    try:
        check_fields(text)
    except ValueError as error:
        raise DefinitionError("cron", f'"{text}" is not a cron expression: {error}') from None
    try:
        # From 2000 on: 29 February occurs in the first 50 years that cronsim searches.
        next(_simulate(text, dt.datetime(2000, 1, 1)))  # noqa: DTZ001 (a local time)
    except (CronSimError, StopIteration):
        raise DefinitionError("cron", f'"{text}" never matches a date') from None


def _simulate(text: str, after: dt.datetime) -> Iterator[dt.datetime]:
    """Return the local times of a cron expression after another local time, without end."""
    from cronsim import CronSim

    return CronSim(replace_single_ranges(text), after)


def iterate_ticks(when: When, zone: str, after_ms: int) -> Iterator[Tick]:
    """Yield the ticks after an instant, in order. No two of them have the same instant.

    zone: name of a time zone; "" is UTC. Raises ValueError if it is unknown.
    """
    match when:
        case Cron(expressions, dst):
            each = [_iterate_cron(text, is_once(text, dst), zone, after_ms) for text in expressions]
            return _merge(heapq.merge(*each)) if len(each) > 1 else _merge(each[0])
        case Between():
            return _merge(_iterate_between(when, zone, after_ms))
        case Every():
            return _iterate_every(when, zone, after_ms)


def next_ticks(when: When, zone: str, after_ms: int, count: int) -> list[Tick]:
    """Return the next ticks that run, at most `count`."""
    return list(islice((each for each in iterate_ticks(when, zone, after_ms) if each.runs), count))


def next_tick_ms(when: When, zone: str, after_ms: int) -> int | None:
    """Return the instant of the next tick, also of one that does not run; None if there is none."""
    found = next(iterate_ticks(when, zone, after_ms), None)
    return None if found is None else found.at_ms


def list_due(
    when: When, zone: str, after_ms: int, now_ms: int, *, limit: int, keep: int
) -> DueTicks:
    """Return the ticks after one instant and up to another.

    If there are more than `limit`, return how many could be passed over so that `keep` of them or
    more are left.
    """
    if isinstance(when, Every):
        return _list_due_every(when, zone, after_ms, now_ms, limit, keep)
    found: list[Tick] = []
    for each in iterate_ticks(when, zone, after_ms):
        if each.at_ms > now_ms:
            return DueTicks(found)
        found.append(each)
        if len(found) > limit:
            passed = found[: limit - keep]
            return DueTicks([], len(passed), passed[0].at_ms, passed[-1].at_ms, more=True)
    return DueTicks(found)


def count_ticks(when: When, zone: str, first_ms: int, to_ms: int) -> tuple[int, int]:
    """Return the number of ticks from `first_ms`, a tick, to `to_ms`, and the last of them."""
    count, last_ms = 1, first_ms
    while True:
        due = list_due(when, zone, last_ms, to_ms, limit=MAX_EXAMINED, keep=1)
        count += due.passed + len(due.ticks)
        if due.ticks or due.passed:
            last_ms = due.ticks[-1].at_ms if due.ticks else due.last_ms
        if not due.more:
            return count, last_ms


def is_once(expression: str, dst: str) -> bool:
    """Return whether an expression runs once for each local time that it names, rather than as
    often as clocks show it.

    Without a setting: true for fixed hours and minutes, as in Debian's cron.
    """
    if dst:
        return dst == "once"
    minute, hour = expression.split()[:2]
    return not minute.startswith("*") and not hour.startswith("*")


def _iterate_cron(text: str, once: bool, zone: str, after_ms: int) -> Iterator[Tick]:
    # Of a time that occurs twice, the second occurrence of an earlier local time may come next.
    start = to_local(after_ms - overlap_ms(after_ms, zone), zone).replace(tzinfo=None)
    later: list[Tick] = []  # second occurrences of local times, not yet yielded
    try:
        for naive in _simulate(text, start.replace(microsecond=0, fold=0)):
            at = resolve_local_time(naive, zone)
            while later and later[0].at_ms < at.first_ms:
                yield heapq.heappop(later)
            note = f"{naive:%H:%M} does not exist on this day" if at.is_skipped else ""
            if at.first_ms > after_ms:
                yield Tick(at.first_ms, once or not at.is_skipped, note=note)
            if at.second_ms is not None and at.second_ms > after_ms:
                note = f"{naive:%H:%M} occurs twice on this day, and ran the first time"
                heapq.heappush(later, Tick(at.second_ms, not once, note=note if once else ""))
            if at.first_ms > MAX_WALL_MS - 2 * 86_400_000:
                return
    except OverflowError:  # the year 9999 ended
        return


def _iterate_between(when: Between, zone: str, after_ms: int) -> Iterator[Tick]:
    day = to_local(after_ms, zone).date() - 2 * _DAY
    while day.year < 9999:
        if day.weekday() in when.days:
            start_ms = instant_ms(day, when.start, zone)
            if start_ms > after_ms:
                yield _tick_between(when, day, start_ms, zone)
        day += _DAY


def _tick_between(when: Between, day: dt.date, start_ms: int, zone: str) -> Tick:
    end_ms = instant_ms(day, when.start + when.minutes, zone)
    if end_ms <= start_ms:  # the hours lie in a gap altogether, or end in the second occurrence
        end_ms = start_ms + when.minutes * _MINUTE_MS
    naive = dt.datetime.combine(day, dt.time()) + dt.timedelta(minutes=when.start)
    is_skipped = resolve_local_time(naive, zone).is_skipped
    note = f"{naive:%H:%M} does not exist on this day" if is_skipped else ""
    return Tick(start_ms, until_ms=end_ms, note=note)


def _merge(ticks: Iterator[Tick]) -> Iterator[Tick]:
    """Yield ticks in order, those of one instant as one tick."""
    last: Tick | None = None
    notes: list[str] = []
    for each in ticks:
        if last is not None and each.at_ms == last.at_ms:
            runs, until_ms = last.runs or each.runs, each.until_ms or last.until_ms
            last = Tick(each.at_ms, runs, until_ms)
        else:
            if last is not None:
                yield last._replace(note=_join_notes(notes))
            last, notes = each, []
        if each.note and each.note not in notes:
            notes.append(each.note)
    if last is not None:
        yield last._replace(note=_join_notes(notes))


def _join_notes(notes: list[str]) -> str:
    if len(notes) < 2:
        return "".join(notes)
    first, last = notes[0].split()[0], notes[-1].split()[0]
    return f"{len(notes)} local times ({first} to {last}) do not exist on this day"


def _start_ms(when: Every, zone: str) -> int:
    assert when.start is not None, "the start of a schedule is completed when it is added"
    return instant_ms(*when.start, zone)


def _iterate_every(when: Every, zone: str, after_ms: int) -> Iterator[Tick]:
    start_ms = _start_ms(when, zone)
    at_ms = start_ms + max(0, (after_ms - start_ms) // when.step_ms + 1) * when.step_ms
    while at_ms <= MAX_WALL_MS:
        yield Tick(at_ms)
        at_ms += when.step_ms


def _list_due_every(
    when: Every, zone: str, after_ms: int, now_ms: int, limit: int, keep: int
) -> DueTicks:
    first = next(_iterate_every(when, zone, after_ms), None)
    if first is None or first.at_ms > now_ms:
        return DueTicks([])
    step_ms = when.step_ms
    count = (now_ms - first.at_ms) // step_ms + 1
    passed = count - keep if count > limit else 0
    ticks = [Tick(first.at_ms + number * step_ms) for number in range(passed, count)]
    return DueTicks(ticks, passed, first.at_ms, first.at_ms + max(0, passed - 1) * step_ms)
