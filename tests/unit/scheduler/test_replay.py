"""Replay of past jobs under other settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mythjobs.model.bounds import Bounds
from mythjobs.model.machine_policy import ALLOW_ALL, policy_from_table
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


SECOND_MS = 1000


def seconds_of(outcomes: list[ReplayedJob]) -> list[tuple[float, float] | None]:
    """Return (start, end) in seconds after noon."""
    return [
        None
        if each.started_ms is None or each.ended_ms is None
        else ((each.started_ms - NOON) / SECOND_MS, (each.ended_ms - NOON) / SECOND_MS)
        for each in outcomes
    ]


def a_job(job_id: int, after_s: float, takes_s: float, class_id: int = 1, **more: Any) -> PastJob:
    job = PastJob(job_id, NOON + round(1000 * after_s), class_id, 0, takes_s)
    return job._replace(**more)


def until_one(closing: str) -> Hours:
    return Hours((("12:00-13:00",), (), ()), closing=closing)


# Job 2 fits into the hours when it is leased, but then waits for the slot of job 1.
LEASED_AHEAD = [a_job(1, 0, 0.2, class_id=2), a_job(2, 0.1, 3599.9)]
DAY_S = 86_400.0


def test_a_job_that_runs_when_its_hours_close_is_treated_by_the_closing_policy() -> None:
    def second(closing: str) -> ReplayedJob:
        return replay(a_scenario(until_one(closing)), LEASED_AHEAD)[1]

    assert second("requeue") == ReplayedJob(
        2, "attic", NOON + round(DAY_S * 1000), NOON + round((DAY_S + 3599.9) * 1000)
    )
    assert second("terminate") == ReplayedJob(2, "attic", NOON + 200, NOON + HOUR_MS, True)
    assert second("finish") == ReplayedJob(2, "attic", NOON + 200, NOON + HOUR_MS + 100)


def test_a_requeued_job_that_has_started_outlives_its_deadline() -> None:
    first, second = LEASED_AHEAD
    second = second._replace(deadline_ms=NOON + 2 * HOUR_MS)
    [_, found] = replay(a_scenario(until_one("requeue")), [first, second])
    assert found.started_ms == NOON + 24 * HOUR_MS


def test_a_leased_job_that_waits_when_the_hours_close_is_queued_again() -> None:
    past = [a_job(1, 3599.9, 0.2, class_id=2), a_job(2, 3599.95, 60)]
    found = seconds_of(replay(a_scenario(until_one("finish")), past))
    assert found == [(3599.9, 3600.1), (DAY_S, DAY_S + 60)]


def test_a_wall_limit_cuts_a_longer_job() -> None:
    scenario = a_scenario()
    for wall_s, expected in (
        (60.0, ReplayedJob(1, "attic", NOON, NOON + 60_000, True)),
        (90.0, ReplayedJob(1, "attic", NOON, NOON + 90_000)),
        (None, ReplayedJob(1, "attic", NOON, NOON + 90_000)),
    ):
        settings = {(1, 1): e.EffectiveSettings(bounds=Bounds(wall_s=wall_s))}
        changed = replace(scenario, settings=settings)
        assert replay(changed, [a_job(1, 0, 90)]) == [expected]
    assert replay(scenario, [a_job(1, 0, 0)]) == [ReplayedJob(1, "attic", NOON, NOON + 1)]


def test_jobs_that_are_leased_ahead_start_by_priority_when_a_slot_is_free() -> None:
    past = [a_job(1, 0, 0.1), a_job(2, 0.01, 0.1), a_job(3, 0.01, 0.1, priority=5)]
    # Job 2 was leased while it was alone.
    late = a_job(4, 0.02, 0.1, priority=7)
    found = seconds_of(replay(a_scenario(), [*past, late]))
    assert found == [(0, 0.1), (0.3, 0.4), (0.2, 0.3), (0.1, 0.2)]


def test_jobs_of_a_class_are_replayed_by_priority() -> None:
    past = [a_job(1, 0, 10), a_job(2, 1, 10), a_job(3, 1, 10, priority=5), a_job(4, 1, 10)]
    found = seconds_of(replay(a_scenario(), past))
    assert found == [(0, 10), (20, 30), (10, 20), (30, 40)]


def test_a_machine_never_runs_more_jobs_than_it_has_slots() -> None:
    together = [a_job(each, 0, 0.1) for each in (1, 2, 3)]
    assert seconds_of(replay(a_scenario(jobs=2), together)) == [(0, 0.1), (0, 0.1), (0.1, 0.2)]
    later = [a_job(1, 0, 0.1), a_job(2, 0, 0.1), a_job(3, 0.05, 0.1)]
    assert seconds_of(replay(a_scenario(jobs=2), later)) == [(0, 0.1), (0, 0.1), (0.1, 0.2)]


def test_a_full_machine_does_not_delay_the_starts_of_another() -> None:
    one = a_scenario()
    machines = {**one.machines, 2: e.MachineFacts("cellar", ALLOW_ALL, True, 1, 0, 2, can=CAN)}
    settings = {(class_id, each): e.EffectiveSettings() for class_id in (1, 2) for each in (1, 2)}
    both = replace(one, machines=machines, settings=settings)
    # Jobs 3 and 5 are leased ahead on attic, 4 on cellar, whose slot becomes free first.
    past = [a_job(1, 0, 0.2), a_job(2, 0, 0.1), *(a_job(each, 0.01, 0.1) for each in (3, 4, 5))]
    found = replay(both, past)
    assert [each.machine for each in found] == ["attic", "cellar", "attic", "cellar", "attic"]
    assert seconds_of(found)[2:] == [(0.2, 0.3), (0.1, 0.2), (0.3, 0.4)]


def test_a_job_is_cancelled_at_its_deadline() -> None:
    past = [a_job(1, 0, 100), a_job(2, 1, 1, deadline_ms=NOON + 100_000)]
    assert replay(a_scenario(), past)[1] == ReplayedJob(2, None, None, None)
    past = [a_job(1, 0, 100), a_job(2, 1, 1, deadline_ms=NOON + 100_001)]
    assert seconds_of(replay(a_scenario(), past))[1] == (100, 101)


def test_a_ceiling_of_a_machine_applies() -> None:
    policy = policy_from_table({"commands": {"flag": {"jobs": 1}}})
    scenario = a_scenario(jobs=4)
    machines = {1: scenario.machines[1]._replace(policy=policy)}
    past = [a_job(1, 0, 10), a_job(2, 0, 10), a_job(3, 0, 10, class_id=2)]
    found = seconds_of(replay(replace(scenario, machines=machines), past))
    assert found == [(0, 10), (10, 20), (0, 10)]


def test_a_frozen_job_releases_the_units_of_some_semaphores() -> None:
    hours = Hours((("12:00-13:00", "14:00-16:00"), (), ()), closing="freeze")
    scenario = a_scenario(hours, jobs=2, semaphores=(("nas", 1),))
    requirements = {
        **scenario.requirements,
        2: scenario.requirements[2]._replace(semaphores=(("nas", 1),)),
    }
    past = [a_job(1, 0, 5400), a_job(2, 600, 600, class_id=2)]
    keeps = replace(scenario, requirements=requirements)
    assert seconds_of(replay(keeps, past)) == [(0, 9000), (9000, 9600)]
    frees = replace(keeps, freed_by_freeze=frozenset({"nas"}))
    assert seconds_of(replay(frees, past)) == [(0, 9000), (3600, 4200)]


def test_a_job_that_cannot_run_within_two_months_never_ends() -> None:
    scenario = a_scenario(Hours((("mon 10:00-11:00",), ("tue 10:00-11:00",), ())))
    assert replay(scenario, [a_job(7, 0, 1)]) == [ReplayedJob(7, None, None, None)]
    # 61 days of work before it.
    past = [a_job(1, 0, 61 * DAY_S), a_job(2, 0, 1)]
    assert replay(a_scenario(), past) == [
        ReplayedJob(1, None, None, None),
        ReplayedJob(2, None, None, None),
    ]
