"""Numbers in requests, held within what the store and a waiting client can bear."""

from __future__ import annotations

import math
from typing import Final

from mythjobs.errors import BadRequest, NoSuchJob
from mythjobs.model.units import MAX_WALL_MS
from mythjobs.protocol.requests import Act, Submit

LONGEST_WAIT_S: Final = 60.0
# Ids are 64-bit in the store; a larger one is only a job that does not exist.
_MOST: Final = 2**63 - 1


def job_number(number: int) -> int:
    if not may_be_job(number):
        raise NoSuchJob(f"there is no job {number}")
    return number


def batch_number(number: int) -> int:
    if not 0 < number <= _MOST:
        raise NoSuchJob(f"there is no batch {number}")
    return number


def revision_number(number: int) -> int:
    if not 0 < number < 2**31:
        raise BadRequest("revision: from 1 on")
    return number


def instant(at_ms: int | None, name: str) -> int | None:
    if at_ms is not None and not 0 <= at_ms <= MAX_WALL_MS:
        raise BadRequest(f"{name}: milliseconds since 1970, from 0 to {MAX_WALL_MS}")
    return at_ms


def ids_of(act: Act) -> list[int]:
    if not act.ids:
        raise BadRequest("ids: name at least one job")
    return act.ids


def may_be_job(number: int) -> bool:
    return 0 < number <= _MOST


def checked(submit: Submit) -> Submit:
    """The numbers of a submit that the rules of jobs do not look at."""
    instant(submit.not_before_ms, "not_before_ms")
    instant(submit.deadline_ms, "deadline_ms")
    for each in submit.after:
        job_number(each.job)
    return submit


def wait_seconds(wait: float) -> float:
    if not math.isfinite(wait) or wait < 0:
        raise BadRequest("wait: seconds, from 0 to 60")
    return min(wait, LONGEST_WAIT_S)
