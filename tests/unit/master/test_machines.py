"""Machine settings, overrides, semaphores and disabled commands, and their immediate effect."""

from __future__ import annotations

from typing import Any

import pytest

from mythjobs.errors import (
    AlreadyRunning,
    BadRequest,
    DefinitionError,
    NoSuchCommand,
    NoSuchMachine,
    NoSuchSemaphore,
)
from mythjobs.master import requests
from mythjobs.master.core import MasterCore
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import HoursSpec
from tests.unit.master.harness import HOUR_S, NOON, Harness

NIGHT: dict[str, Any] = {"windows": {"open": ["22:00-06:00"]}}


def edit(master: Harness, name: str = "attic", **settings: Any) -> dict[str, Any]:
    answer = master.request(requests.EditMachine(name, {"allow": "all"} | settings))
    assert isinstance(answer, dict)
    return answer


def override(master: Harness, kind: str, hours: float = 0, command: str | None = None) -> None:
    until_ms = master.now.wall_ms + round(3_600_000 * hours) if hours else None
    master.request(requests.OverrideHours("attic", kind, until_ms, command))


def test_settings_are_stored_shown_and_survive_a_restart(master: Harness) -> None:
    master.join(cores=4)
    master.define()
    settings: dict[str, Any] = {
        "jobs": 3, "zone": "Europe/Berlin", "labels": ["gpu"], "allow": ["flag"], **NIGHT,
        "commands": {"flag": {"jobs": 1, "closing": "freeze"}},
    }  # fmt: skip
    answer = edit(master, **settings)
    assert answer["jobs"] == 3
    assert answer["settings"]["commands"] == {"flag": {"jobs": 1, "windows": {"closing": "freeze"}}}
    assert master.received(m.Settings)[-1].jobs == 3
    before = master.core.state.machines[1]
    master.restart()
    after = master.core.state.machines[1]
    assert (after.policy, after.rights, after.policy_jobs) == (before.policy, before.rights, 3)


def test_invalid_settings_change_nothing(master: Harness) -> None:
    master.join()
    master.define()
    before = master.core.state.machines[1].policy
    with pytest.raises(DefinitionError, match="zone"):
        edit(master, zone="Mars/Olympus")
    with pytest.raises(NoSuchCommand):
        edit(master, commands={"flog": {"jobs": 1}})
    with pytest.raises(NoSuchMachine):
        edit(master, "cellar")
    assert master.core.state.machines[1].policy == before


def test_a_machine_without_settings_runs_only_allowed_commands(master: Harness) -> None:
    master.join()
    master.define()
    master.request(requests.EditMachine("attic", {}))
    submitted = master.submit()
    assert submitted.state == "queued"
    assert submitted.reason.startswith("will wait: no machine allows flag; allow it with")
    assert master.take_grants() == []
    # Allowing the command starts the job in the same turn.
    master.request(requests.SetMachine("attic", allow=["flag"]))
    assert master.take_grants() == [submitted.id]


def test_a_job_starts_when_the_window_opens(master: Harness) -> None:
    master.join()
    master.define(**NIGHT)
    submitted = master.submit()
    assert submitted.reason == "waits for the window of machine attic, opens at 22:00 (in 10 h)"
    # The master schedules a turn for that time.
    assert master.core.state.next_due_ms == NOON + 10 * 3_600_000
    master.advance(10 * HOUR_S - 1)
    assert master.take_grants() == []
    master.advance(1)
    [grant] = master.received(m.Grant)
    assert grant.job == submitted.id
    assert grant.hours == HoursSpec([["22:00-06:00"], [], []], "", "finish", 10.0, [])


def test_windows_use_the_time_zone_of_the_machine(master: Harness) -> None:
    master.join(zone="Europe/Berlin")
    master.define(**NIGHT)
    submitted = master.submit()
    assert "opens at 22:00 Europe/Berlin (in 9 h)" in submitted.reason
    master.request(requests.SetMachine("attic", zone="America/New_York"))
    assert master.explain(submitted.id)["sentence"].endswith(
        "opens at 22:00 America/New_York (in 15 h)"
    )


def test_an_unknown_time_zone_is_shown_and_stops_only_its_commands(master: Harness) -> None:
    master.join(zone="Mars/Olympus")
    master.define()
    master.define("nightly", **NIGHT)
    reason = master.submit("nightly").reason
    assert reason.startswith("will wait: no machine can run it: attic cannot evaluate its hours")
    assert 'time zone "Mars/Olympus"' in reason
    ready = master.submit("flag")
    assert master.take_grants() == [ready.id]


def test_a_job_that_does_not_fit_before_the_close_is_not_started(master: Harness) -> None:
    attic = master.join(cores=1)
    master.define(windows={"open": ["10:00-13:00"], "closing": "requeue"})
    master.learn_run_time(attic, 4000)
    submitted = master.submit()
    assert master.take_grants() == []
    assert submitted.reason == (
        "waits: attic closes 13:00, too soon for a job that usually takes 1 h 6 min"
    )
    assert master.explain(submitted.id)["code"] == "does_not_fit"
    master.advance(22 * HOUR_S)
    assert master.take_grants() == [submitted.id]


def test_a_job_that_may_finish_after_the_close_is_started(master: Harness) -> None:
    attic = master.join(cores=1)
    master.define(windows={"open": ["10:00-13:00"]})
    master.learn_run_time(attic, 4000)
    submitted = master.submit()
    assert master.take_grants() == [submitted.id]


def test_an_override_takes_effect_at_once(master: Harness) -> None:
    master.join()
    master.define(**NIGHT)
    [first, second, third] = master.queue(3)
    override(master, "allow", hours=1)
    assert master.take_grants() == [first, second]
    override(master, "pause", hours=2, command="flag")
    [changed, _] = master.received(m.HoursChanged)
    assert changed.job == first
    assert changed.hours is not None
    assert changed.hours.overrides == [
        ("allow", NOON + 3_600_000), ("pause", NOON + 2 * 3_600_000),
    ]  # fmt: skip
    override(master, "hours")
    override(master, "hours", command="flag")
    [*_, last] = master.received(m.HoursChanged)
    assert last.hours is not None
    assert last.hours.overrides == []
    assert master.explain(third)["code"] == "window_closed"


def test_an_override_survives_a_restart_and_expires(master: Harness) -> None:
    master.join()
    master.define()
    override(master, "pause", hours=2)
    submitted = master.submit()
    assert master.explain(submitted.id)["sentence"] == (
        "waits for the window of machine attic, opens at 14:00 (in 2 h)"
    )
    master.restart()
    master.join()
    assert master.take_grants() == []
    master.advance(2 * HOUR_S)
    assert master.take_grants() == [submitted.id]


def test_an_override_without_an_end_is_rejected(master: Harness) -> None:
    master.join()
    with pytest.raises(BadRequest, match="needs an end"):
        override(master, "pause")
    with pytest.raises(BadRequest, match="is over a year ahead; give a time within a year"):
        override(master, "allow", hours=24 * 400)
    with pytest.raises(BadRequest, match="not one of allow, pause, hours"):
        override(master, "open", hours=1)


def test_changed_windows_are_sent_after_a_reconnect(master: Harness) -> None:
    attic = master.join()
    master.define()
    submitted = master.submit()
    assert master.take_grants() == [submitted.id]
    master.disconnect(attic)
    edit(master, **NIGHT)
    assert master.received(m.HoursChanged) == []
    attic = master.join()
    [changed] = master.received(m.HoursChanged)
    assert changed.hours == HoursSpec([[], ["22:00-06:00"], []], "", "finish", 10.0, [])
    master.heartbeat(attic)
    assert master.received(m.HoursChanged) == []


def test_a_semaphore_limits_jobs_over_all_machines(master: Harness) -> None:
    attic = master.join("attic", 4)
    master.join("cellar", 4)
    master.define(semaphores={"nas": 2})
    jobs = master.queue(4)
    assert master.explain(jobs[0])["code"] == "semaphore"
    assert "`mythjobs semaphore set nas N`" in master.explain(jobs[0])["sentence"]
    master.request(requests.SetSemaphore("nas", 5))
    on_attic, on_cellar = master.take_grants("attic"), master.take_grants("cellar")
    assert sorted(on_attic + on_cellar) == jobs[:2]
    assert master.explain(jobs[2])["sentence"] == "waits: 4 of 5 units of semaphore nas are in use"
    master.finish(attic, *on_attic)
    assert sorted(master.take_grants("attic") + master.take_grants("cellar")) == [jobs[2]]
    # A smaller size stops no job; none starts until units are free.
    master.request(requests.SetSemaphore("nas", 1))
    assert "needs 2 units of semaphore nas, which has 1" in master.explain(jobs[3])["sentence"]
    with pytest.raises(NoSuchSemaphore, match="there is no semaphore"):
        master.request(requests.SetSemaphore("tuner", None))


def test_a_disabled_command_starts_nothing_until_it_is_enabled(master: Harness) -> None:
    master.join()
    master.define()
    master.request(requests.EnableCommand("flag", False))
    submitted = master.submit()
    assert (master.take_grants(), master.explain(submitted.id)["code"]) == ([], "disabled")
    master.restart()
    master.join()
    assert master.take_grants() == []
    master.request(requests.EnableCommand("flag", True))
    assert master.take_grants() == [submitted.id]


def test_a_command_is_disabled_until_a_time(master: Harness) -> None:
    attic = master.join()
    master.define()

    def disable(end_s: float | None) -> Any:
        until_ms = None if end_s is None else master.now.wall_ms + round(1000 * end_s)
        return master.request(requests.EnableCommand("flag", False, until_ms, "anna"))

    running = master.submit().id
    assert master.take_grants() == [running]
    disable(None)
    done = disable(2 * HOUR_S)  # the end that was given last counts
    assert (done["enabled"], done["until_ms"]) == (True, NOON + 7_200_000)
    submitted = master.submit()
    why = master.explain(submitted.id)
    assert (why["code"], why["sentence"]) == (
        "put_off", "flag is deferred for 2 h (disabled by anna)",
    )  # fmt: skip
    master.finish(attic, running)
    master.restart()
    master.join()
    master.advance(HOUR_S)
    assert master.take_grants() == []
    disable(HOUR_S / 2)
    master.advance(HOUR_S / 2)
    assert master.take_grants() == [submitted.id]

    disable(HOUR_S)
    waiting = master.submit().id
    assert master.take_grants() == []
    master.request(requests.EnableCommand("flag", True))
    assert master.take_grants() == [waiting]

    disable(HOUR_S)
    disable(None)
    last = master.submit().id
    master.advance(2 * HOUR_S)
    assert master.explain(last)["code"] == "disabled"


def test_an_end_of_a_disabling_is_in_the_future(master: Harness) -> None:
    master.define()
    for until_ms, sentence in [(NOON, "is in the past"), (NOON * 2, "is over a year ahead")]:
        with pytest.raises(BadRequest, match=sentence):
            master.request(requests.EnableCommand("flag", False, until_ms, "anna"))
    with pytest.raises(BadRequest, match="needs on = false"):
        master.request(requests.EnableCommand("flag", True, NOON + 1, "anna"))


def test_job_limits_of_a_command_per_machine_and_overall(master: Harness) -> None:
    master.join("attic", 4)
    master.define(at_most=2)
    master.define("other")
    edit(master, commands={"other": {"jobs": 1}})
    flags, others = master.queue(3), master.queue(3, "other")
    assert master.take_grants() == [*flags[:2], others[0]]
    assert master.explain(flags[2])["sentence"] == "waits: at most 2 of flag run at once"
    assert master.explain(others[1])["sentence"] == "waits: attic runs at most 1 of other at once"


def test_levels_of_windows_count_per_command_or_machine(master: Harness) -> None:
    master.join("attic", 8)
    master.define(windows={"open": ["00:00-24:00 at most 2"]})
    master.define("other")
    flags, others = master.queue(3), master.queue(3, "other")
    assert sorted(master.take_grants()) == flags[:2] + others
    assert master.rules(flags[2])["attic"]["ceiling"] == "runs at most 2 of flag at this hour"
    edit(master, windows={"open": ["00:00-24:00 at most 5"]})
    late = master.submit("other")
    assert late.reason == "waits: attic runs at most 5 jobs at this hour"


def test_the_temporary_number_of_jobs_is_not_stored(master: Harness) -> None:
    master.core = MasterCore(allow_local=True, local_jobs=3)
    with master.store.transaction() as tx:
        master.core.load(tx, master.now)
    master.join("attic", 8)
    master.define()
    master.request(requests.SetMachine("attic", deny=["flag"]))
    assert master.machine_page()["jobs"] == 3
    master.restart()
    master.join("attic", 8)
    assert master.machine_page()["jobs"] == 8

    master.core.state.machines[1].temporary_jobs = 3
    master.request(requests.SetMachine("attic", jobs=5))
    assert master.machine_page()["jobs"] == 5


def test_a_machine_is_shown_with_the_free_slots_that_it_reports(master: Harness) -> None:
    attic = master.join("attic", 4)
    assert master.machine_page()["free"] == 4
    master.define()
    [job, _] = master.queue(2)
    # Its agent runs one job at once (`mythjobs agent --jobs 1`).
    master.send_frame(attic, m.Started(job, 1, master.now.wall_ms), room=0)
    assert [master.machine_page()[key] for key in ("jobs", "leased", "free")] == [4, 2, 0]
    master.send_frame(attic, room=-3)
    assert master.machine_page()["free"] == 0
    # Unknown while it is not connected, and until the first frame of a connection.
    master.disconnect(attic)
    assert master.machine_page()["free"] is None


def _attach(master: Harness, connection: int, incarnation: str, allow: str = "") -> None:
    hello = m.Hello(1, "key of attic", "", "", "attic", "boot", incarnation, 2, allow=allow)
    master.request(requests.Attach(hello, False, connection))


def test_an_agent_that_comes_back_after_another_one_with_its_key_is_refused(
    master: Harness,
) -> None:
    attic = master.join("attic")
    master.disconnect(attic)
    _attach(master, 7, "original")
    with pytest.raises(AlreadyRunning, match="already connected"):
        _attach(master, 8, "copy")
    master.disconnect(7)
    _attach(master, 8, "copy")
    master.disconnect(8)
    with pytest.raises(AlreadyRunning, match="its disk was copied"):
        _attach(master, 9, "original")
    # A lost connection of the same agent, and an agent that was started anew, are no copies.
    _attach(master, 10, "copy")
    master.disconnect(10)
    _attach(master, 11, "restarted")


@pytest.mark.parametrize("allow", ['{"mode": "listed", "commands": ["backup"]}', "a newer form"])
def test_what_the_machine_itself_refuses_is_not_sent_there_and_why_says_so(
    master: Harness, allow: str
) -> None:
    attic = master.join("attic")
    master.define("flag")
    master.disconnect(attic)
    _attach(master, 7, "with a policy of its own", allow)
    [job] = master.queue(1)
    assert master.rules(job)["attic"]["rights"] == (
        "flag is refused by the machine's own policy file"
    )
    master.disconnect(7)
    _attach(master, 8, "without one")
    assert master.rules(job)["attic"]["rights"] == ""


def test_a_machine_without_a_limit_of_its_owner_is_limited_by_its_load(master: Harness) -> None:
    hello = m.Hello(1, "key of attic", "", "", "attic", "boot", "i", 2, scaling=True)
    master.request(requests.Attach(hello, True, 7))
    assert master.machine_page()["by_load"]
    master.request(requests.SetMachine("attic", jobs=3))
    page = master.machine_page()
    assert (page["by_load"], page["jobs"]) == (False, 3)
