"""Reruns with other values: the rules of a submit apply, and the rest is as in the old job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest

from mythjobs.errors import BadRequest
from mythjobs.master import requests
from mythjobs.protocol import messages as m
from mythjobs.protocol.job_changes import RerunChanges
from mythjobs.protocol.requests import Dependency, JobActionResult, Submit
from mythjobs.store.invariants.run import check
from mythjobs.store.writes import prune
from tests.unit.master.harness import NOON, Harness

PARAMETERS = [
    {"name": "source", "type": "path"},
    {"name": "preset", "default": "fast"},
    {"name": "crf", "type": "int", "required": False},
]


def define(master: Harness, **table: Any) -> None:
    master.define("encode", parameters=PARAMETERS, subject="{source}", **table)


def end_job(master: Harness, **fields: Any) -> int:
    """Submit a job and cancel it."""
    fields = {"command": "encode", "arguments": {"source": "/a"}} | fields
    job_id = master.submit(**fields).id
    master.request(requests.CancelJobs([job_id], "anna"))
    return job_id


def rerun(master: Harness, job_ids: list[int], **changes: Any) -> list[JobActionResult]:
    converted = msgspec.convert(changes, RerunChanges)
    results = master.request(requests.RerunJobs(job_ids, "ben", converted))
    assert isinstance(results, list)
    return results


def rerun_one(master: Harness, job_id: int, **changes: Any) -> Mapping[str, Any]:
    [result] = rerun(master, [job_id], **changes)
    assert not result.error, result.error
    return master.shown_job(int(result.done))


def test_changed_arguments_join_the_old_ones_and_give_the_subject(master: Harness) -> None:
    define(master)
    old = end_job(master, priority=3, comment="note")
    new = rerun_one(master, old, arguments={"source": "/b", "crf": 20})
    assert new["arguments"] == {"source": "/b", "preset": "fast", "crf": "20"}
    assert new["subject"] == "/b"
    assert (new["priority"], new["comment"], new["rerun_of"]) == (3, "note", old)
    assert new["submitter"] == "ben"
    # An optional argument that was not given is valid in a rerun, whatever its type.
    again = rerun_one(master, old, arguments={"preset": "slow"}, priority=0, comment="")
    assert again["arguments"] == {"source": "/a", "preset": "slow", "crf": ""}
    assert (again["subject"], again["priority"], again["comment"]) == ("/a", 0, "")


def test_a_subject_given_at_the_submit_stays_unless_another_is_given(master: Harness) -> None:
    define(master)
    old = end_job(master, subject="news")
    assert rerun_one(master, old, arguments={"source": "/b"})["subject"] == "news"
    assert rerun_one(master, old, subject="talk")["subject"] == "talk"
    without = end_job(master, subject="")
    assert rerun_one(master, without, arguments={"source": "/b"})["subject"] is None


def test_a_rerun_keeps_the_revision_of_its_job(master: Harness) -> None:
    define(master)
    old = end_job(master)
    master.define("encode", parameters=[])
    assert rerun_one(master, old, arguments={"source": "/b"})["revision"] == 1


def test_requirements_replace_those_of_the_same_name(master: Harness) -> None:
    for name in ("attic", "cellar"):
        master.join(name)
    define(master)
    old = end_job(
        master, machine="attic", labels=["x"], semaphores={"nas": 1, "disk": 2},
        limits={"wall": "1h", "memory": "1GiB"},
    )  # fmt: skip
    new = rerun_one(master, old, limits={"memory": "2GiB"}, semaphores={"disk": 1})
    assert (new["machine"], new["labels"]) == ("attic", ["x"])
    assert new["semaphores"] == {"nas": 1, "disk": 1}
    assert new["limits"] == {"wall": "1h", "memory": "2GiB"}
    moved = rerun_one(master, old, machine="cellar", labels=[])
    assert (moved["machine"], moved["labels"]) == ("cellar", [])
    assert rerun_one(master, old, machine="", prefer="attic")["prefer"] == "attic"


def test_a_machine_that_is_gone_is_refused_only_if_it_is_given(master: Harness) -> None:
    define(master)
    old = end_job(master, machine="attic", await_machine=True)
    assert rerun_one(master, old, arguments={"preset": "slow"})["machine"] == "attic"
    [refused] = rerun(master, [old], machine="cellar")
    assert refused.error.startswith(f'job {old}: there is no machine "cellar"')


def test_the_machine_that_stores_another_file_is_preferred(master: Harness) -> None:
    for name, directory in (("attic", "/a"), ("cellar", "/b")):
        master.join(name)
        master.request(requests.EditMachine(name, {"files": [directory]}))
    define(master)
    old = end_job(master, arguments={"source": "/a/news.ts"})
    assert master.shown_job(old)["prefer"] == "attic"
    assert rerun_one(master, old, arguments={"source": "/b/news.ts"})["prefer"] == "cellar"
    assert rerun_one(master, old, arguments={"source": "/c/news.ts"})["prefer"] == ""
    assert rerun_one(master, old, priority=1)["prefer"] == "attic"


def test_times_hold_key_and_dependencies_are_those_of_the_rerun(master: Harness) -> None:
    define(master)
    old = end_job(master, key="first")
    master.join("attic")
    master.take_grants()
    new = rerun_one(
        master, old, key="second", hold=True, not_before_ms=NOON + 1000, deadline_ms=NOON + 9000,
        after=[{"job": old, "when": "any"}],
    )  # fmt: skip
    assert (new["key"], new["hold"]) == ("second", 1)
    assert (new["not_before_ms"], new["deadline_ms"]) == (NOON + 1000, NOON + 9000)
    assert [each["job"] for each in new["after"]] == [old]
    assert master.take_grants() == []
    master.request(requests.ReleaseJobs([new["id"]]))
    assert master.take_grants() == []
    master.advance(1)
    assert master.take_grants() == [new["id"]]
    # A key that exists returns its job, as at a submit.
    [known] = rerun(master, [old], key="second")
    assert (known.done, known.error, known.changed) == (str(new["id"]), "", False)


def test_a_rerun_starts_at_once_with_its_changed_arguments(master: Harness) -> None:
    define(master)
    old = end_job(master)
    master.join("attic", 1)
    new = rerun_one(master, old, arguments={"source": "/b"})
    [grant] = master.received(m.Grant, "attic")
    assert (grant.job, grant.run.env["MYTHJOBS_P_SOURCE"]) == (new["id"], "/b")


def test_what_is_wrong_for_one_job_does_not_keep_the_others(master: Harness) -> None:
    define(master)
    master.define("backup")
    encode, backup = end_job(master), end_job(master, command="backup", arguments={})
    queued = master.submit("backup").id
    results = rerun(master, [encode, backup, queued, 99], arguments={"preset": "slow"})
    assert [each.error for each in results] == [
        "",
        f'job {backup}: backup has no parameter "preset"; it has none',
        f"job {queued} has not ended yet (queued)",
        "there is no job 99",
    ]
    assert results[0].done
    assert master.shown_job(int(results[0].done))["arguments"]["preset"] == "slow"
    [refused] = rerun(master, [encode], limits={"speed": "1"})
    assert "limits.speed: unknown key" in refused.error
    [refused] = rerun(master, [encode], arguments={"crf": "much"})
    assert refused.error == f'job {encode}: parameter "crf": "much" is not a whole number'
    master.request(requests.CancelJobs([int(results[0].done), queued], "anna"))
    master.request(requests.RemoveCommand("encode"))
    [refused] = rerun(master, [encode], priority=1)
    assert refused.error == f"the command of job {encode} was removed"


@pytest.mark.parametrize(
    "changes, sentence",
    [
        ({"priority": 101}, "101 is not between"),
        ({"comment": "x" * 10_001}, "comment must have at most"),
        ({"not_before_ms": NOON + 2, "deadline_ms": NOON + 1}, "deadline is before the start"),
        ({"machine": "attic", "prefer": "cellar"}, "prefer: has no effect"),
    ],
)
def test_a_change_that_fits_no_job_is_refused_as_a_whole(
    master: Harness, changes: dict[str, Any], sentence: str
) -> None:
    define(master)
    with pytest.raises(BadRequest, match=sentence):
        rerun(master, [end_job(master)], **changes)


def test_a_key_is_for_a_single_job(master: Harness) -> None:
    define(master)
    with pytest.raises(BadRequest, match="a single job"):
        rerun(master, [end_job(master), end_job(master)], key="k")


def test_an_ad_hoc_run_gets_another_limit_but_no_other_program(master: Harness) -> None:
    run = {"argv": ["/bin/true"], "wall_s": 60, "best_effort": True}
    old = end_job(master, command="run", arguments={}, run=run)
    attic = master.join("attic")
    new = rerun_one(master, old, limits={"wall": "2h"})
    [grant] = master.received(m.Grant, "attic")
    assert (grant.job, grant.run.wall_s, grant.run.best_effort) == (new["id"], 7200, True)
    assert new["limits"] == {"wall": "2h"}
    kept = rerun_one(master, old, priority=1)
    grants = {each.job: each.run.wall_s for each in master.received(m.Grant, "attic")}
    assert grants[kept["id"]] == 60
    [refused] = rerun(master, [old], arguments={"a": "b"})
    assert "an ad-hoc run has no parameters" in refused.error
    assert attic


def end_chain(master: Harness, *conditions: str) -> list[int]:
    """Let a job fail, after which jobs that wait for each other end; return all ids."""
    master.define("encode")
    attic = master.join("attic")
    ids = [master.submit("encode").id]
    for each in conditions:
        ids.append(master.submit("encode", after=[{"job": ids[-1], "when": each}]).id)
    while granted := master.take_grants():
        master.finish(attic, *granted, code=1)
    return ids


def waits(master: Harness, job_id: int) -> list[tuple[int, str]]:
    return [(each["job"], each["when"]) for each in master.shown_job(job_id)["after"]]


@pytest.mark.parametrize("changes", [None, {"priority": 1}])
def test_jobs_rerun_together_wait_for_each_other_as_before(
    master: Harness, changes: dict[str, Any] | None
) -> None:
    # Seen: B, cancelled because A had failed, ran at once when both were run again.
    old = end_chain(master, "ok", "any", "failure")
    assert [master.state(each) for each in old] == ["failed", "cancelled", "failed", "failed"]
    converted = msgspec.convert(changes, RerunChanges | None)
    results = master.request(requests.RerunJobs(old, "ben", converted))
    new = [int(each.done) for each in results]
    assert new == [each + len(old) for each in old]
    assert [waits(master, each) for each in new] == [
        [], [(new[0], "ok")], [(new[1], "any")], [(new[2], "failure")],
    ]  # fmt: skip
    assert [master.shown_job(each)["rerun_of"] for each in new] == old
    granted = []
    while jobs := master.take_grants():
        granted += jobs
        master.finish(1, *jobs)
    assert granted == new[:3]
    assert master.state(new[3]) == "cancelled"
    with master.store.snapshot() as tx:
        assert check(tx) == []


def test_a_rerun_alone_has_no_dependencies_on_ended_jobs(master: Harness) -> None:
    first, second, third = end_chain(master, "ok", "any")
    assert waits(master, int(rerun(master, [second])[0].done)) == []
    results = rerun(master, [first, third])
    assert [waits(master, int(each.done)) for each in results] == [[], []]


def test_a_rerun_waits_for_what_its_job_waited_for_and_has_not_ended(master: Harness) -> None:
    master.define("encode")
    first = master.submit("encode", hold=True).id
    old = master.submit("encode", after=[{"job": first, "when": "any"}]).id
    master.request(requests.CancelJobs([old], "anna"))
    refused, done = rerun(master, [first, old])
    assert refused.error == f"job {first} has not ended yet (queued)"
    assert waits(master, int(done.done)) == [(first, "any")]


def test_dependencies_that_are_given_join_those_taken_over(master: Harness) -> None:
    first, second = end_chain(master, "ok")
    held = master.submit("encode", hold=True).id
    _, done = rerun(master, [first, second], after=[{"job": held, "when": "any"}])
    new_id = int(done.done)
    assert sorted(waits(master, new_id)) == [(held, "any"), (new_id - 1, "ok")]
    # Of two conditions on one job, the given one holds.
    old = master.submit("encode", after=[{"job": held}]).id
    master.request(requests.CancelJobs([old], "anna"))
    new = rerun_one(master, old, after=[{"job": held, "when": "failure"}])
    assert waits(master, new["id"]) == [(held, "failure")]


def test_a_job_is_not_rerun_if_one_that_it_waited_for_is_refused(master: Harness) -> None:
    master.define("check")
    first, second, third = end_chain(master, "ok", "ok")
    lone = end_job(master, command="check", arguments={}, hold=True)
    waiting = end_job(master, arguments={}, hold=True, after=[{"job": lone, "when": "any"}])
    later = end_job(master, arguments={}, hold=True, after=[{"job": waiting, "when": "any"}])
    master.request(requests.RemoveCommand("check"))
    results = rerun(master, [first, second, third, lone, waiting, later])
    assert [bool(each.done) for each in results] == [True, True, True, False, False, False]
    assert [each.error for each in results[3:]] == [
        f"the command of job {lone} was removed",
        f"job {waiting}: it waited for job {lone}, which could not be submitted again; to run job "
        f"{waiting} anyway, rerun it alone",
        f"job {later}: it waited for job {waiting}, which could not be submitted again; to run "
        f"job {later} anyway, rerun it alone",
    ]


def test_a_job_that_was_deleted_is_not_waited_for(master: Harness) -> None:
    first, second = end_chain(master, "failure")
    with master.store.transaction() as tx:
        assert prune.delete_jobs(tx, [first]) == 1
    results = master.request(requests.RerunJobs([first, second], "ben"))
    assert results[0].error == f"there is no job {first}"
    assert waits(master, int(results[1].done)) == []


def test_slices_of_one_request_share_the_ids_of_the_reruns(master: Harness) -> None:
    first, second = end_chain(master, "ok")
    earlier = requests.RerunIds()
    results = master.request(requests.RerunJobs([first], "ben", None, earlier))
    earlier.add(results)
    # The job of the first slice has failed again meanwhile.
    [again] = master.take_grants()
    master.finish(1, again, code=1)
    [done] = master.request(requests.RerunJobs([second], "ben", None, earlier))
    new = master.shown_job(int(done.done))
    assert [(each["job"], each["when"]) for each in new["after"]] == [(again, "ok")]
    assert (new["state"], new["reason"]["code"]) == ("cancelled", "dependency_failed")
    # The job of the first slice was refused.
    earlier = requests.RerunIds()
    earlier.add([JobActionResult(first, "failed", "", "refused", False)])
    [done] = master.request(requests.RerunJobs([second], "ben", None, earlier))
    assert f"it waited for job {first}" in done.error


def test_serial_dependencies_of_schedules_are_not_taken_over(master: Harness) -> None:
    master.define("encode")
    ids = [master.submit("encode", hold=True).id]
    submit = Submit("encode", after=[Dependency(ids[0], "any")])
    ids.append(master.request(requests.SubmitJob(submit, "anna", is_serial=True)).id)
    master.request(requests.CancelJobs(ids, "anna"))
    results = master.request(requests.RerunJobs(ids, "ben"))
    assert [waits(master, int(each.done)) for each in results] == [[], []]
