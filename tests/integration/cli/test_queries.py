import json
import re
from typing import Any

import pytest

from mythjobs.clock import master_now
from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import MACHINE, STATUS, attempt, failed, job, succeeded
from tests.integration.cli.scripted import Master

WHY: dict[str, Any] = {
    "id": 7,
    "state": "queued",
    "code": "no_machine",
    "sentence": "no machine allows thumbnail",
    "machines": [
        {
            "machine": "attic",
            "rules": [
                {"rule": "rights", "ok": False, "detail": "thumbnail is not allowed here"},
                {"rule": "room", "ok": True, "detail": ""},
            ],
        }
    ],
    "expected_start_ms": None,
    "expected_end_ms": None,
    "end_reported": False,
}


@pytest.fixture(autouse=True)
def answers(master: Master) -> None:
    master.answers |= {
        "GET status": STATUS,
        "GET jobs/7": succeeded(),
        "GET jobs/7/why": WHY,
        "GET machines": {"machines": [MACHINE]},
        "GET jobs": {"jobs": [job(7), job(6)], "next": None},
    }


@pytest.mark.parametrize(
    "arguments, value",
    [
        (["status"], STATUS),
        (["show", "7"], succeeded()),
        (["why", "7"], WHY),
        (["machines"], [MACHINE]),
        (["jobs"], [job(7), job(6)]),
    ],
)
def test_json_is_the_response_of_the_api(call: Call, arguments: list[str], value: Any) -> None:
    done = call(*arguments, "--json")
    assert (done.code, json.loads(done.out), done.err) == (0, value, "")


def test_status_shows_jobs_commands_and_machines(call: Call) -> None:
    done = call("status")
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].startswith("mythjobs 0.1.0, up since 20")
    assert lines[1] == "store sqlite"
    assert lines[2].startswith("jobs  3 queued, 0 leased, 1 running, 5 succeeded")
    assert "\nthumbnail       3        1" in done.out
    assert "\nattic    up           1      4\n" in done.out


def test_status_shows_the_warnings_of_the_master(call: Call, master: Master) -> None:
    master.answers["GET status"] = STATUS | {"warnings": ["the store is new"]}
    assert call("status").err == "mythjobs: the store is new\n"


def test_why_shows_rule_by_rule(call: Call) -> None:
    assert call("why", "7").out == (
        "no_machine: no machine allows thumbnail\n"
        "machine  rules\n"
        "attic    rights ✘ thumbnail is not allowed here  room ✔\n"
    )


def test_why_names_the_log_of_a_job_whose_program_failed(call: Call, master: Master) -> None:
    ended = WHY | {"state": "failed", "machines": [], "sentence": "exit code 1"}
    master.answers["GET jobs/7/why"] = ended | {"code": "exited"}
    done = call("why", "7")
    assert done.out == "exited: exit code 1\n"
    assert done.err == "mythjobs: `mythjobs log 7` shows what job 7 wrote\n"
    assert call("why", "7", "--json").err == ""
    master.answers["GET jobs/7/why"] = ended | {"code": "not_started"}
    assert call("why", "7").err == ""


def test_marks_are_words_where_the_locale_cannot_encode_them(master: Master) -> None:
    # Seen: "rights ?  room ?", the same for a rule that is met and one that is not.
    master.answers["GET jobs/7/why"] = WHY
    locale = {"PYTHONIOENCODING": "iso8859-15"}
    why = master.run_raw([each.encode() for each in master.command("why", "7")], **locale)
    assert b"attic    rights no thumbnail is not allowed here  room yes\n" in why.stdout
    master.answers["GET jobs/7"] = succeeded(comment="für Ann, …日")
    show = master.run_raw([each.encode() for each in master.command("show", "7")], **locale)
    assert "für Ann, ...?\n".encode("iso8859-15") in show.stdout


def test_show_lists_attempts_dependencies_and_events(call: Call, master: Master) -> None:
    master.answers["GET jobs/7"] = succeeded(
        attempts=[attempt(1, sentence="exit code 1"), attempt(2)],
        after=[{"job": 5, "when": "ok", "met": True}, {"job": 6, "when": "failure", "met": False}],
        events=[{"at_ms": 1_800_000_000_000, "kind": "submitted", "detail": None}],
        comment="for ann",
    )
    out = call("show", "7").out
    assert "after      5 succeeded ✔, 6 failed\n" in out
    assert "exit code 1  took 2.0 s  CPU 1.5 s  peak 3.0 MiB\n" in out
    assert "comment    for ann\n" in out
    assert out.endswith("  submitted\n")


def test_show_lists_machine_labels_semaphores_and_limits(call: Call, master: Master) -> None:
    live = attempt(2, state="running", over_ms=None, sentence="", usage=None)
    master.answers["GET jobs/7"] = job(
        7,
        state="running",
        reason={"code": "frozen", "sentence": "frozen on attic by user, window"},
        attempts=[attempt(1, sentence="exit code 1"), live],
        machine="attic",
        labels=["big", "gpu"],
        semaphores={"nas": 2},
        limits={"wall": "1h"},
        failures=1,
        frozen=["user", "window"],
        stop_requested="ann\x1b",
    )
    out = call("show", "7").out
    assert "state       running, cancellation requested by ann, frozen by user, window\n" in out
    assert "labels      big, gpu\nsemaphores  nas=2\nlimits      wall=1h\nfailures    1\n" in out
    assert "running  if its machine is silent: rerun after 30 min\n" in out


def test_a_batch_is_shown_with_its_progress(call: Call, master: Master) -> None:
    counts = {"succeeded": 118, "failed": 2, "cancelled": 0, "open": 180}
    batch = {
        "batch": 7,
        "command": "thumbnail",
        "jobs": 300,
        "counts": counts,
        "first": 11,
        "last": 310,
        "over": False,
    }
    master.answers["GET batches/7"] = batch
    expected = (
        "batch 7 of thumbnail, jobs 11 to 310: 40 % ended, 118 succeeded, 2 failed, 180 open\n"
    )
    assert call("show", "--batch", "7") == (0, expected, "")
    assert json.loads(call("show", "--batch", "7", "--json").out) == batch
    assert call("show").code == call("show", "7", "--batch", "7").code == 2

    counts |= {"succeeded": 298, "open": 0}
    master.answers["GET batches/7"] = {**batch, "over": True}
    done = call("wait", "--batch", "7")
    assert (done.code, done.out.endswith(": 100 % ended, 298 succeeded, 2 failed\n")) == (1, True)
    assert call("wait").code == 2


def test_why_explains_a_machine(call: Call, master: Master) -> None:
    keeps = {"command": "thumbnail", "waiting": 3, "code": "window_closed", "detail": "opens 22:00"}
    found = {
        "machine": "attic",
        "code": "window_closed",
        "sentence": "3 of thumbnail wait: opens 22:00",
        "commands": [keeps],
    }
    master.answers["GET machines/attic/why"] = found
    assert call("why", "--machine", "attic").out == (
        "window_closed: 3 of thumbnail wait: opens 22:00\n"
        "command    waiting  code           reason\n"
        "thumbnail        3  window_closed  opens 22:00\n"
    )
    assert json.loads(call("why", "--machine", "attic", "--json").out) == found
    assert call("why").code == call("why", "7", "--machine", "attic").code == 2


def test_why_shows_the_expected_start_and_end(call: Call, master: Master) -> None:
    times = {"expected_start_ms": 4_000_000_000_000, "expected_end_ms": 4_000_004_080_000}
    master.answers["GET jobs/7/why"] = {**WHY, **times}
    line = call("why", "7").out.splitlines()[-1]
    assert line.startswith("expected start 2096-10-02 ")
    assert line.endswith(" (usually 1 h 8 min)")


def test_why_shows_the_end_that_the_program_reports(call: Call, master: Master) -> None:
    end_ms = master_now().wall_ms + 310_000
    times = {"expected_start_ms": None, "expected_end_ms": end_ms, "end_reported": True}
    master.answers["GET jobs/7/why"] = {**WHY, "machines": [], **times}
    line = call("why", "7").out.splitlines()[-1]
    assert line.startswith("expected end about ")
    assert line.endswith(" s, says the program)")
    assert " (in 5 min " in line


def test_jobs_and_show_tell_the_time_left(call: Call, master: Master) -> None:
    running = job(7, state="running", progress=42.0, eta_ms=master_now().wall_ms + 310_000)
    unknown = job(6, state="running", progress=None, eta_ms=master_now().wall_ms + 9000)
    master.answers["GET jobs"] = {"jobs": [running, unknown], "next": None}
    master.answers["GET jobs/7"] = running
    _, first, second = call("jobs").out.splitlines()
    assert "running  42 % 5 min  " in first
    assert "running         9 s  " in second
    shown = call("show", "7").out
    assert "state         running, 42 %\n" in shown
    assert re.search(r"\nexpected end  [^(]*\d\d:\d\d \(in 5 min \d+ s\)\n", shown)


def test_a_job_that_succeeded_is_done_whatever_it_reported_last(call: Call, master: Master) -> None:
    # Seen: "succeeded  75 %" of comskip, whose last report comes before its end.
    ended = [succeeded(7, progress=75.0), failed(6, progress=75.0), succeeded(5)]
    master.answers["GET jobs"] = {"jobs": ended, "next": None}
    _, *lines = call("jobs").out.splitlines()
    shown = [re.findall(r"\d+ %", each) for each in lines]
    assert shown == [["100 %"], ["75 %"], []]


def test_status_shows_disabled_and_put_off_commands(call: Call, master: Master) -> None:
    off = {"name": "a", "queued": 1, "running": 0, "oldest_ms": None, "put_off_ms": None}
    late = off | {"name": "b", "put_off_ms": 4_000_000_000_000, "enabled": True}
    master.answers["GET status"] = {**STATUS, "commands": [off | {"enabled": False}, late]}
    out = call("status").out
    assert "\na             1        0                disabled\n" in out
    assert "deferred until 2096-10-02 " in out


def test_status_says_what_is_set_aside_after_an_internal_error(call: Call, master: Master) -> None:
    aside = {"error": "KeyError: 'x'", "since_ms": 0, "command": ""}
    master.answers["GET status"] = {
        **STATUS,
        "set_aside": [
            aside | {"kind": "class", "id": 4, "command": "thumbnail"},
            aside | {"kind": "deadline", "id": 12},
        ],
    }
    done = call("status")
    assert done.code == 0
    assert "some jobs of thumbnail do not start after an internal error (KeyError: 'x')" in done.err
    assert "`mythjobs command enable thumbnail`" in done.err
    assert "the deadline of job 12 is left out" in done.err


def test_machines_shows_the_allowed_commands(call: Call) -> None:
    assert "all but backup" in call("machines").out


def test_machines_shows_the_free_slots_that_each_machine_reports(
    call: Call, master: Master
) -> None:
    away = {**MACHINE, "name": "cellar", "state": "away", "free": None}
    master.answers["GET machines"] = {"machines": [MACHINE, away]}
    header, attic, cellar = call("machines").out.splitlines()
    assert header.split()[:6] == ["machine", "state", "running", "limit", "free", "cores"]
    assert attic.split()[:6] == ["attic", "up", "1", "4", "3", "8"]
    assert cellar.split()[:5] == ["cellar", "away", "1", "4", "8"]


def test_jobs_that_were_lost_too_often_are_told_by_status_and_show(
    call: Call, master: Master
) -> None:
    master.answers["GET status"] = {**STATUS, "lost": [7, 9]}
    done = call("status")
    assert done.err.startswith("mythjobs: 2 jobs are held because of losses in a row")
    assert "7, 9. `mythjobs show JOB` tells more, `mythjobs release --lost`" in done.err
    reason = {"code": "lost_often", "sentence": "held because it was lost 3 times in a row"}
    details = {**succeeded(), "state": "queued", "hold": True, "losses": 3, "reason": reason}
    master.answers["GET jobs/7"] = details
    done = call("show", "7")
    assert "held because it was lost 3 times in a row" in done.out
    assert "job 7 does not run: it was lost 3 times in a row" in done.err
    assert "`mythjobs release 7`" in done.err


def test_status_shows_what_is_kept_of_ended_jobs(call: Call, master: Master) -> None:
    kept = {
        "age_s": 90 * 86_400.0, "jobs": None, "output_limit_bytes": 20 * 2**30, "ended_jobs": 7,
        "output_bytes": 3 * 2**20, "deleted_jobs": 0, "deleted_output_bytes": 0,
        "last_pass_ms": None,
    }  # fmt: skip
    master.answers["GET status"] = {**STATUS, "retention": kept}
    line = "\nkept  7 ended jobs for 90 d, 3.0 MiB of output (at most 20.0 GiB)\n"
    assert line in call("status").out
    kept |= {"age_s": None, "jobs": 50, "output_limit_bytes": None}
    line = "\nkept  7 ended jobs (at most 50 of a command) forever, 3.0 MiB of output\n"
    assert line in call("status").out
