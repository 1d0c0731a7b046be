"""Formatting and parsing of instants, in local time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from mythjobs.model.life import JobState
from mythjobs.model.units import MAX_WALL_MS, humanize_duration, parse_duration
from mythjobs.model.zone import find_offset_change_ms

# An end that is nearer than this is shown with seconds.
_SOON_MS: Final = 600_000
_DAYS_AGO: Final = {"today": 0, "yesterday": 1}


def format_time(at_ms: int | None) -> str:
    """Return a local time like `2026-11-03 22:00:05`; "" for None."""
    if at_ms is None:
        return ""
    return f"{_to_local(at_ms):%Y-%m-%d %H:%M:%S}"


def format_short_time(at_ms: int | None, now_ms: int) -> str:
    """Return a local time like `22:00` if today, else `2026-11-03 22:00`; "" for None."""
    if at_ms is None:
        return ""
    at = _to_local(at_ms)
    today = at.date() == _to_local(now_ms).date()
    return f"{at:%H:%M}" if today else f"{at:%Y-%m-%d %H:%M}"


def format_end_time(at_ms: int | None, now_ms: int) -> str:
    """Return the local time of an end, as format_short_time(), but with seconds if these matter:
    `22:00:05` if that is less than ten minutes away and no full minute."""
    text = format_short_time(at_ms, now_ms)
    if at_ms is None or abs(at_ms - now_ms) >= _SOON_MS or at_ms // 1000 % 60 == 0:
        return text
    return f"{text}:{_to_local(at_ms):%S}"


def format_time_left(at_ms: int, now_ms: int) -> str:
    """Return the time until an instant, rounded to one unit: `9 s`, `5 min`, `3 h`, `4 d`."""
    left_s = max(0, math.ceil((at_ms - now_ms) / 1000))
    for unit, size, least_s in (("d", 86_400, 172_800), ("h", 3600, 6000), ("min", 60, 100)):
        if left_s >= least_s:
            return f"{round(left_s / size)} {unit}"
    return f"{left_s} s"


def format_job_left(job: Mapping[str, Any], now_ms: int) -> str:
    """Return the time that a job has left: `5 min` as its program reported, `~5 min` as estimated,
    "" if unknown."""
    if job["eta_ms"] is not None:
        return format_time_left(job["eta_ms"], now_ms)
    estimated_ms = job.get("estimated_end_ms")
    return "" if estimated_ms is None else f"~{format_time_left(estimated_ms, now_ms)}"


def find_percent(job: Mapping[str, Any]) -> float | None:
    """Return how much of a job is done, as reported or else as estimated; None if unknown.

    A job that has succeeded is done, whatever its program reported last.
    """
    reported: float | None = job["progress"]
    if reported is not None and job["state"] == JobState.SUCCEEDED:
        return 100.0
    return job.get("estimated_progress") if reported is None else reported


def format_job_progress(job: Mapping[str, Any]) -> str:
    """Return how much of a job is done: `42 %` as reported, `~42 %` as estimated, else ""."""
    percent = find_percent(job)
    if percent is None:
        return ""
    return f"~{percent:.0f} %" if job["progress"] is None else f"{percent:g} %"


def format_run_time(job: Mapping[str, Any], now_ms: int) -> str:
    """Return how long the last attempt of a job ran, or has run so far: `1 h 8 min`; "" for a job
    that is queued or has not started."""
    if job["state"] == JobState.QUEUED or job.get("started_ms") is None:
        return ""
    if job["run_s"] is not None:
        # Run times are measured in milliseconds.
        return humanize_duration(job["run_s"]) if job["run_s"] >= 0.001 else "under 1 ms"
    # Whole seconds: the machine may differ from this one by fractions of a second.
    return humanize_duration(max(1, (now_ms - job["started_ms"]) // 1000)).replace(".0 s", " s")


def parse_instant_ms(text: str, now_ms: int) -> int:
    """Parse an instant to ms since 1970 (UTC): `now`, `+2h`, `2026-11-03 22:00[:05][+01:00]`, or
    `22:00`, which is the next time that clocks show it. Raises ValueError.
    """
    if text == "now":
        return now_ms
    at_ms = _parse_ms(text, now_ms)
    if not 0 <= at_ms <= MAX_WALL_MS:
        raise ValueError(f'"{text}" is out of range; years are 1970 to 9999')
    return round(at_ms)


def parse_past_ms(text: str, now_ms: int) -> int:
    """Parse an instant in the past to ms since 1970 (UTC): `2h` ago, `22:00`, which is the last
    time that clocks showed it, `today` or `yesterday` (at 0:00), `2026-11-03`, or
    `2026-11-03 22:00[:05][+01:00]`. Raises ValueError.
    """
    try:
        at_ms = _parse_past_ms(text, now_ms)
    except (ValueError, OverflowError):
        raise ValueError(
            f'"{text}" is not a time in the past; write it like "2h" (ago), "22:00", "yesterday" '
            'or "2026-11-03 22:00"'
        ) from None
    if at_ms > now_ms:
        raise ValueError(f'"{text}" is in the future')
    if at_ms < 0:
        raise ValueError(f'"{text}" is before 1970')
    return round(at_ms)


def _parse_past_ms(text: str, now_ms: int) -> float:
    if text in _DAYS_AGO:
        return _to_ms(datetime.combine(_shift_day(now_ms, -_DAYS_AGO[text]), time.min))
    if ":" in text and len(text) <= 5:
        return max(each for each in _list_shown(text, now_ms) if each <= now_ms)
    if "-" in text[1:]:
        return _parse_date_ms(text)
    return now_ms - parse_duration(text.removeprefix("-")) * 1000


def _parse_ms(text: str, now_ms: int) -> float:
    if text.startswith("+"):
        return now_ms + parse_duration(text[1:]) * 1000
    try:
        if len(text) <= 5:
            return min(each for each in _list_shown(text, now_ms) if each > now_ms)
        return _parse_date_ms(text)
    except (ValueError, OverflowError):
        raise ValueError(
            f'"{text}" is not a time; write it like "+2h", "22:00" or "2026-11-03 22:00"'
        ) from None


def _parse_date_ms(text: str) -> float:
    at = datetime.fromisoformat(text)
    return _to_ms(at) if at.tzinfo is None else at.timestamp() * 1000


def _list_shown(text: str, now_ms: int) -> list[float]:
    """Return the instants (ms) around the present at which clocks show a time like `22:00`.

    A day on which clocks are set has it twice or not at all, so the days around are listed too.
    """
    clock = datetime.strptime(text, "%H:%M").time()  # noqa: DTZ007 (local)
    days = [_shift_day(now_ms, number) for number in range(-3, 4)]
    return [at_ms for day in days for at_ms in _find_instants(datetime.combine(day, clock))]


def _find_instants(local: datetime) -> list[float]:
    """Return the instants (ms) at which clocks show a local time: one; two, in order, if they are
    set back then; none if they skip it."""
    found = {local.replace(fold=fold).astimezone() for fold in (0, 1)}
    return sorted(each.timestamp() * 1000 for each in found if each.replace(tzinfo=None) == local)


def _to_ms(local: datetime) -> float:
    """Return the instant (ms) of a local time: the first of two; for a time that clocks skip, the
    first instant after the gap, as in schedules."""
    shown = _find_instants(local)
    if shown:
        return shown[0]
    # The two readings of such a time lie before and after the change of the clocks.
    low, *_, high = sorted(int(local.replace(fold=fold).timestamp()) for fold in (0, 1))
    return find_offset_change_ms(low * 1000, high * 1000, _to_local)


def _shift_day(now_ms: int, days: int) -> date:
    return _to_local(now_ms).date() + timedelta(days=days)


def _to_local(at_ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(at_ms / 1000).astimezone()
    except ValueError:  # TZ has an offset of a day or more, which datetime refuses
        return datetime.fromtimestamp(at_ms / 1000, UTC)
