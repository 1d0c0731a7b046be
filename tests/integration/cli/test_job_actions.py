import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mythjobs import clock
from mythjobs.model.life import JobState
from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import WHOLE_MACHINE
from tests.integration.cli.scripted import Master, environment


@pytest.mark.parametrize("act", ["cancel", "hold", "release", "pause", "resume"])
def test_results_go_to_stdout_and_refusals_to_stderr(call: Call, master: Master, act: str) -> None:
    results: list[dict[str, Any]] = [
        {"id": 7, "state": "queued", "done": "held", "error": ""},
        {"id": 8, "state": "", "done": "", "error": "there is no job 8"},
    ]
    master.answers[f"POST jobs/{act}"] = {"jobs": results}
    done = call(act, "7", "8")
    assert done == (2, "job 7 held\n", "mythjobs: there is no job 8\n")
    assert master.requests[0].json == {"ids": [7, 8]}
    assert json.loads(call(act, "7", "8", "--json").out) == results


def test_set_changes_the_priority_of_jobs(call: Call, master: Master) -> None:
    result = {"id": 7, "state": "queued", "done": "has priority 50", "error": ""}
    master.answers["POST jobs/priority"] = {"jobs": [result]}
    assert call("set", "7", "--priority", "50") == (0, "job 7 has priority 50\n", "")
    assert master.requests[0].json == {"ids": [7], "priority": 50}
    by_filter(master, "priority")
    done = call("set", "--command", "x", "--priority", "-5", "--yes")
    assert done == (0, "312 jobs set to priority -5\n", "")
    assert master.requests[-1].json == {
        "act": "priority", "states": ["queued"], "command": "x", "batch": None, "subject": None,
        "priority": -5,
    }  # fmt: skip
    question = "mythjobs: change 312 queued jobs (not 4 running); stdin is not a terminal"
    assert call("set", "--command", "x", "--priority", "-5").err.startswith(question)
    assert call("set", "7").code == 2
    assert call("set", "7", "--priority", "101").code == 2


def test_set_sends_what_its_options_change(call: Call, master: Master) -> None:
    result = {"id": 7, "state": "queued", "done": "has limits wall=2h", "error": ""}
    master.answers["POST jobs/set"] = {"jobs": [result]}
    master.answers["GET jobs/7"] = {"command": "encode"}
    master.answers["GET commands/encode"] = {"definition": {"parameters": []}}
    done = call("set", "7", "-p", "a=b", "--limit", "wall=2h", "--any-machine", "--subject", "x")
    assert done == (0, "job 7 has limits wall=2h\n", "")
    assert master.requests[-1].json == {
        "ids": [7],
        "changes": {
            "arguments": {"a": "b"}, "limits": {"wall": "2h"}, "machine": "", "labels": [],
            "subject": "x",
        },
    }  # fmt: skip
    before_ms = clock.master_now().wall_ms
    assert call("set", "7", "--not-before", "now", "--priority", "3").code == 0
    changes = master.requests[-1].json["changes"]
    assert before_ms <= changes["not_before_ms"] <= clock.master_now().wall_ms
    by_filter(master, "set")
    done = call("set", "--subject", "a", "--comment", "x", "--yes")
    assert done == (0, "312 jobs changed\n", "")
    assert master.requests[-1].json == {
        "act": "set", "states": ["queued"], "command": None, "batch": None, "subject": "a",
        "changes": {"comment": "x"},
    }  # fmt: skip
    for arguments, sentence in [
        (["7"], "give what to change: --param, --not-before, --priority"),
        (["--priority", "3"], "give job ids, or a filter"),
        (["7", "--any-machine", "--label", "gpu"], "--any-machine lifts --machine and --label"),
        (["--state", "running", "--comment", "x"], "change does not apply to running jobs"),
    ]:
        refused = call("set", *arguments)
        assert (refused.code, sentence in refused.err) == (2, True), refused.err


def test_a_range_names_many_jobs_and_each_job_counts_once(call: Call, master: Master) -> None:
    master.answers["POST jobs/cancel"] = {"jobs": []}
    assert call("cancel", "7", "9-12", "10-11", "7").code == 0
    assert master.requests[0].json == {"ids": [7, 9, 10, 11, 12]}


def test_a_list_with_commas_names_many_jobs(call: Call, master: Master) -> None:
    # HyperQueue, Slurm and print dialogs write lists of ids like this.
    master.answers["POST jobs/cancel"] = {"jobs": []}
    assert call("cancel", "7,9-11,3", "4").code == 0
    assert master.requests[0].json == {"ids": [7, 9, 10, 11, 3, 4]}


@pytest.mark.parametrize(
    "given, sentence",
    [
        ("12-9", '"12-9" ends before it begins'),
        ("1-99999999999999999999", "has more than 10000 jobs"),
        ("1-2-3", '"2-3" is not the id of a job'),
        ("0-3", "0 is not in the range"),
        ("7-", '"7-" is not the id of a job'),
        ("7,8,", '"" is not the id of a job'),
        ("7,x", '"x" is not the id of a job'),
    ],
)
def test_a_range_that_is_none_is_refused(call: Call, given: str, sentence: str) -> None:
    for arguments in (["hold", given], ["wait", given]):
        done = call(*arguments)
        assert done.code == 2
        assert sentence in done.err


def test_rerun_names_the_new_job(call: Call, master: Master) -> None:
    results = [{"id": 7, "state": "failed", "done": "9", "error": ""}]
    master.answers["POST jobs/rerun"] = {"jobs": results}
    assert call("rerun", "7") == (0, "job 9 is a rerun of job 7\n", "")


def test_rerun_sends_what_its_options_change(
    call: Call, master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    results = [{"id": 7, "state": "failed", "done": "9", "error": "", "changed": False}]
    master.answers["POST jobs/rerun"] = {"jobs": results}
    master.answers["GET jobs/7"] = {"command": "encode"}
    parameters = [{"name": "source", "type": "path"}, {"name": "preset"}]
    master.answers["GET commands/encode"] = {"definition": {"parameters": parameters}}
    done = call(
        "rerun", "7", "-p", "source=a.ts", "--param", "preset=slow", "--limit", "wall=2h",
        "--limit", "nice=3", "--label", "gpu", "--semaphore", "nas=2", "--machine", "attic",
        "--prefer", "attic", "--subject", "news", "--priority", "0", "--comment", "",
        "--after", "3:any", "--key", "k", "--hold", "--not-before", "2100-01-01 00:00:00+00:00",
    )  # fmt: skip
    assert done == (0, "job 9 has this key already; job 7 did not run again\n", "")
    assert master.requests[-1].json == {
        "ids": [7],
        "changes": {
            "arguments": {"source": str(tmp_path / "a.ts"), "preset": "slow"},
            "limits": {"wall": "2h", "nice": 3}, "labels": ["gpu"], "semaphores": {"nas": 2},
            "machine": "attic", "prefer": "attic", "subject": "news", "priority": 0, "comment": "",
            "after": [{"job": 3, "when": "any"}], "key": "k", "hold": True,
            "not_before_ms": 4_102_444_800_000,
        },
    }  # fmt: skip


def test_rerun_by_filter_changes_the_jobs_of_one_command(call: Call, master: Master) -> None:
    by_filter(master, "rerun")
    master.answers["GET batches/7"] = {"command": "encode"}
    master.answers["GET commands/encode"] = {"definition": {"parameters": []}}
    for arguments in (["--command", "encode"], ["--batch", "7"]):
        assert call("rerun", *arguments, "-p", "preset=slow", "--yes").code == 0
        assert master.requests[-1].json["changes"] == {"arguments": {"preset": "slow"}}
    # With a filter --subject selects jobs.
    assert call("rerun", "--subject", "a", "--limit", "wall=2h", "--yes").code == 0
    assert master.requests[-1].json["subject"] == "a"
    assert master.requests[-1].json["changes"] == {"limits": {"wall": "2h"}}
    for arguments, sentence in [
        (["--state", "failed", "-p", "preset=slow"], "--param needs jobs of one command"),
        (["--command", "encode", "--key", "k"], "--key is for one job"),
        (["7", "--deadline", "2020-01-01"], "is in the past"),
        (["7", "-p", "preset=a", "-p", "preset=b"], 'the parameter "preset" is given twice'),
    ]:
        master.answers["GET jobs/7"] = {"command": "encode"}
        refused = call("rerun", *arguments, "--yes")
        assert (refused.code, sentence in refused.err) == (2, True), refused.err


def test_what_failed_since_a_time_is_run_again(call: Call, master: Master) -> None:
    by_filter(master, "rerun")
    master.answers["GET jobs/count"] = {"counts": dict.fromkeys(JobState, 1) | {"failed": 2}}
    done = call("rerun", "--since", "2020-11-03 22:00", "--yes")
    assert (done.code, done.err) == (0, "")
    count, act = master.requests
    at_ms = 1_604_440_800_000
    assert count.query["since_ms"] == str(at_ms)
    assert (act.json["since_ms"], act.json["states"]) == (at_ms, ["failed"])
    question = "mythjobs: rerun 2 failed jobs (not 1 queued and 1 starting and 1 running); stdin"
    assert call("rerun", "--since", "2h").err.startswith(question)
    refused = call("rerun", "--since", "soon", "--yes")
    assert (refused.code, '"soon" is not a time in the past' in refused.err) == (2, True)


@pytest.mark.parametrize(
    "arguments, body",
    [
        (["allow", "my attic", "a", "b"], {"allow": ["a", "b"]}),
        (["allow", "my attic", "--all"], {"allow": "all"}),
        (["deny", "my attic", "a"], {"deny": ["a"]}),
        (["set", "my attic", "--jobs", "0"], {"jobs": 0}),
        (["set", "my attic", "--zone", "UTC", "--jobs", "2"], {"zone": "UTC", "jobs": 2}),
    ],
)
def test_policy_commands_send_the_change(
    call: Call, master: Master, arguments: list[str], body: dict[str, Any]
) -> None:
    master.answers["POST machines/my%20attic"] = WHOLE_MACHINE
    done = call("machine", *arguments)
    assert done == (0, "attic runs at most 4 jobs; allowed: all but backup\n", "")
    assert master.requests[0].json == body


def test_allow_needs_commands_or_all(call: Call) -> None:
    assert call("machine", "allow", "attic").err == (
        "mythjobs: name commands, or give --all; see `mythjobs machine allow --help`\n"
    )
    assert call("machine", "allow", "attic", "a", "--all").code == 2


COUNTS = {"queued": 312, "leased": 0, "running": 4, "succeeded": 9, "failed": 2, "cancelled": 0}


def by_filter(master: Master, act: str, done: int = 312, **more: Any) -> None:
    master.answers["GET jobs/count"] = {"counts": COUNTS}
    answer = {"act": act, "done": done, "refused": 0, "errors": [], **more}
    master.answers["POST jobs/all"] = answer


def test_release_lost_selects_jobs_that_were_lost_too_often(call: Call, master: Master) -> None:
    by_filter(master, "release", done=2)
    done = call("release", "--lost", "--yes")
    assert (done.code, done.out) == (0, "2 jobs released\n")
    assert master.requests[0].query["lost"] == "true"
    assert master.requests[1].json["lost"] is True
    assert call("release", "--lost", "7").code == 2


def test_a_filter_requires_confirmation_of_the_number_of_jobs(
    call: Call, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_filter(master, "cancel")
    arguments = ("cancel", "--command", "x", "--state", "queued")
    with open("/dev/null") as empty:
        monkeypatch.setattr("sys.stdin", empty)
        refused = call(*arguments)
    assert refused == (
        2,
        "",
        "mythjobs: cancel 312 queued jobs (not 4 running); stdin is not a terminal, so give --yes "
        "to confirm\n",
    )
    assert [each.method for each in master.requests] == ["GET"]
    assert master.requests[0].query == {"command": "x"}

    assert call(*arguments, "--yes") == (0, "312 jobs cancelled or being cancelled\n", "")
    sent = {"act": "cancel", "states": ["queued"], "command": "x", "batch": None, "subject": None}
    assert master.requests[-1].json == sent


@pytest.mark.parametrize(
    "arguments, states, question",
    [
        (
            ["cancel", "--batch", "7"],
            ["queued", "leased", "running"],
            "cancel 312 queued and 4 running jobs",
        ),
        (
            ["rerun", "--subject", "s"],
            ["failed"],
            "rerun 2 failed jobs (not 312 queued and 4 running)",
        ),
        (
            ["pause", "--command", "x"],
            ["leased", "running"],
            "pause 4 running jobs (not 312 queued)",
        ),
    ],
)
def test_a_filter_selects_the_states_that_the_action_applies_to(
    call: Call,
    master: Master,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    states: list[str],
    question: str,
) -> None:
    by_filter(master, arguments[0])
    with open("/dev/null") as empty:
        monkeypatch.setattr("sys.stdin", empty)
        assert f"mythjobs: {question}; stdin" in call(*arguments).err
    assert call(*arguments, "--yes").code == 0
    assert master.requests[-1].json["states"] == states


def test_refusals_of_a_filter_are_printed_and_counted(call: Call, master: Master) -> None:
    by_filter(master, "pause", done=1, refused=3, errors=["machine attic cannot freeze a job"])
    done = call("pause", "--command", "x", "--yes")
    assert done == (
        2,
        "1 job pausing\n",
        "mythjobs: machine attic cannot freeze a job\nmythjobs: refused for 2 more jobs\n",
    )


def test_a_rerun_of_a_filter_names_the_new_jobs(call: Call, master: Master) -> None:
    # Seen: nothing told which jobs to wait for.
    by_filter(master, "rerun", done=4, new_ids=[[15, 17], [20, 20]])
    done = call("rerun", "--batch", "3", "--yes")
    assert done == (0, "4 jobs submitted again: 15-17,20\n", "")
    many = [[number, number] for number in range(1, 41, 2)]
    by_filter(master, "rerun", done=20, new_ids=many)
    done = call("rerun", "--batch", "3", "--yes")
    assert done.out == "20 jobs submitted again: 1,3,5,7,9,11,13,15,17,19 and 10 more\n"


def test_an_empty_filter_needs_no_confirmation(call: Call, master: Master) -> None:
    by_filter(master, "rerun")
    assert (
        call("rerun", "--command", "x", "--state", "cancelled").out == "no jobs submitted again\n"
    )
    assert [each.method for each in master.requests] == ["GET"]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["cancel"], "give job ids, or a filter: --command"),
        (["cancel", "7", "--command", "x"], "give job ids, or a filter: --command"),
        (["hold", "--state", "running"], "hold does not apply to running jobs, only to queued"),
        (["cancel", "--state", "lost"], '"lost" is not a state'),
    ],
)
def test_either_ids_or_a_valid_filter_are_required(
    call: Call, master: Master, arguments: list[str], sentence: str
) -> None:
    done = call(*arguments)
    assert (done.code, sentence in done.err, master.requests) == (2, True, [])


@pytest.mark.parametrize(
    "answer, code, expected", [(b"y\n", 0, b"312 jobs"), (b"\n", 1, b"nothing was")]
)
def test_on_a_terminal_the_user_is_asked_to_confirm(
    master: Master, answer: bytes, code: int, expected: bytes
) -> None:
    by_filter(master, "cancel")
    ours, theirs = os.openpty()
    try:
        os.write(ours, answer)
        arguments = master.command("cancel", "--command", "x", "--state", "queued")
        done = subprocess.run(
            arguments, env=environment(), stdin=theirs, capture_output=True, check=False
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert b"cancel 312 queued jobs (not 4 running); go on? [y/N]" in done.stderr
    assert done.returncode == code
    assert expected in done.stdout + done.stderr
    assert [each.method for each in master.requests][1:] == ["POST"] * (code == 0)
