"""Replay of past jobs under other settings."""

from __future__ import annotations

from typing import Any

from mythjobs.model.machine_policy import ALLOW_ALL
from mythjobs.model.window import Hours
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.replay import PastJob, ReplayedJob, Scenario, replay

NOON = 1_795_521_600_000
HOUR_MS, HOUR_S = 3_600_000, 3600.0
CAN = frozenset({"windows", "freeze"})


def a_scenario(hours: Hours | None = None, jobs: int = 1, **requirements: Any) -> Scenario:
    """One machine; class 1 has these hours, class 2 has none."""
    return Scenario(
        {
            1: e.Requirements("flag", 1, 1, "anna", **requirements),
            2: e.Requirements("other", 2, 2, "ben"),
        },
        {1: e.MachineFacts("attic", ALLOW_ALL, True, jobs, 0, 1, can=CAN)},
        {(1, 1): e.EffectiveSettings(hours), (2, 1): e.EffectiveSettings()},
        {"nas": 1},
    )


def jobs(*rows: tuple[int, float, float], class_id: int = 1) -> list[PastJob]:
    """Rows of (job id, hours after noon, duration in hours)."""
    return [
        PastJob(number, NOON + round(after * HOUR_MS), class_id, 0, takes * HOUR_S)
        for number, after, takes in rows
    ]


def hours_of(outcomes: list[ReplayedJob]) -> list[tuple[float, float] | None]:
    return [
        None
        if each.started_ms is None or each.ended_ms is None
        else ((each.started_ms - NOON) / HOUR_MS, (each.ended_ms - NOON) / HOUR_MS)
        for each in outcomes
    ]


def test_jobs_share_one_slot_in_sequence_and_two_slots_in_parallel() -> None:
    past = jobs((1, 0, 2), (2, 0.5, 1), (3, 10, 1))
    assert hours_of(replay(a_scenario(), past)) == [(0, 2), (2, 3), (10, 11)]
    assert hours_of(replay(a_scenario(jobs=2), past)) == [(0, 2), (0.5, 1.5), (10, 11)]


def test_hours_delay_the_start_and_freeze_the_job_over_the_day() -> None:
    night = ("22:00-06:00",)
    past = jobs((1, 0, 3), (2, 0, 7))
    finish = a_scenario(Hours((night, (), ())))
    assert hours_of(replay(finish, past)) == [(10, 13), (13, 20)]
    freeze = a_scenario(Hours((night, (), ()), closing="freeze"))
    # The first night has five hours left for seven: the job ends in the second night.
    assert hours_of(replay(freeze, past)) == [(10, 13), (13, 36)]


def test_a_job_that_never_fits_never_starts() -> None:
    scenario = a_scenario(Hours((("12:00-13:00",), (), ()), closing="requeue"))
    assert hours_of(replay(scenario, jobs((1, 0, 0.5), (2, 0, 2)))) == [(0, 0.5), None]


def test_semaphores_and_fair_shares_apply_in_the_replay() -> None:
    scenario = a_scenario(jobs=4, semaphores=(("nas", 1),))
    assert hours_of(replay(scenario, jobs((1, 0, 1), (2, 0, 1)))) == [(0, 1), (1, 2)]
    annas = jobs((1, 0, 1), (2, 0, 1), (3, 0, 1))
    bens = jobs((4, 0, 1), class_id=2)
    found = hours_of(replay(a_scenario(), annas + bens))
    assert found == [(0, 1), (2, 3), (3, 4), (1, 2)]


def test_the_replay_is_deterministic_and_may_be_empty() -> None:
    past = jobs(*((n, n / 10, 0.3) for n in range(1, 60)))
    scenario = a_scenario(Hours((("12:00-13:00", "20:00-22:00"), (), ())), jobs=2)
    assert replay(scenario, past) == replay(scenario, list(reversed(past)))
    assert replay(scenario, []) == []


def test_deadlines_order_and_cancel_waiting_jobs_in_the_replay() -> None:
    past = [each._replace(deadline_ms=NOON + deadline * HOUR_MS) for each, deadline in zip(
        jobs((2, 0.1, 1), (3, 0.1, 1), (4, 0.1, 1)), (9, 5, 3), strict=True
    )]  # fmt: skip
    past = [*jobs((1, 0, 4)), *past, *jobs((5, 0.1, 1))]
    # Job 4 cannot start before its deadline. Job 3 comes before 2; 5 has no deadline.
    assert hours_of(replay(a_scenario(), past)) == [(0, 4), (5, 6), (4, 5), None, (6, 7)]
