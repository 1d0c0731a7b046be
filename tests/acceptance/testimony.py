"""What the witnesses wrote, held against what the store believes. Pure, but for reading both."""

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

# A reaper that is killed takes with it what had begun or ended so shortly before that neither its
# journal nor the witness had said so.
AROUND_NS = 2_000_000_000


class Kill(NamedTuple):
    """`who`: master, agent or reaper; `machine` is empty for the master."""

    who: str
    machine: str
    at_ns: int  # CLOCK_BOOTTIME


@dataclass
class Life:
    """One attempt as its own process told it."""

    starts: int = 0
    start_ns: int = 0
    last_ns: int = 0
    code: int | None = None  # None: it told no end
    bytes: int = 0
    overlaps: int = 0


class Attempt(NamedTuple):
    """One attempt as the store has it."""

    machine: str
    over: bool
    outcome: Mapping[str, Any]
    bytes: int


class Job(NamedTuple):
    state: str
    attempts: int
    key: str
    stopped: bool


@dataclass
class Report:
    """`violations` are sentences; the numbers say how much was looked at."""

    violations: list[str] = field(default_factory=list)
    jobs: int = 0
    attempts: int = 0
    again: int = 0  # attempts that were begun again because their reaper was killed
    unseen: int = 0  # attempts that never became a process


def read_testimony(path: Path) -> dict[Key, Life]:
    return lives(path.read_text(encoding="ascii").splitlines()) if path.exists() else {}


def lives(lines: Iterable[str]) -> dict[Key, Life]:
    found: dict[Key, Life] = {}
    for line in lines:
        what, job, n, _, stamp = line.split(" ")
        life = found.setdefault((int(job), int(n)), Life())
        stamp_ns = int(stamp)
        life.last_ns = max(life.last_ns, stamp_ns)
        if what == "start":
            life.starts += 1
            life.start_ns = stamp_ns
        elif what == "overlap":
            life.overlaps += 1
        elif what.startswith("end:"):
            _, code, wrote = what.split(":")
            life.code = int(code)
            life.bytes = int(wrote) + len(line) + 1
    return found


def read_outputs(path: Path) -> dict[Key, bytes]:
    """What each attempt wrote to its standard output: the same lines."""
    found: dict[Key, bytes] = {}
    for line in path.read_bytes().splitlines(keepends=True):
        _, job, n, *_ = line.split(b" ")
        found[int(job), int(n)] = found.get((int(job), int(n)), b"") + line
    return found


def read_store(path: Path) -> tuple[dict[int, Job], dict[Key, Attempt], list[str]]:
    """Jobs, attempts, and what `mythjobs check` finds. The master must be over."""
    store = open_store(path)
    try:
        with store.snapshot() as tx:
            broken = [f"{each.invariant}: {each.sentence}" for each in check(tx)]
            tx.cursor.execute("SELECT job_id, state, attempts, key, stop_requested FROM job")
            jobs = {
                job: Job(state, last_n, key or "", by is not None)
                for job, state, last_n, key, by in tx.cursor.fetchall()
            }
            tx.cursor.execute(
                "SELECT job_id, n, machine.name, over_ms, outcome, output"
                " FROM attempt JOIN machine USING (machine_id)"
            )
            attempts = {
                (job, n): Attempt(
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
    told: Mapping[Key, Life],
    jobs: Mapping[int, Job],
    attempts: Mapping[Key, Attempt],
    acknowledged: Mapping[str, int],
    cancelled: Iterable[int],
    kills: Sequence[Kill],
) -> Report:
    """`acknowledged`: by the key of a submit, the job that it was answered with."""
    report = Report(jobs=len(jobs), attempts=len(attempts))
    for key, job_id in acknowledged.items():
        if job_id not in jobs or jobs[job_id].key != key:
            report.violations.append(f"I1: job {job_id} was acknowledged and is not there")
    keys = [each.key for each in jobs.values()]
    if len(keys) != len(set(keys)):
        report.violations.append("I2: one key made two jobs")
    for job_id in cancelled:
        if not jobs[job_id].stopped and jobs[job_id].state not in ("cancelled", "succeeded"):
            report.violations.append(f"I13: the cancel of job {job_id} was acknowledged and lost")
    _look_for_overlaps(told, report)
    for ran, life in told.items():
        if ran not in attempts:
            report.violations.append(f"I6: {_name(ran)} ran and the store does not know it")
        if life.starts + life.overlaps > 1:
            report.violations.append(f"I8: {_name(ran)} was started {life.starts} times")
    for job_id, job in jobs.items():
        if job.state not in ("succeeded", "failed", "cancelled"):
            report.violations.append(f"I7: job {job_id} is {job.state} after all is over")
        for n in range(1, job.attempts + 1):
            _look_at(job_id, n, job, told, attempts, kills, report)
    return report


def _look_for_overlaps(told: Mapping[Key, Life], report: Report) -> None:
    by_job: dict[int, list[tuple[int, int, int]]] = {}
    for (job_id, n), life in told.items():
        if life.overlaps:
            report.violations.append(f"I4: {_name((job_id, n))} began beside another attempt")
        if life.starts:
            by_job.setdefault(job_id, []).append((life.start_ns, life.last_ns, n))
    for job_id, intervals in by_job.items():
        intervals.sort()
        for earlier, later in pairwise(intervals):
            if later[0] <= earlier[1]:
                report.violations.append(
                    f"I4: attempts {earlier[2]} and {later[2]} of job {job_id} ran together"
                )


def _look_at(
    job_id: int,
    n: int,
    job: Job,
    told: Mapping[Key, Life],
    attempts: Mapping[Key, Attempt],
    kills: Sequence[Kill],
    report: Report,
) -> None:
    """One attempt: its outcome is what its process did, and it is only begun again for a reason."""
    attempt, life = attempts.get((job_id, n)), told.get((job_id, n), Life())
    name = _name((job_id, n))
    if attempt is None or not attempt.over:
        report.violations.append(f"I7: {name} is not over in the store")
        return
    kind = attempt.outcome.get("kind")
    excused = _reaper_was_killed(life, attempt.machine, kills)
    if not life.starts:
        report.unseen += 1
    if kind == "exited":
        if life.code is None or life.code != attempt.outcome["code"]:
            report.violations.append(f"I21: {name} is said to have exited, its witness says not so")
        elif attempt.bytes != life.bytes:
            report.violations.append(
                f"I12: {name} wrote {life.bytes} bytes, {attempt.bytes} were counted"
            )
    elif life.starts and not (excused or job.stopped):
        report.violations.append(f"0 wrong outcomes: {name} ran undisturbed and is {kind}")
    if n < job.attempts and life.starts:
        report.again += 1
        if not excused:
            report.violations.append(f"0 second runs: {name} ran, and its job was begun again")
    if n == job.attempts and job.state == "succeeded" and life.code != 0:
        report.violations.append(f"I21: job {job_id} succeeded, its witness says not so")


def _reaper_was_killed(life: Life, machine: str, kills: Sequence[Kill]) -> bool:
    return any(
        each.who == "reaper"
        and each.machine == machine
        and life.start_ns - AROUND_NS <= each.at_ns <= life.last_ns + AROUND_NS
        for each in kills
    )


def _name(key: Key) -> str:
    return f"attempt {key[1]} of job {key[0]}"
