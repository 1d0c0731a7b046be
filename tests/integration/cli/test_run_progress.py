"""Progress of `mythjobs run`: the line on a terminal, and the options."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from tests.integration.cli.conftest import Call
from tests.integration.cli.on_terminal import run_on_terminal
from tests.integration.cli.samples import attempt, job, succeeded
from tests.integration.cli.scripted import Master, Reply, Request

RUNNING: dict[str, Any] = job(
    7,
    state="running",
    command="run",
    reason={"code": "running", "sentence": "running on attic"},
    attempts=[attempt(state="running", outcome=None)],
)


def script(master: Master, running: dict[str, Any], polls: int) -> None:
    """Let the job write a line and end once it was polled `polls` times.

    With the second poll the client has shown the answer to the first.
    """
    polled, written = threading.Semaphore(0), threading.Event()

    def show(request: Request) -> dict[str, Any]:
        if "wait" in request.query:
            polled.release()
        return succeeded() if written.is_set() else running

    def output(request: Request) -> Reply:
        for _ in range(polls):
            assert polled.acquire(timeout=60)
        written.set()
        return Reply(chunks=(b"result\n",) if request.query["stream"] == "1" else ())

    master.answers |= {
        "POST jobs": {"id": 7, "state": "leased", "new": True, "reason": ""},
        "GET jobs/7": show,
        "GET jobs/7/output": output,
    }


@pytest.mark.slow
def test_a_line_shows_the_progress_of_a_silent_program(master: Master) -> None:
    script(master, {**RUNNING, "estimated_progress": 42.0, "comment": "pass 2"}, polls=2)
    output = run_on_terminal(master, "run", "sleep", "9", with_stderr=True)
    line = "\r\x1b[Kjob 7 run: running [####......] ~42 %, pass 2 (running on attic)"
    assert output.startswith(line)
    # The output replaces the line, and nothing of it is left.
    assert output.endswith("\r\x1b[Kresult\n")


@pytest.mark.slow
def test_a_terminal_without_escape_sequences_shows_no_line(master: Master) -> None:
    script(master, {**RUNNING, "estimated_progress": 42.0}, polls=0)
    output = run_on_terminal(
        master, "run", "sleep", "9", with_stderr=True, variables={"TERM": "dumb"}
    )
    assert output == "result\n"


@pytest.mark.slow
def test_there_is_no_line_if_nothing_is_known(master: Master) -> None:
    script(master, RUNNING, polls=2)
    assert run_on_terminal(master, "run", "sleep", "9", with_stderr=True) == "result\n"


def test_there_is_no_line_without_terminal(call: Call, master: Master) -> None:
    script(master, {**RUNNING, "progress": 42.0}, polls=0)
    assert call("run", "sleep", "9") == (0, "result\n", "")


@pytest.mark.parametrize(
    "options, progress",
    [
        ([], None),
        (["--progress", "rsync"], "rsync"),
        (["--progress", "status"], "status"),
        (["--progress-regex", r"(\d+) of"], r"regex:(\d+) of"),
    ],
)
def test_the_options_are_sent(
    call: Call, master: Master, options: list[str], progress: str | None
) -> None:
    script(master, RUNNING, polls=0)
    assert call("run", *options, "ls").code == 0
    assert master.requests[0].json["run"].get("progress") == progress


@pytest.mark.parametrize(
    "options",
    [
        ["--progress", "x"],
        ["--progress-regex", "x"],
        ["--progress", "rsync", "--progress-regex", "(x)"],
    ],
)
def test_invalid_options_are_refused(call: Call, options: list[str]) -> None:
    assert call("run", *options, "ls").code == 2
