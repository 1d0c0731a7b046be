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
from mythjobs.protocol.requests import JobActionResult
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
