"""Job state machine: states, events, and the table of transitions."""

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
    LEASED = "leased"  # leased to a machine as a new attempt
    STARTED = "started"  # the machine started the process
    SUCCEEDED = "succeeded"  # the attempt ended with a success code of its command
    FAILED = "failed"  # the attempt failed, and the job is not retried
    REQUEUED = "requeued"  # the attempt ended, and the job is to run again
    RETURNED = "returned"  # the machine will never start the attempt
    CANCELLED = "cancelled"


# Reason code of a job that is held because its attempts were lost too often in a row (ended
# without an observed exit status, as when their machine fails).
LOST_OFTEN: Final = "lost_often"

# All legal transitions. A stop request is a flag (`stop_requested`), not a state: the job stays
# LEASED or RUNNING until its machine reports that the process is gone.
TRANSITIONS: Final[Mapping[tuple[JobState, JobEvent], JobState]] = {
    (JobState.QUEUED, JobEvent.LEASED): JobState.LEASED,
    (JobState.QUEUED, JobEvent.CANCELLED): JobState.CANCELLED,
    # Late result: after lease expiry the job was queued again; then the old attempt's outcome
    # arrived, before a new attempt was leased.
    (JobState.QUEUED, JobEvent.SUCCEEDED): JobState.SUCCEEDED,
    (JobState.QUEUED, JobEvent.FAILED): JobState.FAILED,
    (JobState.LEASED, JobEvent.STARTED): JobState.RUNNING,
    # The attempt ended before its start was reported.
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
    """Return the states in which this event is legal, in the order of their declaration."""
    return tuple(state for state in JobState if (state, event) in TRANSITIONS)


@cache
def target(event: JobEvent) -> JobState:
    """Return the state that an event leads to, which is the same from every state."""
    (state,) = {to for (_, seen), to in TRANSITIONS.items() if seen is event}
    return state


def diagram() -> str:
    """Return all state transitions of a job as a Mermaid diagram, for docs/life.md."""
    lines = ["stateDiagram-v2", "    [*] --> queued: submit"]
    lines += [f"    {a} --> {b}: {event}" for (a, event), b in TRANSITIONS.items()]
    lines += [f"    {state} --> [*]" for state in JobState if state in FINAL]
    return "\n".join(lines)
