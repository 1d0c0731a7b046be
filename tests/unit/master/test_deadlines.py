"""Of jobs with one priority the one that must start earlier goes first, and a late one is told."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.master.explain import reasons
from mythjobs.protocol import messages as m
from tests.unit.master.house import NOON, House


def _started(house: House, connection: int, count: int) -> list[int]:
    """The next jobs that a machine with one place gets, each after the end of the last."""
    [running] = house.granted()
    order = []
    for _ in range(count):
        house.run(connection, running)
        [running] = house.granted()
        order.append(running)
    return order


def test_within_a_class_the_earlier_deadline_goes_first(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    _, plain = house.queue(2)
    late = house.submit(deadline_ms=NOON + 9_000_000).id
    early = house.submit(deadline_ms=NOON + 5_000_000).id
    later = house.submit(deadline_ms=NOON + 9_000_000).id
    urgent = house.submit(priority=1).id
    assert _started(house, attic, 5) == [urgent, early, late, later, plain]


def test_between_commands_of_a_submitter_it_goes_before_their_turns(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    house.define("other")
    plain = house.queue(3)
    soon = house.queue(3, "other", deadline_ms=NOON + 5_000_000)
    above = house.submit(priority=1).id
    assert _started(house, attic, 6) == [above, *soon, *plain[1:]]


def test_nobody_gains_over_other_submitters_by_writing_deadlines(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    soon = house.queue(6, by="anna", deadline_ms=NOON + 5_000_000)
    plain = house.queue(6, by="ben")
    started = _started(house, attic, 6)
    assert sorted(set(started) & set(plain)) == plain[:3]
    assert sorted(set(started) & set(soon)) == soon[1:4]


def test_of_one_subject_the_earlier_deadline_is_the_one_that_is_ready(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    house.submit(subject="news")
    plain = house.submit(subject="news").id
    soon = house.submit(subject="news", deadline_ms=NOON + 5_000_000).id
    assert house.why(plain)["code"] == "subject_taken"
    assert _started(house, attic, 2) == [soon, plain]


def test_the_expected_start_counts_those_with_an_earlier_deadline(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    house.learn(attic, 60)
    house.submit()
    plain = house.submit().id
    first = house.why(plain)["expected_start_ms"]
    house.queue(2, deadline_ms=NOON + 5_000_000)
    assert house.why(plain)["expected_start_ms"] == first + 120_000


def test_a_started_job_whose_deadline_has_passed_is_told_late(house: House) -> None:
    attic = house.join("attic", 1)
    house.define()
    job = house.submit(deadline_ms=NOON + 5000).id
    house.granted()
    house.hear(attic, m.Started(job, 1, NOON))
    assert house.why(job)["sentence"] == "running on attic"
    house.later(5)
    late = "running on attic; late, its deadline has passed"
    assert house.why(job)["sentence"] == late
    with house.store.reading() as tx:
        page = reasons.job(tx, house.core.memory, house.now, job)
    assert page["reason"] == {"code": "running", "sentence": late}
    # Nor is one that is over said to be late.
    house.run(attic, job)
    assert "late" not in house.why(job)["sentence"]


def test_a_rerun_has_no_deadline_of_the_old_one(house: House) -> None:
    house.join("attic", 1)
    house.define()
    house.ask(requests.SetMachine("attic", jobs=0))
    job = house.submit(deadline_ms=NOON + 1000).id
    house.later(2)
    [again] = house.ask(requests.RerunJobs([job], "anna"))
    house.later(60)
    assert house.state(int(again.done)) == "queued"
