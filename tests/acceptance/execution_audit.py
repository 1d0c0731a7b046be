"""Audit of a test run: compares the execution log of logging_job.py with the store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mythjobs.store.invariants.run import check
from mythjobs.store.open import open_store

Key = tuple[int, int]

# A killed reaper can lose attempts that started or ended within this time: neither its journal nor
# the execution log has a record of it yet.
KILL_TOLERANCE_NS = 2_000_000_000


class Kill(NamedTuple):
    """`program`: master, agent or reaper; `machine` is empty for the master."""

    program: str
    machine: str
    at_ns: int  # CLOCK_BOOTTIME


@dataclass
class AttemptLog:
    """One attempt according to the execution log."""

    starts: int = 0
    start_ns: int = 0
    last_line_ns: int = 0
    exit_code: int | None = None  # None: no end logged
    bytes: int = 0
    overlaps: int = 0


class StoredAttempt(NamedTuple):
    """One attempt according to the store."""

    machine: str
    has_ended: bool
    outcome: Mapping[str, Any]
    bytes: int


class StoredJob(NamedTuple):
    state: str
    attempts: int
    key: str
    stop_requested: bool


@dataclass
class AuditReport:
    """`violations` are sentences; the numbers show how much was audited."""

    violations: list[str] = field(default_factory=list)
    jobs: int = 0
    attempts: int = 0
    reruns: int = 0  # attempts rerun after a kill of their reaper
    never_started: int = 0  # attempts without a process


def read_execution_log(path: Path) -> dict[Key, AttemptLog]:
    return (
        parse_execution_log(path.read_text(encoding="ascii").splitlines()) if path.exists() else {}
    )


def parse_execution_log(lines: Iterable[str]) -> dict[Key, AttemptLog]:
    found: dict[Key, AttemptLog] = {}
    for line in lines:
        what, job, n, _, stamp = line.split(" ")
        log = found.setdefault((int(job), int(n)), AttemptLog())
        stamp_ns = int(stamp)
        log.last_line_ns = max(log.last_line_ns, stamp_ns)
        if what == "start":
            log.starts += 1
            log.start_ns = stamp_ns
        elif what == "overlap":
            log.overlaps += 1
        elif what.startswith("end:"):
            _, code, wrote = what.split(":")
            log.exit_code = int(code)
            log.bytes = int(wrote) + len(line) + 1
    return found


def read_outputs(path: Path) -> dict[Key, bytes]:
    """Return the standard output of each attempt, which is a copy of its log lines."""
    found: dict[Key, bytes] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        _, job, n, *_ = line.split(b" ")
        found[int(job), int(n)] = found.get((int(job), int(n)), b"") + line
    return found


def read_store(path: Path) -> tuple[dict[int, StoredJob], dict[Key, StoredAttempt], list[str]]:
    """Return jobs, attempts, and violations of invariants. The master must have exited."""
    store = open_store(path)
    try:
        with store.snapshot() as tx:
            broken = [f"{each.invariant}: {each.sentence}" for each in check(tx)]
            tx.cursor.execute("SELECT job_id, state, attempts, key, stop_requested FROM job")
            jobs = {
                job: StoredJob(state, last_n, key or "", by is not None)
                for job, state, last_n, key, by in tx.cursor.fetchall()
            }
            tx.cursor.execute(
                "SELECT job_id, n, machine.name, over_ms, outcome, output"
                " FROM attempt JOIN machine USING (machine_id)"
            )
            attempts = {
                (job, n): StoredAttempt(
                    machine,
                    over_ms is not None,
                    json.loads(outcome) if outcome else {},
                    sum(written for written, *_ in json.loads(output)) if output else 0,
                )
                for job, n, machine, over_ms, outcome, output in tx.cursor.fetchall()
            }
    finally:
        store.close()
    return jobs, attempts, broken


def audit(
    logs: Mapping[Key, AttemptLog],
    jobs: Mapping[int, StoredJob],
    attempts: Mapping[Key, StoredAttempt],
    acknowledged: Mapping[str, int],
    cancelled: Iterable[int],
    kills: Sequence[Kill],
) -> AuditReport:
    """`acknowledged` maps the key of each answered submit to its job id."""
    report = AuditReport(jobs=len(jobs), attempts=len(attempts))
    for key, job_id in acknowledged.items():
        if job_id not in jobs or jobs[job_id].key != key:
            report.violations.append(f"I1: job {job_id} was acknowledged and is not in the store")
    keys = [each.key for each in jobs.values()]
    if len(keys) != len(set(keys)):
        report.violations.append("I2: two jobs have one key")
    for job_id in cancelled:
        if not jobs[job_id].stop_requested and jobs[job_id].state not in ("cancelled", "succeeded"):
            report.violations.append(f"I13: the cancel of job {job_id} was acknowledged and lost")
    _audit_overlaps(logs, report)
    for ran, log in logs.items():
        if ran not in attempts:
            report.violations.append(f"I6: {_attempt_name(ran)} ran and is not in the store")
        if log.starts + log.overlaps > 1:
            report.violations.append(f"I8: {_attempt_name(ran)} was started {log.starts} times")
    for job_id, job in jobs.items():
        if job.state not in ("succeeded", "failed", "cancelled"):
            report.violations.append(f"I7: job {job_id} is {job.state} at the end")
        for n in range(1, job.attempts + 1):
            _audit_attempt(job_id, n, job, logs, attempts, kills, report)
    return report


def _audit_overlaps(logs: Mapping[Key, AttemptLog], report: AuditReport) -> None:
    by_job: dict[int, list[tuple[int, int, int]]] = {}
    for (job_id, n), log in logs.items():
        if log.overlaps:
            report.violations.append(
                f"I4: {_attempt_name((job_id, n))} started while another attempt was running"
            )
        if log.starts:
            by_job.setdefault(job_id, []).append((log.start_ns, log.last_line_ns, n))
    for job_id, intervals in by_job.items():
        intervals.sort()
        for earlier, later in pairwise(intervals):
            if later[0] <= earlier[1]:
                report.violations.append(
                    f"I4: attempts {earlier[2]} and {later[2]} of job {job_id} ran at the same time"
                )


def _audit_attempt(
    job_id: int,
    n: int,
    job: StoredJob,
    logs: Mapping[Key, AttemptLog],
    attempts: Mapping[Key, StoredAttempt],
    kills: Sequence[Kill],
    report: AuditReport,
) -> None:
    """Compare outcome and log of one attempt, and look for an unjustified rerun."""
    attempt, log = attempts.get((job_id, n)), logs.get((job_id, n), AttemptLog())
    name = _attempt_name((job_id, n))
    if attempt is None or not attempt.has_ended:
        report.violations.append(f"I7: {name} has not ended in the store")
        return
    kind = attempt.outcome.get("kind")
    is_excused = _was_reaper_killed(log, attempt.machine, kills)
    if not log.starts:
        report.never_started += 1
    if kind == "exited":
        if log.exit_code is None or log.exit_code != attempt.outcome["code"]:
            report.violations.append(
                f"I21: {name} exited according to the store, but not according to its log"
            )
        elif attempt.bytes != log.bytes:
            report.violations.append(
                f"I12: {name} wrote {log.bytes} bytes, the store has {attempt.bytes}"
            )
    elif log.starts and not (is_excused or job.stop_requested):
        report.violations.append(
            f"0 wrong outcomes: {name} ran undisturbed, but its outcome is {kind}"
        )
    if n < job.attempts and log.starts:
        report.reruns += 1
        if not is_excused:
            report.violations.append(f"0 second runs: {name} ran, and its job was rerun")
    if n == job.attempts and job.state == "succeeded" and log.exit_code != 0:
        report.violations.append(f"I21: job {job_id} succeeded, but its log has another exit code")


def _was_reaper_killed(log: AttemptLog, machine: str, kills: Sequence[Kill]) -> bool:
    return any(
        each.program == "reaper"
        and each.machine == machine
        and log.start_ns - KILL_TOLERANCE_NS <= each.at_ns <= log.last_line_ns + KILL_TOLERANCE_NS
        for each in kills
    )


def _attempt_name(key: Key) -> str:
    return f"attempt {key[1]} of job {key[0]}"
