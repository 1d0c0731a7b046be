"""A job's life: the states, the events, and the one table that joins them. Nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import cache
from typing import Final


class JobState(StrEnum):
    QUEUED = "queued"
    LEASED = "leased"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class JobEvent(StrEnum):
    LEASED = "leased"  # promised to a machine, as attempt n
    STARTED = "started"  # the machine made its process
    SUCCEEDED = "succeeded"  # the attempt ended, and its command calls that success
    FAILED = "failed"  # the attempt ended otherwise, and nothing is to be tried again
    REQUEUED = "requeued"  # the attempt is over without an end that counts; again
    RETURNED = "returned"  # the machine gave it back, and has durably sworn never to start it
    CANCELLED = "cancelled"


# The whole life of a job. A pair that is not here cannot happen. That someone has
# asked for a stop is not a state: it is the job's `stop_requested`, and the job stays
# LEASED or RUNNING until its machine says that the process is gone.
TRANSITIONS: Final[Mapping[tuple[JobState, JobEvent], JobState]] = {
    (JobState.QUEUED, JobEvent.LEASED): JobState.LEASED,
    (JobState.QUEUED, JobEvent.CANCELLED): JobState.CANCELLED,
    # Its machine was given up, nobody began it again, and now it reports its own end.
    (JobState.QUEUED, JobEvent.SUCCEEDED): JobState.SUCCEEDED,
    (JobState.QUEUED, JobEvent.FAILED): JobState.FAILED,
    (JobState.LEASED, JobEvent.STARTED): JobState.RUNNING,
    # It was over before its start was heard of.
    (JobState.LEASED, JobEvent.SUCCEEDED): JobState.SUCCEEDED,
    (JobState.LEASED, JobEvent.FAILED): JobState.FAILED,
    (JobState.LEASED, JobEvent.REQUEUED): JobState.QUEUED,
    (JobState.LEASED, JobEvent.RETURNED): JobState.QUEUED,
    (JobState.LEASED, JobEvent.CANCELLED): JobState.CANCELLED,
    (JobState.RUNNING, JobEvent.SUCCEEDED): JobState.SUCCEEDED,
    (JobState.RUNNING, JobEvent.FAILED): JobState.FAILED,
    (JobState.RUNNING, JobEvent.REQUEUED): JobState.QUEUED,
    (JobState.RUNNING, JobEvent.CANCELLED): JobState.CANCELLED,
}

FINAL: Final = frozenset(JobState) - {state for state, _ in TRANSITIONS}


def sources(event: JobEvent) -> tuple[JobState, ...]:
    """The states in which a job can see this event, in the order of their declaration."""
    return tuple(state for state in JobState if (state, event) in TRANSITIONS)


@cache
def target(event: JobEvent) -> JobState:
    """The state an event leads to; it is the same from wherever it is seen."""
    (state,) = {to for (_, seen), to in TRANSITIONS.items() if seen is event}
    return state


def diagram() -> str:
    """The table as a Mermaid state diagram, for the documents."""
    lines = ["stateDiagram-v2", "    [*] --> queued: submit"]
    lines += [f"    {a} --> {b}: {event}" for (a, event), b in TRANSITIONS.items()]
    lines += [f"    {state} --> [*]" for state in JobState if state in FINAL]
    return "\n".join(lines)
