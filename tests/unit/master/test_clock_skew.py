"""A machine keeps its hours by its own clock; what the master does where the two differ."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from tests.unit.master.harness import Harness

NIGHT = {"open": ["00:00-24:00"], "closing": "freeze"}


def _gives_back(master: Harness, connection: int) -> list[int]:
    """It gives back all that it was granted, as closed; answers what that was."""
    name = master._names[connection]
    jobs = master.take_grants(name)
    for key in list(master.attempts[name]):
        del master.attempts[name][key]
        master.send_frame(connection, m.Returned(*key, "its hours are closed", m.HOURS_CLOSED))
    return jobs


def _says_the_time(master: Harness, connection: int, ahead_s: float) -> None:
    wall_ms = master.now.wall_ms + round(1000 * ahead_s)
    master.send_frame(connection, m.Heartbeat(master._frames[connection] + 1, [], wall_ms))


def test_a_class_that_was_given_back_as_closed_is_not_offered_there_for_a_minute(
    master: Harness,
) -> None:
    attic = master.join("attic")
    master.define(windows=NIGHT)
    master.define("other", windows=NIGHT)
    job = master.submit().id
    assert _gives_back(master, attic) == [job]
    for _ in range(5):
        master.advance(10)
        assert master.take_grants() == []
    # Another class is none of its business, and another machine neither.
    other = master.submit("other").id
    assert master.take_grants() == [other]
    cellar = master.join("cellar")
    assert master.take_grants("cellar") == [job]
    assert _gives_back(master, cellar) == []
    master.advance(5)
    assert master.state(job) == "queued"
    # After the minute it is offered again, once.
    due_ms = master.core.state.next_due_ms
    assert due_ms is not None
    master.advance((due_ms - master.now.wall_ms) / 1000)
    assert master.take_grants() == [job]
    assert [key for key in master.attempts["attic"] if key[0] == job] == [(job, 3)]


def test_why_says_that_it_was_given_back_and_that_the_clocks_differ(master: Harness) -> None:
    attic = master.join("attic")
    master.define(windows=NIGHT)
    _says_the_time(master, attic, -7200)
    job = master.submit().id
    _gives_back(master, attic)
    master.advance(20)
    told = (
        "gave it back, closed by its own clock (its clock is 2 h behind the master's); "
        "offered again in 40 s"
    )
    found = master.explain(job)
    assert (found["code"], found["sentence"]) == ("clock_differs", f"waits: attic {told}")
    assert master.rules(job)["attic"]["clock"] == told


def test_a_clock_that_differs_is_told_also_where_nothing_came_of_it(master: Harness) -> None:
    attic = master.join("attic")
    master.define(windows=NIGHT)
    master.request(requests.SetMachine("attic", jobs=0))
    job = master.submit().id
    assert "clock" not in master.rules(job)["attic"]
    assert master.machine_page()["clock_ms"] == 0
    _says_the_time(master, attic, 90)
    assert master.rules(job)["attic"]["clock"] == "its clock is 1 min 30 s ahead of the master's"
    assert master.machine_page()["clock_ms"] == 90_000
    assert master.explain_machine()["sentence"].endswith(
        "; its clock is 1 min 30 s ahead of the master's"
    )
    # What a heartbeat takes under way is no difference.
    _says_the_time(master, attic, -3)
    assert master.machine_page()["clock_ms"] == 0


def test_whoever_sets_the_clock_or_says_other_hours_ends_the_wait(master: Harness) -> None:
    attic = master.join("attic")
    master.define(windows=NIGHT)
    _says_the_time(master, attic, -7200)
    job = master.submit().id
    assert _gives_back(master, attic) == [job]
    _says_the_time(master, attic, 0)
    assert _gives_back(master, attic) == [job]
    until_ms = master.now.wall_ms + 3_600_000
    master.request(requests.OverrideHours("attic", "allow", until_ms))
    assert master.take_grants() == [job]
