"""Test of an agent that hangs for longer than a lease, with one job of each silence policy.

Real processes, and the shortest lease in real time.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any, Final, NamedTuple

from mythjobs.model.command import MIN_LEASE_S
from mythjobs.model.silence import HOLD, IDEMPOTENT, KEEP, RERUN, SILENCE_POLICIES
from mythjobs.protocol import lease_timing
from tests.acceptance import execution_audit
from tests.acceptance.execution_audit import AttemptLog, Key
from tests.acceptance.local_cluster import (
    ClusterError,
    LocalCluster,
    boottime_ns,
    logging_command,
    run_cluster,
    wait_until,
)

# Duration of the hang: until all leases have expired at the master, and some more.
HANG_S: Final = MIN_LEASE_S * lease_timing.EXPIRY_FACTOR + lease_timing.EXPIRY_MARGIN_S + 10
# Jobs that survive the hang end soon after it.
_JOB_S: Final = HANG_S + 5
_TOLERANCE_S: Final = 5.0


class _Hang(NamedTuple):
    """Start and end of the hang (CLOCK_BOOTTIME), and the job of each policy."""

    start_ns: int
    end_ns: int
    jobs: dict[str, int]


def run_hang_test(directory: Path) -> list[str]:
    """Run the test and return violations as sentences."""
    directory.mkdir()
    log_directory = directory / "job-log"
    log_directory.mkdir()
    with run_cluster(directory, jobs=len(SILENCE_POLICIES)) as cluster:
        try:
            hang = _run_jobs_during_hang(cluster, log_directory)
        except ClusterError as error:
            return [f"hang: {error}"]
        logs = execution_audit.read_execution_log(log_directory / "executions")
        return [*_find_overlaps(logs, hang), *_find_policy_violations(cluster, logs, hang)]


def _run_jobs_during_hang(cluster: LocalCluster, log_directory: Path) -> _Hang:
    for policy in SILENCE_POLICIES:
        definition = logging_command(log_directory) | {"name": policy, "silence": policy}
        if policy in (RERUN, HOLD):
            definition["lease"] = f"{MIN_LEASE_S:g}s"
        cluster.post("commands", {"definition": definition, "replace": False})
    arguments = {"seconds": f"{_JOB_S:g}", "code": 0}
    submit = {"arguments": arguments, "prefer": "attic"}
    jobs = {
        policy: int(cluster.post("jobs", submit | {"command": policy})["id"])
        for policy in SILENCE_POLICIES
    }
    wait_until(
        lambda: _are_all_running_on(cluster, jobs, "attic"), "the jobs have not started on attic"
    )
    cluster.signal_agent("attic", signal.SIGSTOP)
    start_ns = boottime_ns()
    wait_until(
        lambda: boottime_ns() > start_ns + HANG_S * 1e9,
        "the clock does not advance",
        HANG_S + _TOLERANCE_S,
    )
    end_ns = boottime_ns()
    cluster.signal_agent("attic", signal.SIGCONT)
    wait_until(
        lambda: _job_state(cluster, jobs["keep"]) == "succeeded",
        "the end of the kept job is not reported",
    )
    return _Hang(start_ns, end_ns, jobs)


def _are_all_running_on(cluster: LocalCluster, jobs: dict[str, int], machine: str) -> bool:
    attempts = [cluster.get(f"jobs/{each}")["attempts"] for each in jobs.values()]
    return all(
        each and each[-1]["machine"] == machine and each[-1]["started_ms"] for each in attempts
    )


def _job_state(cluster: LocalCluster, job_id: int) -> str:
    return str(cluster.get(f"jobs/{job_id}")["state"])


def _find_overlaps(logs: dict[Key, AttemptLog], hang: _Hang) -> list[str]:
    """Find attempts that ran at the same time. Only `idempotent` permits them."""
    allowed = hang.jobs["idempotent"]
    return [
        f"hang: attempt {n} of job {job_id} ran beside another"
        for (job_id, n), log in logs.items()
        if log.overlaps and job_id != allowed
    ]


def _find_policy_violations(
    cluster: LocalCluster, logs: dict[Key, AttemptLog], hang: _Hang
) -> list[str]:
    found = []
    lease_ns = hang.start_ns + MIN_LEASE_S * 1e9
    for policy, job_id in hang.jobs.items():
        first = logs[job_id, 1]
        job: dict[str, Any] = cluster.get(f"jobs/{job_id}")
        if policy in (RERUN, HOLD):
            if first.last_line_ns > lease_ns:
                found.append(
                    f"hang: {policy} ran {_format_s(first.last_line_ns - lease_ns)} too long"
                )
        elif first.last_line_ns < hang.end_ns:
            found.append(
                f"hang: {policy} ended {_format_s(hang.end_ns - first.last_line_ns)} early"
            )
        second = logs.get((job_id, 2))
        if policy in (RERUN, IDEMPOTENT):
            if second is None:
                found.append(f"hang: {policy} was not rerun")
            elif policy == RERUN and second.start_ns <= first.last_line_ns:
                found.append("hang: rerun was rerun too early")
        elif second is not None:
            found.append(f"hang: {policy} was rerun")
        if policy == HOLD and not (job["state"] == "queued" and job["hold"]):
            found.append(f"hang: hold is {job['state']}")
        if policy == KEEP and job["attempt"] != 1:
            found.append("hang: keep has a second attempt")
    return found


def _format_s(ns: float) -> str:
    return f"{ns / 1e9:.1f} s"
