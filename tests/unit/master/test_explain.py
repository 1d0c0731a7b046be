"""Why a job waits: one code, one sentence, machine by rule, and when it is expected."""

from __future__ import annotations

from mythjobs.master import requests
from mythjobs.master.explain import job as explain_job
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from tests.unit.master.house import HOUR_S, NOON, House


def test_why_says_code_sentence_and_every_rule_of_every_machine(house: House) -> None:
    house.join("attic", 1)
    house.join("cellar", 1, zone="Europe/Berlin")
    house.define(windows={"open": ["22:00-06:00"]})
    house.request(requests.EditMachine("attic", {"allow": []}))
    said = house.submit()
    why = house.explain(said.id)
    assert (why["code"], why["state"]) == ("window_closed", "queued")
    assert why["sentence"] == (
        "waits for the window of machine cellar, opens at 22:00 Europe/Berlin (in 9 h)"
    )
    assert house.rules(said.id) == {
        "attic": {
            "rights": "flag is not allowed here", "connected": "", "window": "opens 22:00",
            "room": "",
        },
        "cellar": {"rights": "", "connected": "", "window": "opens 22:00", "room": ""},
    }  # fmt: skip


def test_pin_label_and_limit_are_told_where_nothing_can_run_it(house: House) -> None:
    house.join("attic", can={"wall", "windows"})
    house.define(labels=["gpu"])
    assert house.submit().reason == ("will wait: no machine can run it: attic has no label gpu")
    house.define(limits={"memory": "1GiB"})
    assert house.submit().reason == (
        "will wait: no machine can run it: attic cannot enforce memory by itself; "
        "best_effort = true takes what it can"
    )
    house.define(limits={"memory": "1GiB"}, best_effort=True)
    assert house.submit().state == "leased"
    house.define(windows={"open": ["00:00-24:00"], "closing": "freeze"})
    assert "cannot enforce freeze by itself" in house.submit().reason
    house.define()
    assert house.submit(machine="cellar").reason == (
        "will wait: no machine named cellar has ever joined; one that does takes it"
    )


def test_a_pinned_job_runs_there_and_a_preferring_one_if_there_is_room(house: House) -> None:
    house.join("attic", 4)
    house.join("cellar", 2)
    house.define()
    pinned = house.submit(machine="cellar")
    there = house.submit(prefer="cellar")
    elsewhere = house.submit(prefer="cellar")
    assert house.take_grants("cellar") == [pinned.id, there.id]
    assert house.take_grants("attic") == [elsewhere.id]


def test_a_job_about_a_file_prefers_the_machine_that_has_it(house: House) -> None:
    house.join("attic", 4)
    house.join("cellar", 1)
    house.define()
    house.request(requests.EditMachine("cellar", {"allow": "all", "files": ["/srv/tv"]}))
    jobs = [house.submit(subject=f"/srv/tv/{n}.ts").id for n in range(2)]
    assert (house.take_grants("cellar"), house.take_grants("attic")) == ([jobs[0]], [jobs[1]])


def test_limits_of_the_job_itself_only_make_those_of_its_command_tighter(house: House) -> None:
    house.join()
    house.define(limits={"wall": "1h"})
    house.submit(limits={"wall": "2h", "memory": "1GiB"})
    [grant] = house.received(m.Grant)
    assert (grant.run.wall_s, grant.run.memory_bytes) == (3600, 2**30)


def test_a_start_and_an_end_are_expected_across_windows(house: House) -> None:
    attic = house.join("attic", 1)
    house.define(windows={"open": ["10:00-14:00"], "closing": "requeue"})
    house.learn_run_time(attic, 3600)
    # An hour each: one runs, one fits before 14:00, the third waits for tomorrow.
    [running, second, third] = house.queue(3)
    assert house.take_grants() == [running]
    hour = 3_600_000
    why = house.explain(second)
    assert (why["expected_start_ms"], why["expected_end_ms"]) == (NOON + hour, NOON + 2 * hour)
    why = house.explain(third)
    assert (why["expected_start_ms"], why["expected_end_ms"]) == (
        NOON + 22 * hour, NOON + 23 * hour,
    )  # fmt: skip


def test_queued_future_and_nowhere_allowed_jobs_are_cancelled_at_once(house: House) -> None:
    # MythTV could not stop any of them.
    attic = house.join("attic", 1)
    house.define()
    house.define("forbidden")
    house.request(requests.EditMachine("attic", {"allow": ["flag"]}))
    running = house.submit().id
    queued = house.submit().id
    future = house.submit(not_before_ms=NOON + 10**8).id
    nowhere = house.submit("forbidden").id
    asked = [queued, future, nowhere, running]
    done = house.request(requests.CancelJobs(asked, "anna"))
    assert [each.done for each in done] == ["cancelled", "cancelled", "cancelled", "stopping"]
    assert [house.state(each) for each in asked] == ["cancelled"] * 3 + ["leased"]
    assert attic


def test_two_machines_never_hold_one_subject_and_no_subject_is_ordinary(house: House) -> None:
    attic = house.join("attic", 2)
    house.join("cellar", 2)
    house.define()
    house.define("other")
    first = house.submit(subject="news").id
    second = house.submit("other", subject="news").id
    free = [house.submit().id, house.submit().id]
    granted = {name: house.take_grants(name) for name in ("attic", "cellar")}
    assert sorted(granted["attic"] + granted["cellar"]) == [first, *free]
    assert house.explain(second)["code"] == "subject_taken"
    house.finish(attic, first)
    assert second in house.take_grants("attic") + house.take_grants("cellar")


def test_a_job_that_has_not_started_by_its_deadline_is_cancelled(house: House) -> None:
    house.join("attic", 1)
    house.define()
    running = house.submit(deadline_ms=NOON + 1000).id
    waiting = house.submit(deadline_ms=NOON + 1000).id
    house.advance(1)
    assert (house.state(running), house.state(waiting)) == ("leased", "cancelled")
    assert house.explain(waiting)["code"] == "deadline_passed"


def test_a_put_off_command_says_so_and_comes_back_by_itself(house: House) -> None:
    attic = house.join("attic", 1)
    house.define(retry={"later": "NAS offline", "backoff": "1h"})
    first = house.submit().id
    house.take_grants()
    del house.attempts["attic"][first, 1]
    outcome = dict(o.to_json(o.Exited(1)))
    ended = m.Ended(first, 1, outcome, NOON, NOON, {}, later="NAS offline")  # type: ignore[arg-type]
    house.send_frame(attic, ended)
    said = house.submit()
    assert house.take_grants() == []
    why = house.explain(said.id)
    assert why["code"] == "put_off"
    assert "NAS offline" in why["sentence"]
    house.advance(2 * HOUR_S)
    assert house.take_grants() == [first]


def test_at_full_places_stop_and_pause_still_work(house: House) -> None:
    # MythTV looked at neither while all its slots were taken.
    house.join("attic", 2)
    house.define()
    first, second = house.queue(2)
    house.queue(3)
    assert house.take_grants() == [first, second]
    house.request(requests.CancelJobs([first], "anna"))
    house.request(requests.FreezeJobs([second], True))
    assert [each.job for each in house.received(m.Stop)] == [first]
    assert [(each.job, each.on) for each in house.received(m.Freeze)] == [(second, True)]


def test_a_machine_that_never_joined_is_told_at_submit_and_takes_its_jobs_when_it_does(
    house: House,
) -> None:
    house.define()
    told = "will wait: no machine named celar has ever joined; one that does takes it"
    assert house.submit(machine="celar").reason == told
    house.join("attic")
    job = house.submit(machine="celar")
    assert job.reason == told
    found = house.explain(job.id)
    assert (found["code"], found["sentence"]) == ("no_such_machine", told)
    held = house.submit(machine="celar", hold=True)
    nowhere = "; no machine named celar has ever joined, and it runs nowhere else"
    assert held.reason.endswith(nowhere)
    with house.store.snapshot() as tx:
        listed = explain_job.list_jobs_with_reasons(tx, house.core.state, house.now)["jobs"]
    sentences = [each["reason"]["sentence"] for each in listed]
    assert sentences == [held.reason, told, told]
    strange = "it prefers celar, and no machine of that name has ever joined"
    assert house.submit(prefer="celar").reason == f"starts on attic; {strange}"
    house.join("celar")
    assert job.id in house.take_grants("celar")
    assert "prefers" not in house.submit(prefer="celar").reason


def test_the_time_that_a_job_stood_still_is_not_what_its_command_takes(house: House) -> None:
    attic = house.join("attic", 1)
    house.define(windows={"open": ["12:00-14:00"], "closing": "requeue"})
    for _ in range(3):
        job = house.submit().id
        assert house.take_grants() == [job]
        house.finish(attic, job, seconds=30 * HOUR_S, frozen_s=29 * HOUR_S)
    assert house.submit().reason == "starts on attic"
