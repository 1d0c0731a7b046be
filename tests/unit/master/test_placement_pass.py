"""Placement on a real store: which jobs are granted where, in which order, on which terms."""

from __future__ import annotations

import msgspec
import pytest

from mythjobs.master import requests
from mythjobs.protocol import messages as m
from mythjobs.protocol.requests import Submit
from mythjobs.protocol.run_spec import HoursSpec, RunSpec
from tests.unit.master.harness import NOON, Harness


def test_a_job_goes_to_the_least_loaded_machine_that_allows_it(master: Harness) -> None:
    master.join("attic", 4)
    master.join("cellar", 2)
    master.define()
    jobs = master.queue(3)
    assert master.take_grants("attic") == [jobs[0], jobs[2]]
    assert master.take_grants("cellar") == [jobs[1]]


def test_submitters_take_turns_and_older_jobs_of_a_submitter_go_first(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    first = master.queue(1)
    master.take_grants()
    annas = master.queue(20)
    bens = master.queue(3, by="ben")
    order = []
    running = first
    for _ in range(6):
        master.finish(attic, *running, seconds=600)
        running = master.take_grants()
        order += running
    assert [each for each in order if each in bens] == bens
    assert [each for each in order if each in annas] == annas[:3]


def test_a_higher_priority_goes_before_a_smaller_share(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    running = master.queue(1)
    master.take_grants()
    [ben] = master.queue(1, by="ben")
    urgent = master.queue(2, priority=5)
    order = []
    for _ in range(3):
        master.finish(attic, *running)
        running = master.take_grants()
        order += running
    assert order == [*urgent, ben]


def test_a_cancelled_job_in_the_cache_of_next_jobs_is_not_granted(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    jobs = master.queue(4)
    assert master.take_grants() == [jobs[0]]
    master.request(requests.CancelJobs([jobs[1]], "anna"))
    master.finish(attic, jobs[0])
    assert master.take_grants() == [jobs[2]]


def test_a_job_about_the_subject_of_a_cancelled_job_in_the_cache_is_granted(
    master: Harness,
) -> None:
    # Seen: the pass chose the cancelled job, skipped the other because of the subject, and left
    # the class of the other out until one of its jobs changed.
    attic = master.join("attic", 1)
    master.define()
    answers = master.turn(
        *[
            requests.SubmitJob(msgspec.convert({"command": "flag"} | fields, Submit), by)
            for by, fields in (
                ("anna", {}),
                ("anna", {"subject": "film"}),
                ("ben", {"subject": "film", "priority": -1}),
            )
        ]
    )
    first, cancelled, other = [answers[number].id for number in range(3)]
    assert master.take_grants() == [first]
    master.request(requests.CancelJobs([cancelled], "anna"))
    master.finish(attic, first)
    assert master.take_grants() == [other]


def test_a_grant_has_the_limits_of_the_command(master: Harness) -> None:
    master.join()
    master.define(
        limits={"wall": "1h", "memory": "1GiB", "processes": 9, "nice": 5, "io": "idle"},
        retry={"failures": 1, "later": "NAS offline"},
    )
    master.submit()
    [grant] = master.received(m.Grant)
    run = grant.run
    assert (run.wall_s, run.memory_bytes, run.processes) == (3600, 2**30, 9)
    assert (run.nice, run.io, run.later, run.contain) == (5, "idle", "NAS offline", True)
    assert (grant.command, grant.hours) == ("flag", None)


@pytest.mark.parametrize("nice,has_priority", [({}, False), ({"nice": 0}, True)])
def test_a_command_may_ask_for_the_normal_priority(
    master: Harness, nice: dict[str, int], has_priority: bool
) -> None:
    master.join()
    master.define(limits=nice)
    master.submit()
    [grant] = master.received(m.Grant)
    assert (grant.run.nice, grant.run.has_priority) == (0, has_priority)


def test_the_lease_policy_is_keep_with_one_eligible_machine_and_rerun_with_two(
    master: Harness,
) -> None:
    master.join("attic")
    master.define()
    master.submit()
    [grant] = master.received(m.Grant)
    assert (grant.silence, grant.lease_s) == ("keep", None)
    master.join("cellar")
    master.submit()
    [grant] = master.received(m.Grant, "cellar")
    assert (grant.silence, grant.lease_s, grant.start_by_s) == ("rerun", 1800.0, 900.0)
    master.define("careful", silence="hold", lease="10m")
    master.submit("careful")
    [grant] = master.received(m.Grant, "attic") + master.received(m.Grant, "cellar")
    assert (grant.silence, grant.lease_s, grant.start_by_s) == ("hold", 600.0, 300.0)


def test_at_most_of_a_new_revision_counts_jobs_of_the_old_revision(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define("busy")
    [busy] = master.queue(1, "busy")
    master.define()
    old = master.queue(2, by="ben")
    master.define(at_most=2)
    new = master.queue(2)
    master.request(requests.SetMachine("attic", jobs=9))
    assert sorted(master.take_grants()) == [busy, *old, new[0]]
    assert master.explain(new[1])["code"] == "at_most"
    assert attic


def test_a_pass_ends_whose_jobs_are_about_subjects_that_it_has_leased(master: Harness) -> None:
    # Seen: the master hung with a core at 100 %, and again after each restart. The jobs that a
    # pass skipped, because it had leased their subject, were read from the store again for ever.
    attic = master.join("attic", 16)
    master.define()
    master.learn_run_time(attic, 0.01)
    submits = [
        requests.SubmitJob(msgspec.convert({"command": "flag"} | fields, Submit), by)
        for by, count, priority in (("anna", 250, 1), ("ben", 400, 0))
        for fields in ({"subject": f"s{each}", "priority": priority} for each in range(count))
    ]
    with master.store.transaction() as tx:
        # Interrupts the next statement after 2,000,000 steps of SQLite's virtual machine; the
        # turn takes 400,000.
        steps = iter(range(20))
        tx.cursor.connection.set_progress_handler(lambda: next(steps, None) is None, 100_000)
        result = master.core.run_turn(tx, submits, master.now)
        tx.cursor.connection.set_progress_handler(None, 0)
    subjects = [
        live.subject
        for machine in result.state.machines.values()
        for live in machine.live_attempts.values()
    ]
    assert len(subjects) == len(set(subjects)) == 256


def test_a_grant_has_every_setting_of_its_command(master: Harness) -> None:
    master.join("attic", zone="Europe/Berlin")
    master.define(
        argv=["/bin/flag", "-n", "{n}"],
        parameters=[{"name": "n", "type": "int"}],
        env={"LANG": "C"},
        cwd="/srv",
        stdin="in.txt",
        scratch=True,
        stderr="separate",
        progress="percent",
        best_effort=True,
        leave_daemons=True,
        silence="hold",
        lease="10m",
        output={"head": "1KiB", "tail": "2KiB"},
        retry={"later": "off"},
        windows={"open": ["10:00-20:00"], "closing": "requeue"},
        limits={
            "wall": "1h", "cpu": "2h", "idle": "3m", "memory": "1GiB", "output": "1MiB",
            "processes": 9, "grace": "3s", "nice": 5, "io": "idle",
        },
    )  # fmt: skip
    master.request(requests.OverrideHours("attic", "allow", NOON + 1000))
    job_id = master.submit(arguments={"n": 7}, priority=4).id
    [grant] = master.received(m.Grant)
    run = RunSpec(
        ["/bin/flag", "-n", "7"],
        {"LANG": "C", "MYTHJOBS_P_N": "7"},
        False,
        "/srv",
        "in.txt",
        True,
        True,
        "percent",
        3600.0,
        3.0,
        (1024, 2048),
        7200.0,
        180.0,
        2**30,
        2**20,
        9,
        5,
        "idle",
        True,
        True,
        True,
        "off",
        has_priority=True,
    )
    hours = HoursSpec(
        [["10:00-20:00"], [], []], "Europe/Berlin", "requeue", 3.0, [("allow", NOON + 1000)]
    )
    assert grant == m.Grant(1, 1, job_id, 1, 4, run, "hold", 600.0, 300.0, hours, "flag")


def test_a_machine_without_cgroups_runs_jobs_without_one(master: Harness) -> None:
    master.join("attic", can={"windows", "leases"})
    master.define()
    master.submit()
    master.define(contain=False)
    master.submit()
    assert [each.run.contain for each in master.received(m.Grant)] == [False, False]
    master.join("cellar")
    master.submit()
    assert [each.run.contain for each in master.received(m.Grant, "cellar")] == [False]


def test_a_machine_that_enforces_no_lease_keeps_its_jobs(master: Harness) -> None:
    master.join("attic", can=m.CAPABILITIES - {"leases"})
    master.join("cellar")
    master.define()
    master.queue(2)
    [attic], [cellar] = (master.received(m.Grant, name) for name in ("attic", "cellar"))
    assert (attic.silence, cellar.silence) == ("keep", "rerun")
    # Only machines that may run the class count.
    master.define(labels=["gpu"])
    master.request(requests.EditMachine("cellar", {"allow": "all", "labels": ["gpu"]}))
    master.submit()
    [grant] = master.received(m.Grant, "cellar")
    assert grant.silence == "keep"


def test_grants_are_numbered_and_repeated_with_their_terms_on_a_new_connection(
    master: Harness,
) -> None:
    attic = master.join("attic")
    master.define(limits={"wall": "1h"}, windows={"open": ["10:00-20:00"]})
    jobs = master.queue(2)
    grants = master.received(m.Grant)
    assert [(each.no, each.job) for each in grants] == [(1, jobs[0]), (2, jobs[1])]
    # An edit that changes nothing of the terms sends nothing.
    master.request(requests.EditMachine("attic", {"allow": "all", "labels": ["gpu"]}))
    assert master.received(m.HoursChanged) == []
    assert master.received(m.LimitsChanged) == []
    # The machine did not get the second one.
    master.attempts["attic"][jobs[0], 1] = "leased"
    master.disconnect(attic)
    master.join("attic")
    [again] = master.received(m.Grant)
    assert again == msgspec.structs.replace(grants[1], no=1, hb=again.hb)
    # The terms of the other are sent with the new connection, those of the repeated one are known.
    assert [each.job for each in master.received(m.HoursChanged)] == [jobs[0]]
    assert [each.job for each in master.received(m.LimitsChanged)] == [jobs[0]]
    master.request(requests.EditMachine("attic", {"allow": "all", "labels": ["new"]}))
    assert master.received(m.HoursChanged) == []
    assert master.received(m.LimitsChanged) == []


def test_changed_hours_reach_live_attempts(master: Harness) -> None:
    attic = master.join("attic")
    master.define()
    job_id = master.submit().id
    master.take_grants()
    master.request(requests.OverrideHours("attic", "pause", NOON + 1000))
    hours = HoursSpec([[], [], []], "", "finish", 10.0, [("pause", NOON + 1000)])
    assert master.received(m.HoursChanged) == [m.HoursChanged(job_id, 1, hours)]
    master.request(requests.OverrideHours("attic", "hours"))
    assert master.received(m.HoursChanged) == [m.HoursChanged(job_id, 1, None)]
    # A machine that is not connected gets them later.
    master.disconnect(attic)
    master.request(requests.OverrideHours("attic", "pause", NOON + 1000))
    assert master.received(m.HoursChanged) == []
    master.join("attic")
    assert master.received(m.HoursChanged) == [m.HoursChanged(job_id, 1, hours)]


def test_an_ad_hoc_run_has_a_complete_environment_and_the_smaller_wall_limit(
    master: Harness,
) -> None:
    master.join("attic")
    run = {"argv": ["/bin/echo", "{x}"], "env": {"A": "b"}, "cwd": "/tmp", "wall_s": 7200.0}
    master.request(requests.EditMachine("attic", {"allow": "all", "limits": {"wall": "1h"}}))
    master.submit("run", run=run)
    master.request(requests.EditMachine("attic", {"allow": "all"}))
    master.submit("run", run=run)
    del run["wall_s"]
    master.submit("run", run=run)
    found = [each.run for each in master.received(m.Grant)]
    # The third waits for a slot.
    assert [each.wall_s for each in found] == [3600.0, 7200.0]
    for each in found:
        assert (each.argv, each.env, each.bare_env) == (["/bin/echo", "{x}"], {"A": "b"}, True)
        assert (each.cwd, each.stdin) == ("/tmp", "")


def test_jobs_of_other_classes_are_placed_beside_a_failed_lease(master: Harness) -> None:
    # A job that was cancelled after it had been read is not leased, and the pass is repeated.
    attic = master.join("attic", 1)
    for name in ("flag", "other"):
        master.define(name)
    first = master.queue(1)
    jobs = master.queue(20)
    [other] = master.queue(1, "other", priority=-1)
    assert master.take_grants() == first
    master.request(requests.CancelJobs(jobs, "anna"))
    master.finish(attic, *first)
    assert master.take_grants() == [other]


def test_ceilings_count_the_attempts_of_earlier_turns(master: Harness) -> None:
    for name in ("attic", "cellar"):
        master.join(name, 4)
        master.define()
        table: dict[str, object] = {"allow": "all", "commands": {"flag": {"jobs": 1}}}
        master.request(requests.EditMachine(name, table))
    found = []
    for _ in range(3):
        master.submit()
        found.append([master.take_grants(name) for name in ("attic", "cellar")])
    assert found == [[[1], []], [[], [2]], [[], []]]
    assert master.explain(3)["code"] == "ceiling"


def next_jobs_of(master: Harness, class_id: int) -> tuple[list[int], bool] | None:
    """Return the ids of the cached next jobs of a class, and whether they are all of them."""
    found = master.core.state.placement.next_jobs.get(class_id)
    return None if found is None else ([each.job_id for each in found.jobs], found.is_complete)


@pytest.mark.parametrize("count, is_complete", [(3, True), (65, True), (66, False)])
def test_up_to_64_next_jobs_of_a_class_are_kept_for_the_next_turn(
    master: Harness, count: int, is_complete: bool
) -> None:
    attic = master.join("attic", 1)
    master.define()
    jobs = master.queue(count)
    assert master.take_grants() == jobs[:1]
    assert next_jobs_of(master, 1) == (jobs[1:65], is_complete)
    # The next one is taken from the cache.
    master.finish(attic, jobs[0])
    assert master.take_grants() == jobs[1:2]
    assert next_jobs_of(master, 1) == (jobs[2:65], is_complete)


def test_next_jobs_that_were_all_leased_are_not_kept(master: Harness) -> None:
    # Of each of several classes eight jobs are read first.
    attic = master.join("attic", 8)
    for name in ("flag", "other"):
        master.define(name)
    blocker = master.queue(8)
    assert master.take_grants() == blocker
    jobs = master.queue(9, priority=1)
    other = master.queue(1, "other")
    master.finish(attic, *blocker)
    assert master.take_grants() == jobs[:8]
    assert master.state(jobs[8]) == master.state(other[0]) == "queued"
    master.finish(attic, *jobs[:8])
    assert master.take_grants() == [jobs[8], *other]
    # Both classes are without ready jobs now.
    assert master.core.state.placement.ready_classes == set()
    assert master.core.state.placement.next_jobs == {}


def test_short_jobs_are_leased_ahead_in_later_turns_too(master: Harness) -> None:
    attic = master.join("attic", 1)
    master.define()
    master.learn_run_time(attic, 0.01)
    jobs = master.queue(40)
    granted = master.take_grants()
    assert granted == jobs[: len(granted)]
    assert 10 < len(granted) < 30
    # Whenever one ends, the next is leased.
    for number in range(3):
        master.finish(attic, granted[number], seconds=0.01)
        assert master.take_grants() == [jobs[len(granted) + number]]
