"""What owners say, and what it does at once: settings, overrides, semaphores, on and off."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import BadRequest, DefinitionError, NoSuchCommand, NoSuchMachine
from mythjobs.master import requests
from mythjobs.master.core import Core
from mythjobs.protocol import messages as m
from tests.unit.master.house import HOUR_S, NOON, House

NIGHT: dict[str, Any] = {"windows": {"open": ["22:00-06:00"]}}


def edit(house: House, name: str = "attic", **settings: Any) -> dict[str, Any]:
    answer = house.ask(requests.EditMachine(name, {"allow": "all"} | settings))
    assert isinstance(answer, dict)
    return answer


def override(house: House, kind: str, hours: float = 0, command: str | None = None) -> None:
    until_ms = house.now.wall_ms + round(3_600_000 * hours) if hours else None
    house.ask(requests.OverrideHours("attic", kind, until_ms, command))


def test_settings_are_kept_shown_and_there_after_a_restart(house: House) -> None:
    house.join(cores=4)
    house.define()
    settings: dict[str, Any] = {
        "jobs": 3, "zone": "Europe/Berlin", "labels": ["gpu"], "allow": ["flag"], **NIGHT,
        "commands": {"flag": {"jobs": 1, "closing": "freeze"}},
    }  # fmt: skip
    answer = edit(house, **settings)
    assert answer["jobs"] == 3
    assert answer["settings"]["commands"] == {"flag": {"jobs": 1, "windows": {"closing": "freeze"}}}
    assert house.heard(m.Settings)[-1].jobs == 3
    before = house.core.memory.machines[1]
    house.restart()
    after = house.core.memory.machines[1]
    assert (after.owner, after.rights, after.ceiling) == (before.owner, before.rights, 3)


def test_settings_that_are_wrong_change_nothing(house: House) -> None:
    house.join()
    house.define()
    before = house.core.memory.machines[1].owner
    with pytest.raises(DefinitionError, match="zone"):
        edit(house, zone="Mars/Olympus")
    with pytest.raises(NoSuchCommand):
        edit(house, commands={"flog": {"jobs": 1}})
    with pytest.raises(NoSuchMachine):
        edit(house, "cellar")
    assert house.core.memory.machines[1].owner == before


def test_a_bare_machine_runs_nothing_it_was_not_allowed(house: House) -> None:
    house.join()
    house.define()
    house.ask(requests.EditMachine("attic", {}))
    said = house.submit()
    assert said.state == "queued"
    assert said.reason.startswith("will wait: no machine allows flag; allow it with")
    assert house.granted() == []
    # And once it is allowed, it starts in the same turn.
    house.ask(requests.SetMachine("attic", allow=["flag"]))
    assert house.granted() == [said.id]


def test_a_job_waits_for_the_window_and_starts_when_it_opens(house: House) -> None:
    house.join()
    house.define(**NIGHT)
    said = house.submit()
    assert said.reason == "waits for the window of machine attic, opens at 22:00 (in 10 h)"
    # The master wakes by itself, then and not later.
    assert house.core.memory.next_due_ms == NOON + 10 * 3_600_000
    house.later(10 * HOUR_S - 1)
    assert house.granted() == []
    house.later(1)
    [grant] = house.heard(m.Grant)
    assert grant.job == said.id
    assert grant.hours == m.Hours([["22:00-06:00"], [], []], "", "finish", 10.0, [])


def test_hours_are_read_in_the_zone_of_the_machine(house: House) -> None:
    house.join(zone="Europe/Berlin")
    house.define(**NIGHT)
    said = house.submit()
    assert "opens at 22:00 Europe/Berlin (in 9 h)" in said.reason
    house.ask(requests.SetMachine("attic", zone="America/New_York"))
    assert house.why(said.id)["sentence"].endswith("opens at 22:00 America/New_York (in 15 h)")


def test_a_zone_that_the_master_does_not_know_is_said_and_stops_nobody_else(house: House) -> None:
    house.join(zone="Mars/Olympus")
    house.define()
    house.define("nightly", **NIGHT)
    assert house.submit("nightly").reason.startswith(
        'will wait: no machine can run it: attic its hours cannot be told: "Mars/Olympus"'
    )
    ready = house.submit("flag")
    assert house.granted() == [ready.id]


def test_a_job_that_would_not_fit_before_the_close_is_not_started(house: House) -> None:
    attic = house.join(cores=1)
    house.define(windows={"open": ["10:00-13:00"], "closing": "requeue"})
    house.learn(attic, 4000)
    said = house.submit()
    assert house.granted() == []
    assert said.reason == ("waits: attic closes 13:00, too soon for what usually takes 1 h 6 min")
    assert house.why(said.id)["code"] == "does_not_fit"
    house.later(22 * HOUR_S)
    assert house.granted() == [said.id]


def test_what_runs_over_the_close_is_started_where_it_may_finish(house: House) -> None:
    attic = house.join(cores=1)
    house.define(windows={"open": ["10:00-13:00"]})
    house.learn(attic, 4000)
    said = house.submit()
    assert house.granted() == [said.id]


def test_an_override_opens_and_closes_at_once_and_ends_by_itself(house: House) -> None:
    house.join()
    house.define(**NIGHT)
    [first, second, third] = house.queue(3)
    override(house, "allow", hours=1)
    assert house.granted() == [first, second]
    override(house, "pause", hours=2, command="flag")
    [changed, _] = house.heard(m.HoursChanged)
    assert changed.job == first
    assert changed.hours is not None
    assert changed.hours.overrides == [
        ("allow", NOON + 3_600_000), ("pause", NOON + 2 * 3_600_000),
    ]  # fmt: skip
    override(house, "hours")
    override(house, "hours", command="flag")
    [*_, last] = house.heard(m.HoursChanged)
    assert last.hours is not None
    assert last.hours.overrides == []
    assert house.why(third)["code"] == "window_closed"


def test_an_override_is_there_after_a_restart_and_gone_after_its_time(house: House) -> None:
    house.join()
    house.define()
    override(house, "pause", hours=2)
    said = house.submit()
    assert house.why(said.id)["sentence"] == (
        "waits for the window of machine attic, opens at 14:00 (in 2 h)"
    )
    house.restart()
    house.join()
    assert house.granted() == []
    house.later(2 * HOUR_S)
    assert house.granted() == [said.id]


def test_an_override_without_an_end_is_refused(house: House) -> None:
    house.join()
    with pytest.raises(BadRequest, match="say until when"):
        override(house, "pause")
    with pytest.raises(BadRequest, match="within a year"):
        override(house, "allow", hours=24 * 400)
    with pytest.raises(BadRequest, match="none of allow, pause, hours"):
        override(house, "open", hours=1)


def test_a_machine_that_was_away_hears_of_the_hours_that_changed_meanwhile(house: House) -> None:
    attic = house.join()
    house.define()
    said = house.submit()
    assert house.granted() == [said.id]
    house.leave(attic)
    edit(house, **NIGHT)
    assert house.heard(m.HoursChanged) == []
    attic = house.join()
    [changed] = house.heard(m.HoursChanged)
    assert changed.hours == m.Hours([[], ["22:00-06:00"], []], "", "finish", 10.0, [])
    house.beat(attic)
    assert house.heard(m.HoursChanged) == []


def test_a_semaphore_bounds_what_runs_on_all_machines(house: House) -> None:
    attic = house.join("attic", 4)
    house.join("cellar", 4)
    house.define(semaphores={"nas": 2})
    jobs = house.queue(4)
    assert house.why(jobs[0])["code"] == "semaphore"
    assert "`mythjobs semaphore set nas N`" in house.why(jobs[0])["sentence"]
    house.ask(requests.SetSemaphore("nas", 5))
    on_attic, on_cellar = house.granted("attic"), house.granted("cellar")
    assert sorted(on_attic + on_cellar) == jobs[:2]
    assert house.why(jobs[2])["sentence"] == "waits: 4 of 5 of semaphore nas are taken"
    house.run(attic, *on_attic)
    assert sorted(house.granted("attic") + house.granted("cellar")) == [jobs[2]]
    # Smaller: nothing is stopped, nothing starts until there is room.
    house.ask(requests.SetSemaphore("nas", 1))
    assert "takes 2 of semaphore nas, which has 1" in house.why(jobs[3])["sentence"]
    with pytest.raises(BadRequest, match="there is no semaphore"):
        house.ask(requests.SetSemaphore("tuner", None))


def test_a_disabled_command_starts_nothing_until_it_is_enabled(house: House) -> None:
    house.join()
    house.define()
    house.ask(requests.EnableCommand("flag", False))
    said = house.submit()
    assert (house.granted(), house.why(said.id)["code"]) == ([], "disabled")
    house.restart()
    house.join()
    assert house.granted() == []
    house.ask(requests.EnableCommand("flag", True))
    assert house.granted() == [said.id]


def test_ceilings_of_a_command_here_and_everywhere(house: House) -> None:
    house.join("attic", 4)
    house.define(at_most=2)
    house.define("other")
    edit(house, commands={"other": {"jobs": 1}})
    flags, others = house.queue(3), house.queue(3, "other")
    assert house.granted() == [*flags[:2], others[0]]
    assert house.why(flags[2])["sentence"] == "waits: at most 2 of flag at once"
    assert house.why(others[1])["sentence"] == "waits: attic at most 1 of other at once here"


def test_levels_of_windows_are_counted_each_for_whom_they_are_said(house: House) -> None:
    house.join("attic", 8)
    house.define(windows={"open": ["00:00-24:00 at most 2"]})
    house.define("other")
    flags, others = house.queue(3), house.queue(3, "other")
    assert sorted(house.granted()) == flags[:2] + others
    assert house.rules(flags[2])["attic"]["ceiling"] == "at most 2 of flag at this hour"
    edit(house, windows={"open": ["00:00-24:00 at most 5"]})
    late = house.submit("other")
    assert late.reason == "waits: attic at most 5 at this hour"


def test_the_number_of_jobs_of_one_run_is_not_written_down(house: House) -> None:
    house.core = Core(allow_local=True, local_jobs=3)
    with house.store.turn() as tx:
        house.core.load(tx, house.now)
    house.join("attic", 8)
    house.define()
    house.ask(requests.SetMachine("attic", deny=["flag"]))
    assert house.machine()["jobs"] == 3
    house.restart()
    house.join("attic", 8)
    assert house.machine()["jobs"] == 8

    house.core.memory.machines[1].most_now = 3
    house.ask(requests.SetMachine("attic", jobs=5))
    assert house.machine()["jobs"] == 5
