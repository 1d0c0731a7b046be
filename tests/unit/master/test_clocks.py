"""A machine keeps its hours by its own clock; what the master does where the two differ."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from tests.unit.master.house import House

NIGHT = {"open": ["00:00-24:00"], "closing": "freeze"}


def _gives_back(house: House, connection: int) -> list[int]:
    """It gives back all that it was granted, as closed; answers what that was."""
    name = house._names[connection]
    jobs = house.granted(name)
    for key in list(house.held[name]):
        del house.held[name][key]
        house.hear(connection, m.Returned(*key, "its hours are closed", m.CLOSED))
    return jobs


def _says_the_time(house: House, connection: int, ahead_s: float) -> None:
    wall_ms = house.now.wall_ms + round(1000 * ahead_s)
    house.hear(connection, m.Heartbeat(house._frames[connection] + 1, [], wall_ms))


def test_a_class_that_was_given_back_as_closed_is_not_offered_there_for_a_minute(
    house: House,
) -> None:
    attic = house.join("attic")
    house.define(windows=NIGHT)
    house.define("other", windows=NIGHT)
    job = house.submit().id
    assert _gives_back(house, attic) == [job]
    for _ in range(5):
        house.later(10)
        assert house.granted() == []
    # Another class is none of its business, and another machine neither.
    other = house.submit("other").id
    assert house.granted() == [other]
    cellar = house.join("cellar")
    assert house.granted("cellar") == [job]
    assert _gives_back(house, cellar) == []
    house.later(5)
    assert house.state(job) == "queued"
    # After the minute it is offered again, once.
    due_ms = house.core.memory.next_due_ms
    assert due_ms is not None
    house.later((due_ms - house.now.wall_ms) / 1000)
    assert house.granted() == [job]
    assert [key for key in house.held["attic"] if key[0] == job] == [(job, 3)]


def test_why_says_that_it_was_given_back_and_that_the_clocks_differ(house: House) -> None:
    attic = house.join("attic")
    house.define(windows=NIGHT)
    _says_the_time(house, attic, -7200)
    job = house.submit().id
    _gives_back(house, attic)
    house.later(20)
    told = (
        "gave it back, closed by its own clock (its clock is 2 h behind the master's); "
        "offered again in 40 s"
    )
    found = house.why(job)
    assert (found["code"], found["sentence"]) == ("clock_differs", f"waits: attic {told}")
    assert house.rules(job)["attic"]["clock"] == told


def test_a_clock_that_differs_is_told_also_where_nothing_came_of_it(house: House) -> None:
    attic = house.join("attic")
    house.define(windows=NIGHT)
    house.ask(requests.SetMachine("attic", jobs=0))
    job = house.submit().id
    assert "clock" not in house.rules(job)["attic"]
    assert house.machine()["clock_ms"] == 0
    _says_the_time(house, attic, 90)
    assert house.rules(job)["attic"]["clock"] == "its clock is 1 min 30 s ahead of the master's"
    assert house.machine()["clock_ms"] == 90_000
    assert house.why_machine()["sentence"].endswith(
        "; its clock is 1 min 30 s ahead of the master's"
    )
    # What a heartbeat takes under way is no difference.
    _says_the_time(house, attic, -3)
    assert house.machine()["clock_ms"] == 0


def test_whoever_sets_the_clock_or_says_other_hours_ends_the_wait(house: House) -> None:
    attic = house.join("attic")
    house.define(windows=NIGHT)
    _says_the_time(house, attic, -7200)
    job = house.submit().id
    assert _gives_back(house, attic) == [job]
    _says_the_time(house, attic, 0)
    assert _gives_back(house, attic) == [job]
    until_ms = house.now.wall_ms + 3_600_000
    house.ask(requests.OverrideHours("attic", "allow", until_ms))
    assert house.granted() == [job]
