"""Response types of the API, from which Litestar generates the OpenAPI schema."""

from __future__ import annotations

from typing import Any, TypedDict

from mythjobs.protocol.machine_responses import MachineLoad
from mythjobs.protocol.requests import JobActionResult


class CommandLoad(TypedDict):
    name: str
    queued: int
    running: int
    oldest_ms: int | None
    enabled: bool
    put_off_ms: int | None


class SetAsideUnit(TypedDict):
    """Work that the master skips because of an internal error.

    kind: "class" (placement of a job class of `command`), "grant" or "deadline" (that step for
    one job), or "upkeep" (of a batch). id: the job class, job, or upkeep record.
    """

    kind: str
    id: int
    command: str
    error: str
    since_ms: int


class QueueCounts(TypedDict):
    counts: dict[str, int]
    commands: list[CommandLoad]


class RetentionStatus(TypedDict):
    """Retention limits (null: none), amounts kept now, and deleted since the master's start."""

    age_s: float | None
    jobs: int | None
    output_limit_bytes: int | None
    ended_jobs: int
    output_bytes: int
    deleted_jobs: int
    deleted_output_bytes: int
    last_pass_ms: int | None


class FailingChannel(TypedDict):
    name: str
    since_ms: int
    error: str


class UnusableSchedule(TypedDict):
    """A schedule that submits no jobs, because its definition cannot be used on this machine."""

    name: str
    error: str


class Status(QueueCounts):
    """State of master and queue. lost: at most 1000 jobs that are held after repeated losses.
    notifications: number of unread ones, at most 100. warnings: sentences for users."""

    version: str
    pid: int
    started_ms: int
    store: str
    machines: list[MachineLoad]
    set_aside: list[SetAsideUnit]
    lost: list[int]
    retention: RetentionStatus
    notifications: int
    failing_channels: list[FailingChannel]
    unusable_schedules: list[UnusableSchedule]
    warnings: list[str]


class RecentJobs(TypedDict):
    """The last ended jobs of a command. success_rate: cancelled jobs do not count. usual_s: median
    of the successful ones' last runs, without frozen time; None for `run`, whose programs differ.
    """

    jobs: int
    succeeded: int
    failed: int
    cancelled: int
    success_rate: float | None
    usual_s: float | None


class CommandSummary(TypedDict):
    name: str
    summary: str
    revision: int
    enabled: bool
    created_ms: int
    parameters: list[str]
    put_off_ms: int | None
    recent: RecentJobs | None


class Commands(TypedDict):
    commands: list[CommandSummary]


class Defined(TypedDict):
    name: str
    revision: int
    changed: bool
    nowhere: str


class Statistics(TypedDict):
    """Statistics of a command's last ended jobs; times in seconds, None if no attempt ran.

    runs: attempts that started a process. success_rate: cancelled jobs do not count.
    """

    jobs: int
    runs: int
    succeeded: int
    failed: int
    cancelled: int
    success_rate: float | None
    median_s: float | None
    p90_s: float | None
    cpu_median_s: float | None
    cpu_total_s: float
    read_bytes: int
    written_bytes: int
    peak_bytes: int


class CommandDetails(TypedDict):
    name: str
    revision: int
    enabled: bool
    created_ms: int
    revised_ms: int
    put_off_ms: int | None
    put_off_reason: str
    definition: dict[str, Any]
    statistics: Statistics | None
    recent: RecentJobs | None


class Revision(TypedDict):
    revision: int
    created_ms: int


class Revisions(TypedDict):
    revisions: list[Revision]


class Enabled(TypedDict):
    """until_ms: until when none of the command's jobs starts although it is enabled; null: no such
    time."""

    name: str
    enabled: bool
    until_ms: int | None


class Removed(TypedDict):
    name: str


class Reason(TypedDict):
    code: str
    sentence: str


class JobDependency(TypedDict):
    job: int
    when: str
    met: bool


class Attempt(TypedDict):
    n: int
    machine: str | None
    state: str
    silence: str
    lease_s: float | None
    leased_ms: int
    started_ms: int | None
    over_ms: int | None
    outcome: dict[str, Any] | None
    sentence: str | None
    evidence: str | None
    usage: dict[str, Any] | None
    output: list[list[int]]


class HistoryEvent(TypedDict):
    n: int
    at_ms: int
    kind: str
    detail: Any


class StoredJob(TypedDict):
    """Stored fields of a job in a list. ListedJob adds those that only the master's memory has.

    ran_on, started_ms, run_s: machine, start and, once it has ended, run time of the last attempt.
    """

    id: int
    command: str
    revision: int
    state: str
    reason: Reason
    priority: int
    subject: str | None
    arguments: dict[str, Any]
    key: str | None
    hold: bool
    stop_requested: str | None
    batch: int | None
    submitter: str
    comment: str
    not_before_ms: int | None
    deadline_ms: int | None
    machine: str
    prefer: str
    labels: list[str]
    semaphores: dict[str, int]
    limits: dict[str, str | int]
    failures: int
    losses: int
    submitted_ms: int
    ended_ms: int | None
    progress: float | None
    attempt: int
    ran_on: str
    started_ms: int | None
    run_s: float | None
    rerun_of: int | None


class ListedJob(StoredJob):
    """A job in a list. eta_ms: end time that the job's program expects; None if it has reported
    none, if the job is frozen, or if that time has passed. estimated_…: of a running job what its
    program has not reported."""

    frozen: list[str]
    eta_ms: int | None
    estimated_progress: float | None
    estimated_end_ms: int | None


class Job(ListedJob):
    after: list[JobDependency]
    attempts: list[Attempt]
    events: list[HistoryEvent]


class Jobs(TypedDict):
    jobs: list[ListedJob]
    next: int | None


class Counts(TypedDict):
    counts: dict[str, int]


class ActionResults(TypedDict):
    jobs: list[JobActionResult]


class MatchingActionResult(TypedDict):
    """unchanged: jobs on which the act had its effect before. new_ids: of rerun, the ranges
    [first, last] of the ids of the new jobs."""

    act: str
    done: int
    unchanged: int
    refused: int
    errors: list[str]
    new_ids: list[list[int]]


class SubmittedBatch(TypedDict):
    batch: int
    ids: list[int]
    jobs: int


class Batch(TypedDict):
    batch: int
    command: str | None
    jobs: int
    counts: dict[str, int]
    first: int
    last: int
    over: bool


class RuleResult(TypedDict):
    rule: str
    ok: bool
    detail: str


class MachineRules(TypedDict):
    machine: str
    rules: list[RuleResult]


class Why(TypedDict):
    """Reason for a job's state. end_reported: true if `expected_end_ms` was reported by the job's
    program, false if it is a forecast from usual run times."""

    id: int
    state: str
    code: str
    sentence: str
    machines: list[MachineRules]
    expected_start_ms: int | None
    expected_end_ms: int | None
    end_reported: bool


class Semaphore(TypedDict):
    name: str
    size: int
    used: int
    free_when_frozen: bool


class Semaphores(TypedDict):
    semaphores: list[Semaphore]


class InvariantViolation(TypedDict):
    invariant: str
    job: int | None
    sentence: str


class Checked(TypedDict):
    violations: list[InvariantViolation]
    count: int


class Pruned(TypedDict):
    jobs: int


class Replayed(TypedDict):
    mean_wait_s: float | None
    last_end_ms: int | None
    never: int
    cut: int


class ReplayedCommand(TypedDict):
    command: str
    jobs: int
    now: Replayed
    then: Replayed


class Run(TypedDict):
    machine: str | None
    start_ms: int | None
    end_ms: int | None
    cut: bool


class ChangedJob(TypedDict):
    id: int
    command: str
    submitted_ms: int
    now: Run
    then: Run


class WhatIf(TypedDict):
    since_ms: int
    jobs: int
    commands: list[ReplayedCommand]
    changed: list[ChangedJob]
