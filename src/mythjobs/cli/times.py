"""Formatting and parsing of instants, in local time."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from mythjobs.model.units import MAX_WALL_MS, parse_duration


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
    """Return how much of a job is done, as reported or else as estimated; None if unknown."""
    reported: float | None = job["progress"]
    return job.get("estimated_progress") if reported is None else reported


def format_job_progress(job: Mapping[str, Any]) -> str:
    """Return how much of a job is done: `42 %` as reported, `~42 %` as estimated, else ""."""
    if job["progress"] is not None:
        return f"{job['progress']:g} %"
    estimated = find_percent(job)
    return "" if estimated is None else f"~{estimated:.0f} %"


def parse_instant_ms(text: str, now_ms: int) -> int:
    """Parse an instant to ms since 1970 (UTC): `+2h`, `2026-11-03 22:00[:05][+01:00]`, or `22:00`,
    which is the next time that clocks show it. Raises ValueError.
    """
    at_ms = _parse_ms(text, now_ms)
    if not 0 <= at_ms <= MAX_WALL_MS:
        raise ValueError(f'"{text}" is out of range; years are 1970 to 9999')
    return round(at_ms)


def _parse_ms(text: str, now_ms: int) -> float:
    if text.startswith("+"):
        return now_ms + parse_duration(text[1:]) * 1000
    now = _to_local(now_ms)
    try:
        if len(text) <= 5:
            clock = datetime.strptime(text, "%H:%M")  # noqa: DTZ007 (converted below)
            at = now.replace(hour=clock.hour, minute=clock.minute, second=0, microsecond=0)
            at = at if at > now else at + timedelta(days=1)
        else:
            at = datetime.fromisoformat(text)
        # Convert with the UTC offset of that day, which differs from today's after a change to or
        # from summer time.
        at = at.replace(tzinfo=None).astimezone() if len(text) <= 5 else at.astimezone()
        return at.timestamp() * 1000
    except (ValueError, OverflowError):
        raise ValueError(
            f'"{text}" is not a time; write it like "+2h", "22:00" or "2026-11-03 22:00"'
        ) from None


def _to_local(at_ms: int) -> datetime:
    try:
        return datetime.fromtimestamp(at_ms / 1000).astimezone()
    except ValueError:  # TZ has an offset of a day or more, which datetime refuses
        return datetime.fromtimestamp(at_ms / 1000, UTC)
