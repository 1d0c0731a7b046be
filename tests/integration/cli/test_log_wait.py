"""`log` and `wait`: output and end of a job, also if the master is restarted."""

import json
import signal
import subprocess
import time
from typing import Any

import pytest

from mythjobs.protocol.output_frames import MEDIA_TYPE, encode_frame
from tests.integration.cli.conftest import Call
from tests.integration.cli.on_terminal import run_on_terminal
from tests.integration.cli.samples import ad_hoc, attempt, failed, job, output, running, succeeded
from tests.integration.cli.scripted import Answer, Master, Reply, Request, environment, error

BYTES = bytes(range(256)) * 3 + b"no line end"


def test_log_writes_the_exact_bytes(master: Master) -> None:
    master.answers["GET jobs/7"] = succeeded()
    master.answers["GET jobs/7/output"] = output(BYTES[:100], BYTES[100:])
    done = master.run("log", "7")
    assert (done.returncode, done.stdout, done.stderr) == (0, BYTES, b"")
    assert master.requests[-1].query == {"stream": "1", "attempt": "1"}


def test_log_reports_dropped_bytes_on_stderr(call: Call, master: Master) -> None:
    master.answers["GET jobs/7"] = succeeded()
    master.answers["GET jobs/7/output"] = output(b"ab", dropped=2048)
    note = "mythjobs: 2048 bytes (2.0 KiB) from the middle of the output were not kept\n"
    assert call("log", "7", "--stderr", "--attempt", "3") == (0, "ab", note)
    assert master.requests[-1].query == {"stream": "2", "attempt": "3"}


def test_log_shows_the_last_lines_and_follows_from_there(call: Call, master: Master) -> None:
    master.answers["GET jobs/7"] = succeeded()
    last = Reply(200, {"X-Attempt": "1", "X-Dropped": "0", "X-End": "900"}, (b"y\nz\n",))
    master.answers["GET jobs/7/output"] = last
    assert call("log", "7", "-n", "2") == (0, "y\nz\n", "")
    assert master.requests[-1].query == {"stream": "1", "attempt": "1", "lines": "2"}
    looks: list[Answer] = [running(), running(), succeeded()]
    master.answers |= {"GET jobs/7": looks, "GET jobs/7/output": [last, output(b"new\n")]}
    assert call("log", "7", "-f", "--lines", "2") == (0, "y\nz\nnew\n", "")
    assert master.requests[-2].query["offset"] == "900"
    # A job that has not started has no lines yet.
    looks = [job(), running(), succeeded()]
    master.answers |= {"GET jobs/7": looks, "GET jobs/7/output": output(b"new\n")}
    assert call("log", "7", "-f", "-n", "2") == (0, "new\n", "")
    assert call("log", "7", "-n", "-1").code == 2


def test_the_last_lines_are_chosen_here_if_an_older_master_sends_all(
    call: Call, master: Master
) -> None:
    ended = succeeded(attempts=[attempt(1, output=[[112, 8, 8]])])
    older = output(b"a\nb\nc\nd", b"\ne\n", dropped=100)
    master.answers |= {"GET jobs/7": ended, "GET jobs/7/output": older}
    done = call("log", "7", "-n", "2")
    assert (done.code, done.out) == (0, "d\ne\n")
    assert "100 bytes" in done.err
    looks: list[Answer] = [running(), running(), ended]
    parts: list[Answer] = [older, output(b"f\n")]
    master.answers |= {"GET jobs/7": looks, "GET jobs/7/output": parts}
    assert call("log", "7", "-f", "-n", "1").out == "e\nf\n"
    assert master.requests[-2].query["offset"] == "110"


def test_log_of_a_job_that_has_not_started_says_why(call: Call, master: Master) -> None:
    master.answers["GET jobs/7"] = job()
    note = "mythjobs: job 7 has not been started: held by ann\n"
    assert call("log", "7") == (0, "", note)


def test_following_a_job_that_is_never_started_says_why(call: Call, master: Master) -> None:
    # Seen: `log -f` of a job that was cancelled before its start ended without a word.
    ended = job(state="cancelled", reason={"code": "cancelled", "sentence": "cancelled by ann"})
    note = "mythjobs: job 7 has not been started: cancelled by ann\n"
    for looks in ([job(hold=False), ended], [ended]):
        answers: list[Answer] = list(looks)
        master.answers["GET jobs/7"] = answers
        assert call("log", "7", "-f") == (0, "", note)
    answers = [ended, ended]
    master.answers["GET jobs/7"] = answers
    assert call("log", "7", "-f", "-n", "3") == (0, "", note)


def test_log_of_an_attempt_that_could_not_start_says_why(call: Call, master: Master) -> None:
    # Seen: `log` showed nothing for a program that does not exist.
    sentence = "could not start: nosuch: not found in PATH (/bin)"
    end = attempt(1, outcome={"kind": "not_started"}, sentence=sentence, started_ms=None)
    reason = {"code": "not_started", "sentence": sentence}
    master.answers["GET jobs/7"] = failed(attempts=[end], reason=reason)
    master.answers["GET jobs/7/output"] = output(b"")
    note = f"mythjobs: attempt 1 of job 7 {sentence}\n"
    assert call("log", "7") == (0, "", note)
    assert call("log", "7", "-n", "3") == (0, "", note)
    assert call("log", "7", "-f") == (0, "", note)
    assert call("log", "7", "-f", "-n", "3") == (0, "", note)


def test_a_truncated_log_is_an_error(call: Call, master: Master) -> None:
    master.answers["GET jobs/7"] = succeeded()
    master.answers["GET jobs/7/output"] = output(b"ab", whole=False)
    done = call("log", "7")
    assert (done.code, done.out) == (69, "ab")
    assert "lost the connection to the master at" in done.err


def test_a_followed_log_resumes_at_its_offset(call: Call, master: Master) -> None:
    looks: list[Answer] = [job(), running(), running(), succeeded()]
    parts: list[Answer] = [output(b"ab", whole=False), output(b"cde")]
    master.answers |= {"GET jobs/7": looks, "GET jobs/7/output": parts}
    assert call("log", "7", "-f") == (0, "abcde", "")
    queries = [each.query for each in master.requests if each.path.endswith("output")]
    assert [each["offset"] for each in queries] == ["0", "2"]
    assert {each["follow"] for each in queries} == {"true"}


def test_a_followed_log_resumes_after_bytes_that_were_not_kept(call: Call, master: Master) -> None:
    ended = succeeded(attempts=[attempt(1, output=[[96, 2, 6]])])
    looks: list[Answer] = [running(), running(), ended]
    frames = [encode_frame(0, b"ab") + encode_frame(90, b"cd"), encode_frame(92, b"efgh")]
    kind = {"Content-Type": MEDIA_TYPE}
    parts: list[Answer] = [
        output(frames[0][:-1], whole=False, headers=kind),
        output(frames[1], headers=kind),
    ]
    master.answers |= {"GET jobs/7": looks, "GET jobs/7/output": parts}
    # The frame that the lost connection cut off is not sent again from its begin.
    done = call("log", "7", "-f")
    assert (done.code, done.out) == (0, "abcefgh")
    assert "89 bytes" in done.err
    queries = [each.query for each in master.requests if each.path.endswith("output")]
    assert [(each["offset"], each["framed"]) for each in queries] == [("0", "true"), ("91", "true")]


def test_a_followed_log_continues_with_the_next_attempt(call: Call, master: Master) -> None:
    both = succeeded(attempts=[attempt(1), attempt(2, output=[[6, 3, 0]])])
    looks: list[Answer] = [running(), job(attempts=[attempt(1)]), running(2), both]
    parts: list[Answer] = [output(b"one"), output(b"two")]
    master.answers |= {"GET jobs/7": looks, "GET jobs/7/output": parts}
    done = call("log", "7", "-f")
    assert done.out == "onetwo"
    assert "job 7 runs again, attempt 2\n" in done.err
    assert "3 bytes (3 B) from the middle of the output were not kept\n" in done.err


def test_wait_exits_with_1_unless_all_succeeded(call: Call, master: Master) -> None:
    master.answers |= {"GET jobs/7": [running(), succeeded(7)], "GET jobs/8": failed(8)}
    done = call("wait", "7", "8")
    assert done.code == 1
    assert done.out == "job 7 succeeded (took 2.0 s)\njob 8 failed: exit code 3 (took 2.0 s)\n"
    assert done.err == ""
    master.answers["GET jobs/8"] = failed(8, attempts=[attempt(output=[[6, 3, 3]])])
    assert call("wait", "7", "8").err == "mythjobs: `mythjobs log 8` shows what job 8 wrote\n"
    master.answers["GET jobs/8"] = failed(8)
    assert call("wait", "7").code == 0
    assert [each["id"] for each in json.loads(call("wait", "7", "8", "--json").out)] == [7, 8]
    assert call("wait", "9").code == 2


def test_an_interrupted_wait_says_that_the_job_continues(master: Master) -> None:
    master.answers["GET jobs/7"] = running()
    waiting = subprocess.Popen(
        master.command("wait", "7"), env=environment(), stderr=subprocess.PIPE, text=True
    )
    with waiting:
        while not master.requests:
            time.sleep(0.01)
        waiting.send_signal(signal.SIGINT)
        _, told = waiting.communicate(timeout=60)
    assert waiting.returncode == 130
    assert told == "mythjobs: job 7 continues; `mythjobs cancel 7` ends it\n"


def test_wait_survives_a_restart_of_the_master(call: Call, master: Master) -> None:
    cut = Reply(200, {}, (b"{",), whole=False)
    # A truncated first response also shows that there is a master.
    for first in (running(), cut):
        answers: list[Answer] = [first, cut, succeeded()]
        master.answers["GET jobs/7"] = answers
        done = call("wait", "7")
        assert (done.code, done.out) == (0, "job 7 succeeded (took 2.0 s)\n")
        assert done.err.startswith("mythjobs: the master is unreachable; running jobs continue")


def test_message_replaces_the_progress_line(master: Master) -> None:
    master.answers["GET jobs/7"] = [running(), Reply(200, {}, (b"{",), whole=False), succeeded()]
    output = run_on_terminal(master, "wait", "7", with_stderr=True)
    progress, message = output.split("\n")[0].removeprefix("\r\x1b[K").split("\r\x1b[K")
    assert progress.startswith("job 7 ")
    assert message.startswith("mythjobs: the master is unreachable")


def test_wait_survives_an_outage_of_the_store(call: Call, master: Master) -> None:
    away = error(503, "store_away", "the database cannot be reached", 69)
    # An error as first response also shows that there is a master.
    for first in (running(), away):
        answers: list[Answer] = [first, away, succeeded()]
        master.answers["GET jobs/7"] = answers
        done = call("wait", "7")
        assert (done.code, done.out) == (0, "job 7 succeeded (took 2.0 s)\n")
        assert done.err.startswith("mythjobs: the master is unreachable; running jobs continue")


HELD = {"hold": True, "reason": {"code": "lost_often", "sentence": "held because it was lost"}}


def test_wait_ends_with_67_if_only_a_person_can_move_a_job_on(call: Call, master: Master) -> None:
    # Seen: a job that was lost three times in a row was held, and `wait` waited for ever.
    master.answers |= {"GET jobs/7": [running(), job(7, **HELD)], "GET jobs/8": succeeded(8)}
    done = call("wait", "7", "8")
    assert (done.code, done.out) == (67, "job 8 succeeded (took 2.0 s)\n")
    assert done.err == (
        "mythjobs: job 7 is held: held because it was lost. `mythjobs release 7` runs it, "
        "`mythjobs cancel 7` ends it\n"
    )
    assert master.requests[1].query == {"wait": "60", "held": "true"}
    found = json.loads(call("wait", "7", "8", "--json").out)
    assert [each["state"] for each in found] == ["succeeded", "queued"]


def test_wait_continues_if_a_held_job_was_released_while_others_ran(
    call: Call, master: Master
) -> None:
    looks: list[Answer] = [job(7, **HELD), running(), running(), succeeded(7)]
    master.answers |= {"GET jobs/7": looks, "GET jobs/8": failed(8)}
    done = call("wait", "7", "8")
    assert done.code == 1
    assert done.out.endswith("job 7 succeeded (took 2.0 s)\n")


def test_wait_gives_the_remedies_for_a_job_that_a_user_holds(call: Call, master: Master) -> None:
    # Seen: "job 7 is held: held; release it with `mythjobs release`. `mythjobs release 7` runs it".
    sentence = "held; release it with `mythjobs release`"
    master.answers["GET jobs/7"] = job(hold=True, reason={"code": "held", "sentence": sentence})
    remedies = "`mythjobs release 7` runs it, `mythjobs cancel 7` ends it"
    assert call("wait", "7") == (67, "", f"mythjobs: job 7 is held. {remedies}\n")


def test_wait_names_the_held_job_that_a_job_depends_on(call: Call, master: Master) -> None:
    waits = {"code": "dependency", "sentence": "waits for another job to end"}
    for number, on in ((9, 8), (8, 7)):
        after = [{"job": 3, "when": "ok", "met": True}, {"job": on, "when": "ok", "met": False}]
        master.answers[f"GET jobs/{number}"] = job(number, hold=False, reason=waits, after=after)
    master.answers["GET jobs/7"] = job(7, **HELD)
    done = call("wait", "9")
    assert done.code == 67
    assert "job 9 waits for job 7, which is held: held because it was lost." in done.err
    # Seen: the master answered after a minute, as job 9 itself neither ended nor was held.
    assert all("wait" not in each.query for each in master.requests)


def test_waiting_for_a_batch_ends_if_all_open_jobs_are_held(call: Call, master: Master) -> None:
    counts = {"succeeded": 1, "failed": 0, "cancelled": 0, "open": 2}
    batch = {"batch": 3, "command": "a", "jobs": 3, "first": 1, "last": 3, "over": False}
    master.answers["GET batches/3"] = [
        batch | {"counts": counts | {"succeeded": 0, "open": 3}},
        batch | {"counts": counts},
    ]
    held: list[Answer] = [{"counts": {"queued": number}} for number in (1, 2)]
    master.answers["GET jobs/count"] = held
    done = call("wait", "--batch", "3")
    assert done.code == 67
    assert done.err == (
        "mythjobs: 2 jobs of batch 3 are held; `mythjobs release --batch 3` runs them, "
        "`cancel` ends them\n"
    )
    assert "2 open" in done.out


def test_submit_wait_and_run_tell_of_a_held_job(call: Call, master: Master) -> None:
    ad_hoc(master, job(7, **HELD))
    done = call("submit", "thumbnail", "--wait")
    assert done.code == 67
    assert "job 7 is held: held because it was lost" in done.err
    done = call("run", "true")
    assert done.code == 67
    assert done.err.count("job 7 is held: held because it was lost") == 1
    assert master.requests[-1].path.endswith("jobs/7")


def test_a_followed_log_tells_once_that_the_job_is_held(call: Call, master: Master) -> None:
    looks: list[Answer] = [job(7, **HELD), job(7, **HELD), running(), succeeded()]
    master.answers |= {"GET jobs/7": looks, "GET jobs/7/output": output(b"one")}
    done = call("log", "7", "-f")
    assert (done.code, done.out) == (0, "one")
    assert done.err.count("job 7 is held") == 1


@pytest.mark.parametrize("arguments", [["log", "7", "-f"], ["run", "--after", "5", "true"]])
def test_following_a_job_that_waits_for_a_held_one_tells_so_once(
    call: Call, master: Master, arguments: list[str]
) -> None:
    # Seen: both waited without a word.
    waits: dict[str, Any] = {
        "hold": False, "reason": {"code": "dependency", "sentence": "waits for job 5"},
        "after": [{"job": 5, "when": "ok", "met": False}],
    }  # fmt: skip
    ad_hoc(master, succeeded())

    def look(_: Request) -> dict[str, Any]:
        # The job waits for three more looks after the search.
        paths = [each.path for each in master.requests]
        has_waited = "jobs/5" in paths and paths[paths.index("jobs/5") :].count("jobs/7") > 3
        return succeeded() if has_waited else job(7, **waits)

    master.answers |= {"GET jobs/7": look, "GET jobs/5": job(5, **HELD)}
    done = call(*arguments)
    assert done.code == 0
    assert done.err == (
        "mythjobs: job 7 waits for job 5, which is held: held because it was lost. "
        "`mythjobs release 5` runs it, `mythjobs cancel 5` ends it\n"
    )
    # Each search takes a request for each job waited for.
    assert [each.path for each in master.requests].count("jobs/5") == 1
