"""The list of `mythjobs jobs`."""

import json
import re
from typing import Any

import pytest

from mythjobs.clock import master_now
from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import attempt, failed, job, succeeded
from tests.integration.cli.scripted import Master, error


@pytest.mark.parametrize(
    "facts, shown",
    [
        ({"state": "running", "comment": "pass 2"}, "held by ann: pass 2"),
        ({"comment": "for ann"}, "held by ann (for ann)"),
        ({"state": "succeeded", "reason": {"sentence": None}, "comment": "done"}, "done"),
        ({"state": "failed", "reason": {"sentence": "exit code 3"}}, "exit code 3"),
    ],
)
def test_a_list_of_jobs_shows_comments_in_every_state(
    call: Call, master: Master, facts: dict[str, Any], shown: str
) -> None:
    master.answers["GET jobs"] = {"jobs": [job(7, **facts)], "next": None}
    assert call("jobs").out.splitlines()[1].endswith(f"  {shown}")


@pytest.mark.parametrize(
    "listed, shown",
    [
        (succeeded(), "took 2.0 s on attic"),
        (succeeded(comment="for ann"), "took 2.0 s on attic (for ann)"),
        (failed(), "exit code 3, took 2.0 s on attic"),
        (job(state="queued", attempts=[attempt()]), "held by ann"),
        (job(state="cancelled", reason={"code": "cancelled", "sentence": "by ann"}), "by ann"),
    ],
)
def test_a_list_of_jobs_shows_run_times_and_machines(
    call: Call, master: Master, listed: dict[str, Any], shown: str
) -> None:
    master.answers["GET jobs"] = {"jobs": [listed], "next": None}
    assert call("jobs").out.splitlines()[1].endswith(f"  {shown}")


def test_a_list_of_jobs_shows_how_long_a_job_has_run(call: Call, master: Master) -> None:
    live = attempt(state="running", started_ms=master_now().wall_ms - 303_000, usage=None)
    reason = {"code": "running", "sentence": "running on attic"}
    running = job(state="running", reason=reason, attempts=[live], comment="pass 2")
    master.answers["GET jobs"] = {"jobs": [running], "next": None}
    shown = call("jobs").out.splitlines()[1]
    assert re.search(r"  running on attic for 5 min \d+ s: pass 2$", shown)


def test_held_jobs_are_listed(call: Call, master: Master) -> None:
    master.answers["GET jobs"] = {"jobs": [job()], "next": None}
    assert call("jobs", "--held", "--command", "thumbnail").code == 0
    assert master.requests[0].query == {"command": "thumbnail", "held": "true", "limit": "100"}
    # An older master, which refuses unknown fields, must not be asked in vain for other lists.
    assert call("jobs").code == 0
    assert master.requests[1].query == {"limit": "100"}


@pytest.mark.parametrize(
    "name, meant",
    [
        ("held", '"held" is not a state; held jobs are queued, `mythjobs jobs --held` lists them'),
        ("pending", '"pending" is not a state (did you mean "queued"?); states are queued, '),
        ("queued,completed", '"completed" is not a state (did you mean "succeeded"?); states'),
    ],
)
def test_states_of_other_programs_are_answered_with_those_that_are_meant(
    call: Call, name: str, meant: str
) -> None:
    done = call("jobs", "--state", name)
    assert (done.code, meant in done.err) == (2, True), done.err


def test_jobs_of_a_batch_that_does_not_exist_are_an_error(call: Call, master: Master) -> None:
    master.answers["GET jobs"] = error(404, "no_such_job", "there is no batch 9")
    assert call("jobs", "--batch", "9") == (2, "", "mythjobs: there is no batch 9\n")
    master.answers["GET jobs"] = {"jobs": [], "next": None}
    assert call("jobs", "--batch", "9", "--json") == (0, "[]\n", "")


def test_jobs_come_page_by_page_up_to_the_limit(call: Call, master: Master) -> None:
    pages: list[Any] = [
        {"jobs": [job(n) for n in range(1200, 700, -1)], "next": 701},
        {"jobs": [job(n) for n in range(700, 600, -1)], "next": 601},
    ]
    master.answers["GET jobs"] = pages
    done = call("jobs", "--limit", "600", "--state", "queued,running", "--command", "a", "--json")
    assert [each["id"] for each in json.loads(done.out)] == list(range(1200, 600, -1))
    first, second = master.requests
    assert first.query == {"state": "queued,running", "command": "a", "limit": "500"}
    assert second.query["limit"] == "100"
    assert second.query["before"] == "701"


def test_jobs_since_a_time_are_listed(call: Call, master: Master) -> None:
    master.answers["GET jobs"] = {"jobs": [failed(7)], "next": None}
    assert call("jobs", "--state", "failed", "--since", "2020-11-03 22:00").code == 0
    query = {"state": "failed", "since_ms": "1604440800000", "limit": "100"}
    assert master.requests[0].query == query
    refused = call("jobs", "--since", "2999-01-01")
    assert (refused.code, len(master.requests)) == (2, 1)
    assert '"2999-01-01" is in the future' in refused.err


def test_a_title_in_a_list_cannot_control_the_terminal(call: Call, master: Master) -> None:
    evil = job(7, subject="\x1b[2J\nrm \u202ex", command="a\x9bb")
    master.answers["GET jobs"] = {"jobs": [evil], "next": None}
    master.answers["GET jobs/7"] = {**evil, "arguments": {"t": "\x07"}, "comment": "\x1b]0;x\x07"}
    for arguments in (["jobs"], ["show", "7"]):
        done = call(*arguments)
        assert done.code == 0
        assert not {"\x1b", "\x9b", "\u202e", "\x07"} & set(done.out)


def test_an_ad_hoc_job_is_listed_by_its_program(call: Call, master: Master) -> None:
    arguments = {"argv": ["echo", "a b"], "cwd": "/", "wall_s": None}
    master.answers["GET jobs"] = {
        "jobs": [job(7, command="run", subject=None, arguments=arguments)],
        "next": None,
    }
    assert "echo 'a b'" in call("jobs").out


def test_an_unknown_state_is_refused(call: Call) -> None:
    done = call("jobs", "--state", "lost")
    assert done.code == 2
    assert '"lost" is not a state; states are queued, leased, running' in done.err
