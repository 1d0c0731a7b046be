"""Past jobs against other settings."""

from __future__ import annotations

from typing import Any

from mythjobs.model.machine_policy import ALLOW_ALL
from mythjobs.model.window import Hours
from mythjobs.scheduler import eligibility as e
from mythjobs.scheduler.replay import PastJob, ReplayedJob, Scenario, replay

NOON = 1_795_521_600_000
HOUR_MS, HOUR_S = 3_600_000, 3600.0
CAN = frozenset({"windows", "freeze"})


def a_world(hours: Hours | None = None, jobs: int = 1, **ask: Any) -> Scenario:
    """One machine; class 1 has these hours, class 2 none."""
    return Scenario(
        {
            1: e.Requirements("flag", 1, 1, "anna", **ask),
            2: e.Requirements("other", 2, 2, "ben"),
        },
        {1: e.MachineFacts("attic", ALLOW_ALL, True, jobs, 0, 1, can=CAN)},
        {(1, 1): e.EffectiveSettings(hours), (2, 1): e.EffectiveSettings()},
        {"nas": 1},
    )


def jobs(*rows: tuple[int, float, float], class_id: int = 1) -> list[PastJob]:
    """(number, hours after noon, hours it takes)."""
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


def test_one_place_is_used_one_after_the_other_and_two_at_once() -> None:
    past = jobs((1, 0, 2), (2, 0.5, 1), (3, 10, 1))
    assert hours_of(replay(a_world(), past)) == [(0, 2), (2, 3), (10, 11)]
    assert hours_of(replay(a_world(jobs=2), past)) == [(0, 2), (0.5, 1.5), (10, 11)]


def test_hours_let_it_start_later_and_freeze_it_over_the_day() -> None:
    night = ("22:00-06:00",)
    past = jobs((1, 0, 3), (2, 0, 7))
    finish = a_world(Hours((night, (), ())))
    assert hours_of(replay(finish, past)) == [(10, 13), (13, 20)]
    freeze = a_world(Hours((night, (), ()), closing="freeze"))
    # Seven hours do not fit into what is left of the first night: the last two are in the next.
    assert hours_of(replay(freeze, past)) == [(10, 13), (13, 36)]


def test_what_never_fits_is_told_as_never() -> None:
    world = a_world(Hours((("12:00-13:00",), (), ()), closing="requeue"))
    assert hours_of(replay(world, jobs((1, 0, 0.5), (2, 0, 2)))) == [(0, 0.5), None]


def test_semaphores_priority_and_fairness_hold_in_the_replay() -> None:
    world = a_world(jobs=4, semaphores=(("nas", 1),))
    assert hours_of(replay(world, jobs((1, 0, 1), (2, 0, 1)))) == [(0, 1), (1, 2)]
    annas = jobs((1, 0, 1), (2, 0, 1), (3, 0, 1))
    bens = jobs((4, 0, 1), class_id=2)
    found = hours_of(replay(a_world(), annas + bens))
    assert found == [(0, 1), (2, 3), (3, 4), (1, 2)]


def test_the_same_past_gives_the_same_answer_and_nothing_gives_nothing() -> None:
    past = jobs(*((n, n / 10, 0.3) for n in range(1, 60)))
    world = a_world(Hours((("12:00-13:00", "20:00-22:00"), (), ())), jobs=2)
    assert replay(world, past) == replay(world, list(reversed(past)))
    assert replay(world, []) == []


def test_deadlines_sort_and_end_what_waits_in_the_replay_too() -> None:
    past = [each._replace(deadline_ms=NOON + deadline * HOUR_MS) for each, deadline in zip(
        jobs((2, 0.1, 1), (3, 0.1, 1), (4, 0.1, 1)), (9, 5, 3), strict=True
    )]  # fmt: skip
    past = [*jobs((1, 0, 4)), *past, *jobs((5, 0.1, 1))]
    # Job 4 could not start before its deadline; 3 comes before 2, and 5, without one, last.
    assert hours_of(replay(a_world(), past)) == [(0, 4), (5, 6), (4, 5), None, (6, 7)]
