"""Machines apply windows by their own clock; the master handles a clock that differs."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from tests.unit.master.harness import Harness

NIGHT = {"open": ["00:00-24:00"], "closing": "freeze"}


def _return_grants(master: Harness, connection: int) -> list[int]:
    """Return all grants of a machine as closed, and return their jobs."""
    name = master._names[connection]
    jobs = master.take_grants(name)
    for key in list(master.attempts[name]):
        del master.attempts[name][key]
        master.send_frame(connection, m.Returned(*key, "its hours are closed", m.HOURS_CLOSED))
    return jobs


def _send_clock(master: Harness, connection: int, ahead_s: float) -> None:
    wall_ms = master.now.wall_ms + round(1000 * ahead_s)
    master.send_frame(connection, m.Heartbeat(master._frames[connection] + 1, [], wall_ms))


def test_a_class_returned_as_closed_is_not_granted_there_for_a_minute(master: Harness) -> None:
    attic = master.join("attic")
    master.define(windows=NIGHT)
    master.define("other", windows=NIGHT)
    job = master.submit().id
    assert _return_grants(master, attic) == [job]
    for _ in range(5):
        master.advance(10)
        assert master.take_grants() == []
    # Neither another class nor another machine is affected.
    other = master.submit("other").id
    assert master.take_grants() == [other]
    cellar = master.join("cellar")
    assert master.take_grants("cellar") == [job]
    assert _return_grants(master, cellar) == []
    master.advance(5)
    assert master.state(job) == "queued"
    # After the minute the machine gets one grant again.
    due_ms = master.core.state.next_due_ms
    assert due_ms is not None
    master.advance((due_ms - master.now.wall_ms) / 1000)
    assert master.take_grants() == [job]
    assert [key for key in master.attempts["attic"] if key[0] == job] == [(job, 3)]


def test_why_shows_the_returned_grant_and_the_clock_skew(master: Harness) -> None:
    attic = master.join("attic")
    master.define(windows=NIGHT)
    _send_clock(master, attic, -7200)
    job = master.submit().id
    _return_grants(master, attic)
    master.advance(20)
    detail = (
        "returned a job because its own clock says that the hours are closed "
        "(its clock is 2 h behind the master's); next offer in 40 s"
    )
    found = master.explain(job)
    assert (found["code"], found["sentence"]) == ("clock_differs", f"waits: attic {detail}")
    assert master.rules(job)["attic"]["clock"] == detail


def test_clock_skew_is_shown_even_without_an_effect(master: Harness) -> None:
    attic = master.join("attic")
    master.define(windows=NIGHT)
    master.request(requests.SetMachine("attic", jobs=0))
    job = master.submit().id
    assert "clock" not in master.rules(job)["attic"]
    assert master.machine_page()["clock_ms"] == 0
    _send_clock(master, attic, 90)
    assert master.rules(job)["attic"]["clock"] == "its clock is 1 min 30 s ahead of the master's"
    assert master.machine_page()["clock_ms"] == 90_000
    assert master.explain_machine()["sentence"].endswith(
        "; its clock is 1 min 30 s ahead of the master's"
    )
    # The delay of a heartbeat does not count as skew.
    _send_clock(master, attic, -3)
    assert master.machine_page()["clock_ms"] == 0


def test_a_set_clock_or_a_changed_window_ends_the_wait(master: Harness) -> None:
    attic = master.join("attic")
    master.define(windows=NIGHT)
    _send_clock(master, attic, -7200)
    job = master.submit().id
    assert _return_grants(master, attic) == [job]
    _send_clock(master, attic, 0)
    assert _return_grants(master, attic) == [job]
    until_ms = master.now.wall_ms + 3_600_000
    master.request(requests.OverrideHours("attic", "allow", until_ms))
    assert master.take_grants() == [job]
