"""The agent of one machine hangs for longer than a lease: each policy does what it says, and the
witnesses saw no job run twice at once. Real processes at true length, with the shortest lease.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Final, NamedTuple

from mythjobs.model.command import MIN_LEASE_S
from mythjobs.model.silence import HOLD, IDEMPOTENT, KEEP, RERUN, SILENCE_POLICIES
from mythjobs.protocol import lease
from tests.acceptance import testimony
from tests.acceptance.household import (
    Household,
    TortureError,
    a_household,
    boottime_ns,
    until,
    witness_command,
)
from tests.acceptance.testimony import Key, Life

# How long the agent says nothing: until all are presumed over, and a little more.
SILENT_S: Final = MIN_LEASE_S * lease.EXPIRY_FACTOR + lease.EXPIRY_MARGIN_S + 10
# What runs on is over soon after the agent is back.
_JOB_S: Final = SILENT_S + 5
_SLOW_S: Final = 5.0


class _Silence(NamedTuple):
    """When the agent hung and when it was back, on CLOCK_BOOTTIME, and the job of each policy."""

    began_ns: int
    over_ns: int
    jobs: dict[str, int]


def silence(directory: Path) -> list[str]:
    """What was not as promised, in sentences."""
    directory.mkdir()
    witnessed = directory / "witness"
    witnessed.mkdir()
    with a_household(directory, jobs=len(SILENCE_POLICIES)) as household:
        try:
            seen = _hang(household, witnessed)
        except TortureError as error:
            return [f"silence: {error}"]
        told = testimony.read_testimony(witnessed / "testimony")
        return [*_overlaps(told, seen), *_judge(household, told, seen)]


def _hang(household: Household, witnessed: Path) -> _Silence:
    for policy in SILENCE_POLICIES:
        definition = witness_command(witnessed) | {"name": policy, "silence": policy}
        if policy in (RERUN, HOLD):
            definition["lease"] = f"{MIN_LEASE_S:g}s"
        household.post("commands", {"definition": definition, "replace": False})
    arguments = {"seconds": f"{_JOB_S:g}", "code": 0}
    jobs = {
        policy: int(
            household.post("jobs", {"command": policy, "arguments": arguments, "prefer": "attic"})[
                "id"
            ]
        )
        for policy in SILENCE_POLICIES
    }
    until(lambda: _all_run_on(household, jobs, "attic"), "the jobs do not start on the attic")
    household.signal_agent("attic", signal.SIGSTOP)
    began_ns = boottime_ns()
    until(
        lambda: boottime_ns() > began_ns + SILENT_S * 1e9, "time does not pass", SILENT_S + _SLOW_S
    )
    over_ns = boottime_ns()
    household.signal_agent("attic", signal.SIGCONT)
    until(lambda: _state(household, jobs["keep"]) == "succeeded", "what was kept is not told")
    return _Silence(began_ns, over_ns, jobs)


def _all_run_on(household: Household, jobs: dict[str, int], machine: str) -> bool:
    attempts = [household.get(f"jobs/{each}")["attempts"] for each in jobs.values()]
    return all(
        each and each[-1]["machine"] == machine and each[-1]["started_ms"] for each in attempts
    )


def _state(household: Household, job_id: int) -> str:
    return str(household.get(f"jobs/{job_id}")["state"])


def _overlaps(told: dict[Key, Life], seen: _Silence) -> list[str]:
    """Only `idempotent` lets two attempts meet."""
    allowed = seen.jobs["idempotent"]
    return [
        f"silence: attempt {n} of job {job_id} met another"
        for (job_id, n), life in told.items()
        if life.overlaps and job_id != allowed
    ]


def _judge(household: Household, told: dict[Key, Life], seen: _Silence) -> list[str]:
    found = []
    lease_ns = seen.began_ns + MIN_LEASE_S * 1e9
    for policy, job_id in seen.jobs.items():
        first = told[job_id, 1]
        job: dict[str, Any] = household.get(f"jobs/{job_id}")
        if policy in (RERUN, HOLD):
            if first.last_ns > lease_ns:
                found.append(f"silence: {policy} lived {_s(first.last_ns - lease_ns)} too long")
        elif first.last_ns < seen.over_ns:
            found.append(f"silence: {policy} was ended {_s(seen.over_ns - first.last_ns)} early")
        second = told.get((job_id, 2))
        if policy in (RERUN, IDEMPOTENT):
            if second is None:
                found.append(f"silence: {policy} was not begun again")
            elif policy == RERUN and second.start_ns <= first.last_ns:
                found.append("silence: rerun was begun again too early")
        elif second is not None:
            found.append(f"silence: {policy} was begun again")
        if policy == HOLD and not (job["state"] == "queued" and job["hold"]):
            found.append(f"silence: hold is {job['state']}")
        if policy == KEEP and job["attempt"] != 1:
            found.append("silence: keep has a second attempt")
    return found


def _s(ns: float) -> str:
    return f"{ns / 1e9:.1f} s"
