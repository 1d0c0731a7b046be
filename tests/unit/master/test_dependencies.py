"""Dependencies between jobs, over long chains."""

from __future__ import annotations

import pytest

from mythjobs.errors import BadRequest
from mythjobs.master.turn_context import MAX_RESOLVED
from mythjobs.store.invariants.run import check
from tests.unit.master.harness import Harness


def test_dependents_that_can_never_run_are_cancelled_along_a_long_chain(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    [first] = chain = master.queue(1)
    assert master.take_grants() == [first]
    for _ in range(700):
        chain.append(master.submit(after=[{"job": chain[-1], "when": "ok"}]).id)
    master.finish(attic, first, code=1)
    assert master.state(first) == "failed"
    for _ in range(len(chain) // MAX_RESOLVED):
        assert master.state(chain[-1]) == "queued"
        _check(master)
        master.turn()
    assert {master.state(each) for each in chain[1:]} == {"cancelled"}
    _check(master)


def test_why_names_the_jobs_that_are_waited_for_and_what_they_did(master: Harness) -> None:
    # Seen: "waits for another job to end", without its id, and "job 37, which is failed".
    attic = master.join("attic", 1)
    master.define()
    [first] = master.queue(1)
    assert master.take_grants() == [first]
    second = master.submit(after=[{"job": first, "when": "ok"}]).id
    last = master.submit(
        after=[{"job": first, "when": "any"}, {"job": second, "when": "failure"}]
    ).id
    sentence = f"waits for job {first} to succeed"
    assert master.explain(second)["sentence"] == sentence
    assert master.explain(last)["sentence"] == (
        f"waits for job {first} to end and job {second} to fail"
    )
    assert master.shown_job(second)["reason"]["sentence"] == sentence
    assert master.submit(after=[{"job": first, "when": "ok"}]).reason == sentence
    # Of many jobs only the number is given.
    many = [{"job": each, "when": "any"} for each in master.queue(6)]
    assert master.explain(master.submit(after=many).id)["sentence"] == (
        "waits for 6 other jobs to end"
    )
    master.finish(attic, first, code=1)
    never = f"the job depends on job {first}, which failed"
    assert master.explain(second)["sentence"] == never
    assert master.explain(last)["sentence"] == (
        f"the job depends on job {second}, which was cancelled"
    )
    # The same for a job that is submitted only then.
    assert master.submit(after=[{"job": first, "when": "ok"}]).reason == never


@pytest.mark.slow
def test_many_dependents_of_one_job_are_resolved_over_several_turns(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    [first] = master.queue(1)
    assert master.take_grants() == [first]
    waiting = [
        master.submit(after=[{"job": first, "when": "ok" if number % 2 else "failure"}]).id
        for number in range(2 * MAX_RESOLVED + 10)
    ]
    master.finish(attic, first, code=1)
    assert _count_unmet(master) == len(waiting) - MAX_RESOLVED
    _check(master)
    # The rest is not forgotten by a restart.
    master.restart()
    while left := _count_unmet(master):
        master.turn()
        assert left - _count_unmet(master) == min(left, MAX_RESOLVED)
        _check(master)
    states = [master.state(each) for each in waiting]
    assert states[1::2] == ["cancelled"] * (len(waiting) // 2)
    assert "cancelled" not in states[::2]


def _count_unmet(master: Harness) -> int:
    with master.store.snapshot() as tx:
        tx.cursor.execute("SELECT count(*) FROM dependency WHERE met = 0")
        return int(tx.cursor.fetchone()[0])


def _check(master: Harness) -> None:
    with master.store.snapshot() as tx:
        assert check(tx) == []


def test_a_dependency_that_is_given_twice_counts_once(master: Harness) -> None:
    # Seen: a script submitted two jobs with one key, and could not depend on "both".
    attic = master.join("attic", 1)
    master.define()
    [first] = master.queue(1)
    assert master.take_grants() == [first]
    once = {"job": first, "when": "ok"}
    second = master.submit(after=[once, {"job": first}]).id
    sentence = f'dependency: job {first} is given as "ok" and as "any"; give one'
    with pytest.raises(BadRequest) as refused:
        master.submit(after=[once, {"job": first, "when": "any"}])
    assert refused.value.sentence == sentence
    master.finish(attic, first)
    assert master.take_grants() == [second]
