"""`run`: its job's output, its exit code, interruption, and submission without waiting."""

import json
import signal
import subprocess
import threading
from typing import Any

import pytest

from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import ad_hoc, attempt, failed, job, output, running, succeeded
from tests.integration.cli.scripted import Master, Reply, Request, environment

BYTES = bytes(range(256)) * 3 + b"no line end"


def test_run_asks_for_a_second_start_with_retry_only(call: Call, master: Master) -> None:
    ad_hoc(master, succeeded())
    call("run", "true")
    call("run", "--retry", "true")
    runs = [each.json["run"] for each in master.requests if each.method == "POST"]
    assert [each.get("retry", False) for each in runs] == [False, True]


def test_run_copies_both_streams_and_the_exit_code(master: Master) -> None:
    ad_hoc(master, failed(), out=BYTES, err=b"oops\n")
    arguments = master.command("run", "--wall", "1m", "--priority", "3", "ls", "-l", "a b")
    done = subprocess.run(
        arguments, env=environment(COLOUR="blue"), cwd="/usr", capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, BYTES, b"oops\n")
    body = master.requests[0].json
    assert (body["command"], body["priority"]) == ("run", 3)
    assert body["run"]["argv"] == ["ls", "-l", "a b"]
    assert (body["run"]["cwd"], body["run"]["wall_s"]) == ("/usr", 60)
    assert body["run"]["env"]["COLOUR"] == "blue"


def test_run_omits_environment_variables_that_are_not_utf8(master: Master) -> None:
    ad_hoc(master, succeeded())
    odd = {**{k.encode(): v.encode() for k, v in environment().items()}, b"ODD": b"\xff"}
    done = subprocess.run(master.command("run", "true"), env=odd, capture_output=True, check=False)
    assert (
        done.stderr == b"mythjobs: environment variables omitted because they are not UTF-8: ODD\n"
    )
    assert "ODD" not in master.requests[0].json["run"]["env"]


def test_run_reports_a_breach(master: Master) -> None:
    ends = attempt(outcome={"kind": "breached", "limit": "wall"})
    ad_hoc(master, failed(attempts=[ends]))
    done = master.run("run", "sleep", "9")
    assert done.returncode == 124
    assert done.stderr == b"mythjobs: job 7: ended because it exceeded its wall limit\n"


def test_run_names_the_machine_that_it_wants(master: Master) -> None:
    ad_hoc(master, succeeded())
    assert master.run("run", "--machine", "attic", "--prefer", "cellar", "true").returncode == 0
    sent = master.requests[0].json
    assert (sent["machine"], sent["prefer"]) == ("attic", "cellar")
    assert "await_machine" not in sent  # which a master of an older version refuses
    assert master.run("run", "--machine", "attic", "--await-machine", "true").returncode == 0
    assert (
        next(each for each in reversed(master.requests) if each.method == "POST").json[
            "await_machine"
        ]
        is True
    )


def test_a_detached_run_prints_the_id_and_does_not_wait(call: Call, master: Master) -> None:
    why = "starts after job 5"
    master.answers["POST jobs"] = {"id": 7, "state": "queued", "new": True, "reason": why}
    done = call("run", "--detach", "--after", "5:any", "--label", "tape", "--", "tar", "-x")
    assert done == (0, f"job 7 queued: {why}\n", "")
    assert [each.method for each in master.requests] == ["POST"]
    sent = master.requests[0].json
    assert sent["run"]["argv"] == ["tar", "-x"]
    assert (sent["after"], sent["labels"]) == ([{"job": 5, "when": "any"}], ["tape"])
    assert "not_before_ms" not in sent
    done = call("run", "-d", "--json", "--not-before", "2031-01-01 22:00", "--", "true")
    assert json.loads(done.out)["id"] == 7
    assert master.requests[-1].json["not_before_ms"] > 0
    assert call("run", "-d", "--print-id", "--", "true") == (0, "7\n", "")
    assert call("run", "--json", "--", "true").code == 2
    assert "--print-id need --detach" in call("run", "--print-id", "--", "true").err
    assert call("run", "-d", "--print-id", "--json", "--", "true").code == 2
    assert len(master.requests) == 3


def test_run_hints_at_the_shell_if_its_program_is_a_shell_command(
    call: Call, master: Master
) -> None:
    master.answers["POST jobs"] = {"id": 7, "state": "queued", "new": True, "reason": ""}
    hint = "mythjobs: no shell reads the arguments; for a shell command use `sh -c 'ls | wc -l'`\n"
    assert call("run", "-d", "--", "ls | wc -l") == (0, "job 7 queued\n", hint)
    assert call("run", "-d", "--", "sh", "-c", "ls | wc -l").err == ""


def test_run_sends_limits_and_warns_if_no_machine_enforces_them(master: Master) -> None:
    ad_hoc(master, succeeded())
    why = "will wait: no machine can run it: attic cannot enforce memory by itself"
    master.answers["POST jobs"] = {"id": 7, "state": "queued", "new": True, "reason": why}
    limits = ["--cpu", "1h", "--idle", "90s", "--memory", "2GiB", "--output", "1 MB"]
    done = master.run("run", *limits, "--processes", "9", "--nice", "10", "--io", "idle", "true")
    assert (done.returncode, done.stderr.decode()) == (0, f"mythjobs: job 7 {why}\n")
    assert master.requests[0].json["limits"] == {
        "cpu": "1h",
        "idle": "1m30s",
        "memory": "2GiB",
        "output": "1 MB",
        "processes": 9,
        "nice": 10,
        "io": "idle",
    }


def test_run_sends_the_options_that_it_shares_with_submit(call: Call, master: Master) -> None:
    master.answers["POST jobs"] = {"id": 7, "state": "queued", "new": True, "reason": ""}
    options = ["--subject", "/a", "--semaphore", "nas=2", "--grace", "1m", "--best-effort"]
    options += ["--deadline", "2031-01-01 22:00", "--key", "k", "--hold"]
    assert call("run", "-d", *options, "--", "true").code == 0
    sent = master.requests[-1].json
    assert sent["run"]["best_effort"] is True
    assert (sent["subject"], sent["key"], sent["hold"]) == ("/a", "k", True)
    assert (sent["semaphores"], sent["limits"]) == ({"nas": 2}, {"grace": "1m"})
    assert sent["deadline_ms"] > 0
    master.answers["POST jobs"] = {"id": 7, "state": "running", "new": False, "reason": ""}
    done = call("run", "-d", "--key", "k", "--", "true")
    assert done == (0, 'job 7 has the key "k" already: running\n', "")
    assert "best_effort" not in master.requests[-1].json["run"]
    count = len(master.requests)
    for refused in (["--key", "k"], ["--hold"]):
        done = call("run", *refused, "--", "true")
        assert (done.code, "--hold and --key need --detach" in done.err) == (2, True)
    done = call("run", "-d", "--deadline", "2001-01-01 22:00", "--", "true")
    assert (done.code, "is in the past" in done.err) == (2, True)
    assert len(master.requests) == count


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_run_cancels_its_job_when_it_is_interrupted(
    master: Master, number: signal.Signals, code: int
) -> None:
    stopped = attempt(outcome={"kind": "stopped", "by": "ann"}, output=[[6, 6, 0]])
    over = job(state="cancelled", attempts=[stopped])
    ad_hoc(master, running())
    cancelled = threading.Event()

    def streams(request: Request) -> Reply:
        # Interrupt `run` while its job writes output.
        if request.query["stream"] == "2":
            return output()
        if master.answers["GET jobs/7"] != over:
            process.send_signal(number)
        cancelled.wait(60)
        return output(b"start\n")

    def cancel(request: Request) -> dict[str, Any]:
        assert request.json == {"ids": [7]}
        master.answers["GET jobs/7"] = over
        cancelled.set()
        return {"jobs": []}

    master.answers |= {"GET jobs/7/output": streams, "POST jobs/cancel": cancel}
    process = subprocess.Popen(
        master.command("run", "sleep", "9"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = process.communicate(timeout=60)
    assert cancelled.is_set()
    assert (process.returncode, out, err) == (code, b"start\n", b"")


def test_run_cancels_its_job_if_the_pipe_is_closed(master: Master) -> None:
    ad_hoc(master, running(), out=b"line\n")
    over = job(state="cancelled", attempts=[attempt(outcome={"kind": "stopped", "by": "ann"})])

    def cancel(request: Request) -> dict[str, Any]:
        master.answers["GET jobs/7"] = over
        return {"jobs": []}

    master.answers["POST jobs/cancel"] = cancel
    process = subprocess.Popen(
        master.command("run", "yes"),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait(60) == 141
    assert master.answers["GET jobs/7"] == over
