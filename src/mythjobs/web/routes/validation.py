"""Checks of values in requests: ranges of numbers, states of jobs."""

from __future__ import annotations

import math
from typing import Final, TypeVar

from mythjobs.errors import BadRequest, NoSuchJob
from mythjobs.model.life import JobState
from mythjobs.model.units import MAX_WALL_MS
from mythjobs.protocol.job_changes import JobChanges, RerunChanges
from mythjobs.protocol.requests import Submit

C = TypeVar("C", bound=JobChanges)

MAX_WAIT_S: Final = 60.0
# Largest id that the store can hold (signed 64-bit). A larger id is treated as one that
# does not exist.
MAX_ID: Final = 2**63 - 1


def check_job_id(number: int) -> int:
    if not is_valid_id(number):
        raise NoSuchJob(f"there is no job {number}")
    return number


def check_batch_id(number: int) -> int:
    if not is_valid_id(number):
        raise NoSuchJob(f"there is no batch {number}")
    return number


def check_revision(number: int) -> int:
    if not 0 < number < 2**31:
        raise BadRequest(f"there is no revision {number}")
    return number


def check_time_ms(at_ms: int | None, name: str) -> int | None:
    if at_ms is not None and not 0 <= at_ms <= MAX_WALL_MS:
        raise BadRequest(f"{name}: must be milliseconds since 1970, from 0 to {MAX_WALL_MS}")
    return at_ms


def check_range(number: int, name: str, first: int, last: int) -> int:
    if not first <= number <= last:
        raise BadRequest(f"{name}: must be from {first} to {last}")
    return number


def is_valid_id(number: int) -> bool:
    return 0 < number <= MAX_ID


def check_submit(submit: Submit) -> Submit:
    """Check times and job ids of a submit. The master checks its other values."""
    check_time_ms(submit.not_before_ms, "not_before_ms")
    check_time_ms(submit.deadline_ms, "deadline_ms")
    for each in submit.after:
        check_job_id(each.job)
    return submit


def check_changes(changes: C) -> C:
    """Check times and job ids of the changes of a job. The master checks the other values."""
    check_time_ms(changes.not_before_ms, "not_before_ms")
    check_time_ms(changes.deadline_ms, "deadline_ms")
    if isinstance(changes, RerunChanges):
        for each in changes.after:
            check_job_id(each.job)
    return changes


def check_wait_s(wait: float) -> float:
    if not math.isfinite(wait) or wait < 0:
        raise BadRequest(f"wait: must be seconds, 0 or more (at most {MAX_WAIT_S:g} are waited)")
    return min(wait, MAX_WAIT_S)


def check_states(listed: str | None) -> tuple[str, ...]:
    """Return the states of a list with commas."""
    states = tuple(listed.split(",")) if listed else ()
    for each in states:
        if each not in tuple(JobState):
            raise BadRequest(f'state: "{each}" is not one of {", ".join(JobState)}')
    return states
