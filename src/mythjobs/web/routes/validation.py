"""Numbers in requests, held within what the store and a waiting client can bear."""

from __future__ import annotations

import math
from typing import Final

from mythjobs.errors import BadRequest, NoSuchJob
from mythjobs.model.units import MAX_WALL_MS
from mythjobs.protocol.requests import Act, Submit

MAX_WAIT_S: Final = 60.0
# Ids are 64-bit in the store; a larger one is only a job that does not exist.
_MAX_ID: Final = 2**63 - 1


def check_job_id(number: int) -> int:
    if not is_valid_id(number):
        raise NoSuchJob(f"there is no job {number}")
    return number


def check_batch_id(number: int) -> int:
    if not 0 < number <= _MAX_ID:
        raise NoSuchJob(f"there is no batch {number}")
    return number


def check_revision(number: int) -> int:
    if not 0 < number < 2**31:
        raise BadRequest("revision: from 1 on")
    return number


def check_time_ms(at_ms: int | None, name: str) -> int | None:
    if at_ms is not None and not 0 <= at_ms <= MAX_WALL_MS:
        raise BadRequest(f"{name}: milliseconds since 1970, from 0 to {MAX_WALL_MS}")
    return at_ms


def check_ids(act: Act) -> list[int]:
    if not act.ids:
        raise BadRequest("ids: name at least one job")
    return act.ids


def is_valid_id(number: int) -> bool:
    return 0 < number <= _MAX_ID


def check_submit(submit: Submit) -> Submit:
    """The numbers of a submit that the rules of jobs do not look at."""
    check_time_ms(submit.not_before_ms, "not_before_ms")
    check_time_ms(submit.deadline_ms, "deadline_ms")
    for each in submit.after:
        check_job_id(each.job)
    return submit


def check_wait_s(wait: float) -> float:
    if not math.isfinite(wait) or wait < 0:
        raise BadRequest("wait: seconds, from 0 to 60")
    return min(wait, MAX_WAIT_S)
