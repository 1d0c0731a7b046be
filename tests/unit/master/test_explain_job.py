"""Explanation of a waiting job: code, sentence, rules by machine, and expected times."""

from __future__ import annotations

import pytest

from mythjobs.errors import NoSuchMachine
from mythjobs.master import requests
from mythjobs.master.explain.job_pages import list_jobs_with_reasons
from mythjobs.model import outcome as o
from mythjobs.protocol import messages as m
from tests.unit.master.harness import HOUR_S, NOON, Harness


def test_why_has_code_sentence_and_every_rule_of_every_machine(master: Harness) -> None:
    master.join("attic", 1)
    master.join("cellar", 1, zone="Europe/Berlin")
    master.define(windows={"open": ["22:00-06:00"]})
    master.request(requests.EditMachine("attic", {"allow": []}))
    job = master.submit()
    why = master.explain(job.id)
    assert (why["code"], why["state"]) == ("window_closed", "queued")
    assert why["sentence"] == (
        "waits for the window of machine cellar, opens at 22:00 Europe/Berlin (in 9 h)"
    )
    assert master.rules(job.id) == {
        "attic": {
            "rights": "flag is not allowed here", "connected": "", "window": "opens 22:00",
            "room": "",
        },
        "cellar": {"rights": "", "connected": "", "window": "opens 22:00", "room": ""},
    }  # fmt: skip


def test_the_reason_names_pin_label_and_limit_that_no_machine_meets(
    master: Harness,
) -> None:
    master.join("attic", can={"wall", "windows"})
    master.define(labels=["gpu"])
    assert master.submit().reason == ("will wait: no machine can run it: attic has no label gpu")
    master.define(limits={"memory": "1GiB"})
    assert master.submit().reason == (
        "will wait: no machine can run it: attic cannot enforce memory by itself; "
        "with best_effort = true the job starts, and these limits are only sampled"
    )
    master.define(limits={"memory": "1GiB"}, best_effort=True)
    assert master.submit().state == "leased"
    master.define(windows={"open": ["00:00-24:00"], "closing": "freeze"})
    assert "cannot enforce freeze by itself" in master.submit().reason
    master.define()
    assert master.submit(machine="cellar", await_machine=True).reason == (
        "will wait: no machine named cellar has ever joined; it starts there once one does"
    )


def test_best_effort_of_an_ad_hoc_run_is_that_of_its_job(master: Harness) -> None:
    attic = master.join("attic", can={"wall", "windows"})
    run = {"argv": ["/bin/true"]}
    limits = {"memory": "1GiB"}
    assert master.submit("run", run=run, limits=limits).reason == (
        "will wait: no machine can run it: attic cannot enforce memory by itself; "
        "cancel the job, and run it without these limits, or with --best-effort, which only "
        "samples them"
    )
    job = master.submit("run", run=run | {"best_effort": True}, limits=limits)
    assert job.state == "leased"
    [grant] = master.received(m.Grant)
    master.attempts["attic"][grant.job, grant.n] = "leased"
    assert (grant.run.best_effort, grant.run.memory_bytes) == (True, 2**30)
    page = master.shown_job(job.id)
    assert (page["limits"], page["arguments"]["best_effort"]) == (limits, True)
    master.finish(attic, job.id)
    master.restart()
    master.join("attic", can={"wall", "windows"})
    again = master.submit("run", run=run | {"best_effort": True})
    assert again.state == "leased"


def test_a_pin_is_required_and_a_preference_needs_a_free_slot(
    master: Harness,
) -> None:
    master.join("attic", 4)
    master.join("cellar", 2)
    master.define()
    pinned = master.submit(machine="cellar")
    there = master.submit(prefer="cellar")
    elsewhere = master.submit(prefer="cellar")
    assert master.take_grants("cellar") == [pinned.id, there.id]
    assert master.take_grants("attic") == [elsewhere.id]


def test_a_job_about_a_file_prefers_the_machine_that_has_it(master: Harness) -> None:
    master.join("attic", 4)
    master.join("cellar", 1)
    master.define()
    master.request(requests.EditMachine("cellar", {"allow": "all", "files": ["/srv/tv"]}))
    jobs = [master.submit(subject=f"/srv/tv/{n}.ts").id for n in range(2)]
    assert (master.take_grants("cellar"), master.take_grants("attic")) == ([jobs[0]], [jobs[1]])


def test_limits_of_a_job_only_tighten_those_of_its_command(master: Harness) -> None:
    master.join()
    master.define(limits={"wall": "1h"})
    master.submit(limits={"wall": "2h", "memory": "1GiB"})
    [grant] = master.received(m.Grant)
    assert (grant.run.wall_s, grant.run.memory_bytes) == (3600, 2**30)


def test_a_start_and_an_end_are_expected_across_windows(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define(windows={"open": ["10:00-14:00"], "closing": "requeue"})
    master.learn_run_time(attic, 3600)
    # One hour each: one runs, one fits before 14:00, the third waits until tomorrow.
    [running, second, third] = master.queue(3)
    assert master.take_grants() == [running]
    hour = 3_600_000
    why = master.explain(second)
    assert (why["expected_start_ms"], why["expected_end_ms"]) == (NOON + hour, NOON + 2 * hour)
    why = master.explain(third)
    assert (why["expected_start_ms"], why["expected_end_ms"]) == (
        NOON + 22 * hour, NOON + 23 * hour,
    )  # fmt: skip


def test_a_machine_without_a_usual_run_time_is_compared_too(master: Harness) -> None:
    # Both can start at 22:00; the comparison of the ends, one unknown, raised TypeError.
    attic = master.join("attic", 1)
    master.define()
    master.learn_run_time(attic, HOUR_S)
    master.join("cellar", 1)
    master.define(windows={"open": ["22:00-06:00"]})
    why = master.explain(master.submit().id)
    start_ms = NOON + 10 * 3_600_000
    assert (why["expected_start_ms"], why["expected_end_ms"]) == (start_ms, start_ms + 3_600_000)


def test_queued_deferred_and_nowhere_allowed_jobs_are_cancelled_at_once(master: Harness) -> None:
    # MythTV cannot stop any of them.
    attic = master.join("attic", 1)
    master.define()
    master.define("forbidden")
    master.request(requests.EditMachine("attic", {"allow": ["flag"]}))
    running = master.submit().id
    queued = master.submit().id
    future = master.submit(not_before_ms=NOON + 10**8).id
    nowhere = master.submit("forbidden").id
    asked = [queued, future, nowhere, running]
    done = master.request(requests.CancelJobs(asked, "anna"))
    assert [each.done for each in done] == ["cancelled", "cancelled", "cancelled", "stopping"]
    assert [master.state(each) for each in asked] == ["cancelled"] * 3 + ["leased"]
    assert attic


def test_two_machines_never_hold_one_subject_and_no_subject_is_ordinary(master: Harness) -> None:
    attic = master.join("attic", 2)
    master.join("cellar", 2)
    master.define()
    master.define("other")
    first = master.submit(subject="news").id
    second = master.submit("other", subject="news").id
    free = [master.submit().id, master.submit().id]
    granted = {name: master.take_grants(name) for name in ("attic", "cellar")}
    assert sorted(granted["attic"] + granted["cellar"]) == [first, *free]
    assert master.explain(second)["code"] == "subject_taken"
    master.finish(attic, first)
    assert second in master.take_grants("attic") + master.take_grants("cellar")


def test_a_job_that_has_not_started_by_its_deadline_is_cancelled(master: Harness) -> None:
    master.join("attic", 1)
    master.define()
    running = master.submit(deadline_ms=NOON + 1000).id
    waiting = master.submit(deadline_ms=NOON + 1000).id
    master.advance(1)
    assert (master.state(running), master.state(waiting)) == ("leased", "cancelled")
    assert master.explain(waiting)["code"] == "deadline_passed"


def test_a_put_off_command_explains_the_wait_and_resumes_by_itself(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define(retry={"later": "NAS offline", "backoff": "1h"})
    first = master.submit().id
    master.take_grants()
    del master.attempts["attic"][first, 1]
    outcome = dict(o.to_json(o.Exited(1)))
    ended = m.Ended(first, 1, outcome, NOON, NOON, {}, later="NAS offline")  # type: ignore[arg-type]
    master.send_frame(attic, ended)
    job = master.submit()
    assert master.take_grants() == []
    why = master.explain(job.id)
    assert why["code"] == "put_off"
    assert "NAS offline" in why["sentence"]
    master.advance(2 * HOUR_S)
    assert master.take_grants() == [first]


def test_stop_and_pause_work_while_all_slots_are_in_use(master: Harness) -> None:
    # MythTV handles neither while all its slots are in use.
    master.join("attic", 2)
    master.define()
    first, second = master.queue(2)
    master.queue(3)
    assert master.take_grants() == [first, second]
    master.request(requests.CancelJobs([first], "anna"))
    master.request(requests.FreezeJobs([second], True))
    assert [each.job for each in master.received(m.Stop)] == [first]
    assert [(each.job, each.on) for each in master.received(m.Freeze)] == [(second, True)]


def test_a_machine_that_has_not_joined_is_refused_as_the_only_one(master: Harness) -> None:
    """Observed: a mistyped name let `mythjobs run --machine` wait for ever."""
    master.define()
    how = (
        "; see `mythjobs machines`; to let the job wait until a machine of this name joins, add "
        "--await-machine (in the API: await_machine)"
    )
    with pytest.raises(NoSuchMachine) as first:
        master.submit(machine="celar")
    assert first.value.sentence == f'there is no machine "celar"{how}'
    for each in ("cellar", "attic", "den"):
        master.join(each)
    with pytest.raises(NoSuchMachine) as similar:
        master.submit(machine="Celar")
    assert similar.value.sentence == (f'there is no machine "Celar" (did you mean "cellar"?){how}')
    # A key that was used before returns its job, also if the machine has another name by now.
    job = master.submit(machine="den", key="k")
    master.request(requests.RevokeMachine("den"))
    assert master.submit(machine="den", key="k").id == job.id
    for gone in ("den", next(e.name for e in master.core.state.machines.values() if e.is_revoked)):
        with pytest.raises(NoSuchMachine):
            master.submit(machine=gone)


def test_a_submit_may_await_a_machine_and_the_job_starts_there_once_it_joins(
    master: Harness,
) -> None:
    master.define()
    unknown = "will wait: no machine named celar has ever joined; it starts there once one does"
    assert master.submit(machine="celar", await_machine=True).reason == unknown
    master.join("attic")
    job = master.submit(machine="celar", await_machine=True)
    assert job.reason == unknown
    found = master.explain(job.id)
    assert (found["code"], found["sentence"]) == ("no_such_machine", unknown)
    held = master.submit(machine="celar", hold=True, await_machine=True)
    nowhere = "; the job is pinned to celar, and no machine of that name has ever joined"
    assert held.reason.endswith(nowhere)
    with master.store.snapshot() as tx:
        listed = list_jobs_with_reasons(tx, master.core.state, master.now)["jobs"]
    sentences = [each["reason"]["sentence"] for each in listed]
    assert sentences == [held.reason, unknown, unknown]
    strange = "the job prefers celar, and no machine of that name has ever joined"
    assert master.submit(prefer="celar").reason == f"starts on attic; {strange}"
    master.join("celar")
    assert job.id in master.take_grants("celar")
    assert "prefers" not in master.submit(prefer="celar").reason


def test_frozen_time_is_not_part_of_the_learned_run_time(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define(windows={"open": ["12:00-14:00"], "closing": "requeue"})
    for _ in range(3):
        job = master.submit().id
        assert master.take_grants() == [job]
        master.finish(attic, job, seconds=30 * HOUR_S, frozen_s=29 * HOUR_S)
    assert master.submit().reason == "starts on attic"


def test_the_end_that_a_program_reports_replaces_the_usual_run_time(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    master.learn_run_time(attic, 3600)
    [job, waiting] = master.queue(2)
    assert master.take_grants() == [job]
    master.send_frame(attic, m.Started(job, 1, NOON))
    assert expected_end(master, job) == (NOON + 3_600_000, False)
    assert master.listed_job(job)["eta_ms"] is None

    master.send_frame(attic, m.Progress(job, 1, 42.0, None, 310.0))
    assert expected_end(master, job) == (NOON + 310_000, True)
    pages = (master.listed_job(job), master.shown_job(job))
    assert [each["eta_ms"] for each in pages] == [NOON + 310_000] * 2
    # The waiting job gets the slot then.
    assert master.explain(waiting)["expected_start_ms"] == NOON + 310_000
    master.advance(60)
    master.send_frame(attic, m.Progress(job, 1, 50.0))
    assert expected_end(master, job) == (NOON + 310_000, True)
    # A program that goes on after its own estimate: then the progress tells the end. It was 8
    # points in 60 s, and if the next 8 points come now, 16 points in 360 s: 42 points are left.
    master.advance(300)
    assert expected_end(master, job) == (NOON + 1_305_000, False)
    page = master.listed_job(job)
    assert (page["eta_ms"], page["estimated_end_ms"]) == (None, NOON + 1_305_000)


def test_no_end_is_expected_while_a_job_is_frozen_and_none_is_inherited(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define(retry={"failures": 1})
    job = master.submit().id
    master.take_grants()
    master.send_frame(attic, m.Started(job, 1, NOON), m.Progress(job, 1, eta_s=310.0))
    master.send_frame(attic, m.Frozen(job, 1, ["user"]))
    assert (expected_end(master, job), master.listed_job(job)["eta_ms"]) == ((None, False), None)
    master.send_frame(attic, m.Frozen(job, 1, []), m.Progress(job, 1, eta_s=200.0))
    assert master.listed_job(job)["eta_ms"] == NOON + 200_000
    # A connection that is lost changes nothing.
    master.disconnect(attic)
    attic = master.join("attic", 1)
    assert master.listed_job(job)["eta_ms"] == NOON + 200_000
    # The master keeps the time in memory only; the agent repeats it.
    master.restart()
    attic = master.join("attic", 1)
    assert master.listed_job(job)["eta_ms"] is None
    master.send_frame(attic, m.Progress(job, 1, eta_s=190.0))
    assert master.listed_job(job)["eta_ms"] == NOON + 190_000
    # The second attempt has reported nothing.
    master.finish(attic, job, code=1)
    master.advance(120)
    assert master.take_grants() == [job]
    assert (master.listed_job(job)["attempt"], master.listed_job(job)["eta_ms"]) == (2, None)


@pytest.mark.parametrize(
    "eta_s, expected_ms", [(-5.0, None), (0.0, None), (1e300, NOON + 10 * 365 * 86_400_000)]
)
def test_a_time_left_out_of_range_is_clamped(
    master: Harness, eta_s: float, expected_ms: int | None
) -> None:
    attic = master.join("attic", 1)
    master.define()
    job = master.submit().id
    master.take_grants()
    master.send_frame(attic, m.Started(job, 1, NOON), m.Progress(job, 1, eta_s=eta_s))
    assert master.listed_job(job)["eta_ms"] == expected_ms


def expected_end(master: Harness, job_id: int) -> tuple[int | None, bool]:
    why = master.explain(job_id)
    return why["expected_end_ms"], why["end_reported"]
