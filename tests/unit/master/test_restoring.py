"""A store that was put back: nothing of it runs by itself, and no number is given twice."""

from __future__ import annotations

from pathlib import Path

from mythjobs.master import requests
from mythjobs.master.attempts.restore import Begun, begin_again
from mythjobs.protocol import messages as m
from mythjobs.store.backends.backup import back_up
from mythjobs.store.invariants import run
from mythjobs.store.open import open_store
from mythjobs.store.writes import id_recovery
from mythjobs.store.writes.id_recovery import ATTEMPTS_LEFT_OUT, JOBS_LEFT_OUT
from tests.unit.master.house import House


def _back(house: House, path: Path, *, known: bool = True) -> Begun:
    """The house goes back to this copy; its machines know what they know."""
    there = open_store(path)
    with house.store.reading() as old, there.turn() as tx:
        begun = begin_again(tx, house.now, id_recovery.later(old) if known else None)
    house.store.close()
    house.store = there
    house.restart()
    with there.reading() as tx:
        assert run.check(tx) == []
    return begun


def test_what_was_not_over_is_held_and_goes_on_under_a_number_of_its_own(
    house: House, tmp_path: Path
) -> None:
    house.define()
    house.join(cores=1)
    running, waiting = house.queue(2)
    assert house.granted() == [running]
    back_up(tmp_path / "store.db", tmp_path / "copy.db")
    later = house.submit().id

    begun = _back(house, tmp_path / "copy.db", known=False)
    assert begun == Begun(held=2, next_job_id=2 * JOBS_LEFT_OUT)
    assert later < begun.next_job_id
    assert house.why(waiting)["sentence"].startswith("held: the store was put back")
    # The machine has it still, under a number that is over: it is told to stop.
    connection = house.join(cores=2)
    assert [(each.job, each.n) for each in house.heard(m.Stale)] == [(running, 1)]
    assert house.granted() == []

    house.held["attic"].clear()
    house.ask(requests.ReleaseJobs([running, waiting]))
    grants = house.heard(m.Grant)
    assert sorted((each.job, each.n) for each in grants) == [
        (running, 1 + ATTEMPTS_LEFT_OUT + 1),
        (waiting, ATTEMPTS_LEFT_OUT + 1),
    ]
    house.held["attic"] = {(each.job, each.n): "running" for each in grants}
    house.run(connection, running, waiting)
    assert {house.state(running), house.state(waiting)} == {"succeeded"}


def test_what_runs_by_the_word_of_both_stores_goes_on(house: House, tmp_path: Path) -> None:
    house.define()
    connection = house.join(cores=2)
    [running, ended] = house.queue(2)
    assert house.granted() == [running, ended]
    back_up(tmp_path / "store.db", tmp_path / "copy.db")
    house.run(connection, ended)

    assert _back(house, tmp_path / "copy.db").held == 1
    connection = house.join(cores=2)
    assert house.heard(m.Stale) == []
    house.run(connection, running)
    assert house.state(running) == "succeeded"
    assert house.state(ended) == "queued"
    house.ask(requests.ReleaseJobs([ended]))
    assert [(each.job, each.n) for each in house.heard(m.Grant)] == [(ended, 2)]


def test_what_was_to_be_stopped_is_cancelled(house: House, tmp_path: Path) -> None:
    house.define()
    house.join(cores=1)
    running = house.submit().id
    follower = house.submit(after=[{"job": running, "when": "ok"}]).id
    assert house.granted() == [running]
    house.ask(requests.CancelJobs([running], "anna"))
    back_up(tmp_path / "store.db", tmp_path / "copy.db")
    assert _back(house, tmp_path / "copy.db", known=False).held == 0
    assert house.state(running) == "cancelled"
    assert house.state(follower) == "cancelled"
