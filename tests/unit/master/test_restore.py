"""Restored stores: unfinished jobs are held, and ids are never reused."""

from __future__ import annotations

from pathlib import Path

from mythjobs.master import requests
from mythjobs.master.attempts.restore import RestoreResult, prepare_restored_store
from mythjobs.protocol import messages as m
from mythjobs.store.backends.backup import back_up
from mythjobs.store.invariants import run
from mythjobs.store.open import open_store
from mythjobs.store.writes import id_recovery
from mythjobs.store.writes.id_recovery import ATTEMPTS_SKIPPED, JOB_IDS_SKIPPED
from tests.unit.master.harness import Harness
from tests.unit.master.schedule_harness import HOUR_S, Calendar


def _restore(master: Harness, path: Path, *, known: bool = True) -> RestoreResult:
    """Restore the master from this copy; the machines keep their state."""
    there = open_store(path)
    with master.store.snapshot() as old, there.transaction() as tx:
        restored = prepare_restored_store(
            tx, master.now, id_recovery.read_restored_ids(old) if known else None
        )
    master.store.close()
    master.store = there
    master.restart()
    with there.snapshot() as tx:
        assert run.check(tx) == []
    return restored


def test_unfinished_jobs_are_held_and_get_new_attempt_numbers(
    master: Harness, tmp_path: Path
) -> None:
    master.define()
    master.join(cores=1)
    running, waiting = master.queue(2)
    assert master.take_grants() == [running]
    back_up(tmp_path / "store.db", tmp_path / "copy.db")
    later = master.submit().id

    restored = _restore(master, tmp_path / "copy.db", known=False)
    assert restored == RestoreResult(held=2, next_job_id=2 * JOB_IDS_SKIPPED)
    assert later < restored.next_job_id
    assert master.explain(waiting)["sentence"].startswith("held: the store was restored")
    # The machine still runs the old attempt, and is told to stop it.
    connection = master.join(cores=2)
    assert [(each.job, each.n) for each in master.received(m.Stale)] == [(running, 1)]
    assert master.take_grants() == []

    master.attempts["attic"].clear()
    master.request(requests.ReleaseJobs([running, waiting]))
    grants = master.received(m.Grant)
    assert sorted((each.job, each.n) for each in grants) == [
        (running, 1 + ATTEMPTS_SKIPPED + 1),
        (waiting, ATTEMPTS_SKIPPED + 1),
    ]
    master.attempts["attic"] = {(each.job, each.n): "running" for each in grants}
    master.finish(connection, running, waiting)
    assert {master.state(running), master.state(waiting)} == {"succeeded"}


def test_attempts_that_are_live_in_both_stores_go_on(master: Harness, tmp_path: Path) -> None:
    master.define()
    connection = master.join(cores=2)
    [running, ended] = master.queue(2)
    assert master.take_grants() == [running, ended]
    back_up(tmp_path / "store.db", tmp_path / "copy.db")
    master.finish(connection, ended)

    assert _restore(master, tmp_path / "copy.db").held == 1
    connection = master.join(cores=2)
    assert master.received(m.Stale) == []
    master.finish(connection, running)
    assert master.state(running) == "succeeded"
    assert master.state(ended) == "queued"
    master.request(requests.ReleaseJobs([ended]))
    assert [(each.job, each.n) for each in master.received(m.Grant)] == [(ended, 2)]


def test_a_job_with_a_stop_request_is_cancelled(master: Harness, tmp_path: Path) -> None:
    master.define()
    master.join(cores=1)
    running = master.submit().id
    follower = master.submit(after=[{"job": running, "when": "ok"}]).id
    assert master.take_grants() == [running]
    master.request(requests.CancelJobs([running], "anna"))
    back_up(tmp_path / "store.db", tmp_path / "copy.db")
    assert _restore(master, tmp_path / "copy.db", known=False).held == 0
    assert master.state(running) == "cancelled"
    assert master.state(follower) == "cancelled"


def test_ticks_since_the_backup_are_missed_and_not_caught_up(
    master: Harness, tmp_path: Path
) -> None:
    calendar = Calendar(master, cron="0 * * * *", catch_up="all")
    calendar.advance(HOUR_S)
    calendar.run_jobs()
    back_up(tmp_path / "store.db", tmp_path / "copy.db")
    calendar.advance(3 * HOUR_S)
    _restore(master, tmp_path / "copy.db")
    calendar.settle()
    assert calendar.outcomes() == [
        ("2026-11-24 13:00", "succeeded"),
        ("2026-11-24 14:00", "missed"),
    ]
    assert [each.ticks for each in calendar.rows()] == [1, 3]
    assert calendar.rows()[1].reason == "the store was restored from a backup, so it may have run"
    calendar.advance(HOUR_S)
    assert calendar.outcomes()[2:] == [("2026-11-24 17:00", "submitted")]
