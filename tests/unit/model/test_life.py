"""Job state machine: which events are legal, and where they lead."""

from __future__ import annotations

import pytest

from mythjobs.model.life import FINAL, TRANSITIONS, JobEvent, JobState, diagram, sources, target

LIVE = (JobState.LEASED, JobState.RUNNING)


@pytest.mark.parametrize(
    "event, begins, ends",
    [
        (JobEvent.LEASED, {JobState.QUEUED}, JobState.LEASED),
        (JobEvent.STARTED, {JobState.LEASED}, JobState.RUNNING),
        # Also of a queued job: a late result.
        (JobEvent.SUCCEEDED, {JobState.QUEUED, *LIVE}, JobState.SUCCEEDED),
        (JobEvent.FAILED, {JobState.QUEUED, *LIVE}, JobState.FAILED),
        (JobEvent.REQUEUED, {*LIVE}, JobState.QUEUED),
        (JobEvent.RETURNED, {JobState.LEASED}, JobState.QUEUED),
        (JobEvent.CANCELLED, {JobState.QUEUED, *LIVE}, JobState.CANCELLED),
    ],
)
def test_an_event_is_legal_in_some_states_and_leads_to_one(
    event: JobEvent, begins: set[JobState], ends: JobState
) -> None:
    assert set(sources(event)) == begins
    assert target(event) is ends


def test_no_event_leaves_a_final_state_and_every_other_state_can_be_left() -> None:
    assert {JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED} == FINAL
    assert all(JobState.CANCELLED in reachable_from(state) for state in set(JobState) - FINAL)


def reachable_from(state: JobState) -> set[JobState]:
    found, new = set[JobState](), {state}
    while new:
        found |= new
        new = {to for (origin, _), to in TRANSITIONS.items() if origin in new} - found
    return found


def test_the_diagram_has_each_transition_and_end() -> None:
    lines = [each.strip() for each in diagram().splitlines()]
    assert lines[:2] == ["stateDiagram-v2", "[*] --> queued: submit"]
    expected = {f"{a} --> {b}: {event}" for (a, event), b in TRANSITIONS.items()}
    assert set(lines[2:]) == expected | {f"{state} --> [*]" for state in FINAL}
    assert len(lines) == 2 + len(TRANSITIONS) + len(FINAL)
