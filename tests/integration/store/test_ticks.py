"""Schedules and rows of their ticks, on both stores."""

from __future__ import annotations

from mythjobs.model.life import JobEvent
from mythjobs.store.open import Store
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import schedules, ticks
from mythjobs.store.writes.ticks import KEPT_ROWS, TickRow
from tests.support import queue as q


def _add(tx: Transaction, name: str = "night") -> int:
    table: dict[str, object] = {"name": name, "cron": "@daily"}
    return schedules.add(tx, name, table, "anna", at_ms=5, paused=False, reason="").schedule_id


def _row(schedule_id: int, tick_ms: int, outcome: str = "missed", **columns: object) -> TickRow:
    row = TickRow(schedule_id, tick_ms, 0, tick_ms, 1, outcome, "")
    return row._replace(**columns)  # type: ignore[arg-type]


def test_a_schedule_is_changed_and_removed_with_its_ticks(store: Store) -> None:
    with store.transaction() as tx:
        night, day = _add(tx), _add(tx, "day")
        ticks.add(tx, [_row(night, 10), _row(day, 10)])
        schedules.redefine(tx, night, {"name": "night", "cron": "@hourly"}, at_ms=20, cursor_ms=20)
        schedules.set_pause(tx, night, paused=True, until_ms=99, reason="away")
        schedules.set_cursors(tx, [(night, 30), (day, 31)])
        schedules.set_drifting(tx, night, True)
        found = schedules.find(tx, "night")
        assert found is not None
        assert found[2:] == (
            '{"name": "night", "cron": "@hourly"}', "anna", 5, 20, 30, 1, 99, "away", 1,
        )  # fmt: skip
        assert [each.name for each in schedules.read_all(tx)] == ["day", "night"]
        schedules.remove(tx, night)
        assert schedules.find(tx, "night") is None
        assert ticks.read_between(tx, night, 0, 100) == []
        assert len(ticks.read_between(tx, day, 0, 100)) == 1


def test_rows_of_ticks_are_extended_and_completed(store: Store) -> None:
    with store.transaction() as tx:
        night = _add(tx)
        [done, live] = q.queue_jobs(tx, 2)
        q.run(tx, done, JobEvent.FAILED)
        ticks.add(
            tx,
            [
                _row(night, 10),
                _row(night, 20, "submitted", job_id=done, tries=1),
                _row(night, 30, "submitted", job_id=live, tries=1, reason="caught up"),
            ],
        )
        ticks.extend(tx, _row(night, 10, last_ms=15, ticks=6))
        assert ticks.read_last(tx, night, 19, 5) == [_row(night, 10, last_ms=15, ticks=6)]
        assert [each.job_id for each in ticks.read_open(tx)] == [done, live]
        jobs = ticks.read_jobs(tx, [done, live, 99])
        assert {job_id: job.state for job_id, job in jobs.items()} == {
            done: "failed",
            live: "queued",
        }
        assert ticks.find_started(tx, [done, live]) == {done}

        ticks.set_job(tx, _row(night, 20, job_id=live, tries=2, reason=f"job {done} failed"))
        end = _row(night, 20, "failed", reason="exit code 1", started_ms=21, ended_ms=22)
        ticks.set_end(tx, end)
        ticks.set_end(tx, _row(night, 30, "succeeded", started_ms=31, ended_ms=32))
        [_, second, third] = ticks.read_between(tx, night, 10, 30)
        assert second == end._replace(
            job_id=live, tries=2, reason=f"job {done} failed; exit code 1"
        )
        assert (third.outcome, third.reason) == ("succeeded", "caught up")
        ticks.remove(tx, second)
        assert [each.tick_ms for each in ticks.read_between(tx, night, 0, 99)] == [10, 30]


def test_the_oldest_rows_are_deleted_except_those_with_live_jobs(store: Store) -> None:
    with store.transaction() as tx:
        night = _add(tx)
        rows = [_row(night, number) for number in range(KEPT_ROWS + 50)]
        rows[7] = rows[7]._replace(outcome="submitted", job_id=1)
        ticks.add(tx, rows)
        ticks.remove_old(tx, night)
        kept = ticks.read_between(tx, night, 0, 10_000)
        assert [each.tick_ms for each in kept[:2]] == [7, 50]
        assert len(kept) == KEPT_ROWS + 1
        ticks.remove_old(tx, night)
        assert len(ticks.read_between(tx, night, 0, 10_000)) == KEPT_ROWS + 1
