"""Backfill of schedules: the jobs of past ticks run one after the other."""

from __future__ import annotations

from mythjobs.master.requests import CancelJobs
from mythjobs.master.schedules import requests
from mythjobs.store.invariants.run import check
from tests.unit.master.harness import Harness
from tests.unit.master.schedule_harness import (
    DAY_S,
    HOUR_S,
    MINUTE_S,
    Calendar,
    assert_complete,
    utc,
)

# The harness begins at Tuesday 2026-11-24, 12:00 UTC.


def test_a_backfill_submits_past_ticks_without_a_job(master: Harness) -> None:
    calendar = Calendar(master, cron="0 * * * *", catch_up="skip")
    calendar.advance(HOUR_S)
    [ran] = calendar.run_jobs()
    calendar.restart(DAY_S + 600)
    now_ms = master.now.wall_ms
    from_ms, to_ms = now_ms - 26 * 3_600_000, now_ms - 20 * 3_600_000
    backfill = requests.BackfillSchedule("night", from_ms, to_ms, True)
    plan = master.request(backfill)
    assert [(utc(each.at_ms)[11:], each.outcome) for each in plan] == [
        ("12:00", "to submit"),
        ("13:00", "ran"),
        ("14:00", "to submit"),
        ("15:00", "to submit"),
        ("16:00", "to submit"),
        ("17:00", "to submit"),
    ]
    assert plan[1].job_id == ran
    rows = calendar.rows()
    done = master.request(requests.BackfillSchedule("night", from_ms, to_ms, False))
    assert [each.outcome for each in done] == ["submitted", "ran", *["submitted"] * 4]
    assert len(calendar.rows()) == len(rows) + 5
    finished: list[int] = []
    while more := calendar.run_jobs(seconds=1):
        assert len(more) == 1
        finished += more
    assert finished == [each.job_id for each in done if each.job_id != ran]
    again = master.request(requests.BackfillSchedule("night", from_ms, to_ms, False))
    assert {each.outcome for each in again} == {"ran"}
    assert_complete(calendar, "night", since="2026-11-24 11:00")


def test_jobs_of_a_backfill_run_one_after_the_other_even_if_one_is_cancelled(
    master: Harness,
) -> None:
    calendar = Calendar(master, cron="0 * * * *", overlap="queue", at_most=3)
    calendar.advance_to("2026-11-24 14:10")
    [running] = master.take_grants()
    queued = running + 1
    now_ms = master.now.wall_ms
    backfill = requests.BackfillSchedule("night", now_ms - 5 * 3_600_000, now_ms, False)
    done = master.request(backfill)
    assert [each.outcome for each in done] == ["submitted"] * 3 + ["ran"] * 2
    first, second, third = (each.job_id for each in done[:3])
    master.request(CancelJobs([queued, second], "ben"))
    assert master.take_grants() == []
    master.finish(calendar.attic, running)
    assert calendar.run_jobs() == [first]
    assert calendar.run_jobs() == [third]


def test_the_dependencies_of_a_backfill_grow_with_its_ticks_only(master: Harness) -> None:
    calendar = Calendar(master, cron="0 * * * *", catch_up="skip")
    now_ms = master.now.wall_ms
    backfill = requests.BackfillSchedule("night", now_ms - 59 * 3_600_000, now_ms, False)
    jobs = [each.job_id for each in master.request(backfill)]
    assert len(jobs) == 60
    assert _count_dependencies(master) == 59
    # Any jobs may be cancelled, at once or one by one: the others still run in order.
    [running] = master.take_grants()
    assert running == jobs[0]
    master.request(CancelJobs([*jobs[1:20], *jobs[30:40], jobs[59]], "ben"))
    for each in (*jobs[41:44], *jobs[46:40:-2], jobs[20]):
        master.request(CancelJobs([each], "ben"))
    assert master.take_grants() == []
    assert _count_dependencies(master) < 80
    master.finish(calendar.attic, running)
    ran: list[int] = []
    while more := calendar.run_jobs(seconds=1):
        assert len(more) == 1
        ran += more
    assert ran == [*jobs[21:30], jobs[40], *jobs[45:46], *jobs[47:59]]
    with master.store.snapshot() as tx:
        assert check(tx) == []


def test_another_job_waits_for_a_long_backfill_by_few_dependencies(master: Harness) -> None:
    calendar = Calendar(
        master,
        cron="0 * * * *",
        overlap="queue",
        at_most=100,
        retry={"failures": 1, "backoff": "5m"},
    )
    now_ms = master.now.wall_ms
    backfill = requests.BackfillSchedule("night", now_ms - 19 * 3_600_000, now_ms, False)
    jobs = [each.job_id for each in master.request(backfill)]
    [now] = master.request(requests.RunSchedule("night", "anna"))
    calendar.advance(HOUR_S)
    assert calendar.run_jobs(code=1) == jobs[:1]
    again = now + 2
    # Of the jobs of the backfill, of `schedule run`, of the tick and of the second try each waits
    # for the one before.
    assert _count_dependencies(master) == len(jobs) + 2
    master.request(CancelJobs([now, now + 1], "ben"))
    ran: list[int] = []
    while more := calendar.run_jobs(seconds=1):
        assert len(more) == 1
        ran += more
    assert ran == jobs[1:]
    calendar.advance(6 * MINUTE_S)
    assert calendar.run_jobs() == [again]


def test_jobs_of_a_backfill_do_not_expire_while_they_wait_for_each_other(master: Harness) -> None:
    calendar = Calendar(master, cron="0 * * * *", catch_up="skip", start_within="15m")
    now_ms = master.now.wall_ms
    backfill = requests.BackfillSchedule("night", now_ms - 2 * 3_600_000, now_ms, False)
    done = master.request(backfill)
    assert [each.outcome for each in done] == ["submitted"] * 3
    [first] = master.take_grants()
    calendar.advance(20 * MINUTE_S)
    master.finish(calendar.attic, first)
    assert calendar.run_jobs() == [done[1].job_id]
    assert calendar.run_jobs() == [done[2].job_id]


def _count_dependencies(master: Harness) -> int:
    with master.store.snapshot() as tx:
        tx.cursor.execute("SELECT count(*) FROM dependency")
        return int(tx.cursor.fetchone()[0])
