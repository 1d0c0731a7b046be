"""Output on a terminal of 80 columns: width, header lines and colours."""

import re
from pathlib import Path
from typing import Any

import pytest

from mythjobs.cli.terminal import display_width
from mythjobs.clock import master_now
from tests.integration.cli.on_terminal import run_on_terminal
from tests.integration.cli.samples import MACHINE, STATUS, failed, job
from tests.integration.cli.scripted import Master
from tests.integration.cli.test_maintenance import WHAT_IF
from tests.integration.cli.test_queries import WHY

COLUMNS = 80
STYLE = re.compile("\x1b\\[[0-9;]*m")
LONG: dict[str, Any] = {
    "subject": "/srv/recordings/2026/11/a news programme with a long title.ts",
    "reason": {"code": "no_machine", "sentence": "no machine can run it: attic has no label gpu"},
}


def shown(master: Master, *arguments: str, **variables: str) -> str:
    """Return the output of a command line whose stdout is a terminal."""
    return run_on_terminal(master, *arguments, columns=COLUMNS, variables=variables)


@pytest.fixture(autouse=True)
def answers(master: Master) -> None:
    running = job(
        1234567, state="running", progress=40.0, command="transcode-h264",
        eta_ms=master_now().wall_ms + 310_000, **LONG,
    )  # fmt: skip
    skewed = {**MACHINE, "clock_ms": 7_200_000, "allow": {"except": ["backup", "transcode-h264"]}}
    late = {
        "name": "transcode-h264", "queued": 31, "running": 0, "oldest_ms": 0, "enabled": True,
        "put_off_ms": 4_000_000_000_000,
    }  # fmt: skip
    definition = {
        "name": "transcode-h264", "revision": 12, "enabled": False, "parameters": ["a"] * 20,
        "summary": "Transcode a recording to H.264 with two passes and a small target size",
    }  # fmt: skip
    master.answers |= {
        "GET jobs": {"jobs": [running, job(**LONG), failed(6, **LONG)], "next": None},
        "GET jobs/7": failed(),
        "GET jobs/7/why": {**WHY, "machines": WHY["machines"] * 3},
        "GET machines": {"machines": [skewed]},
        "GET commands": {"commands": [definition]},
        "GET status": {**STATUS, "commands": [*STATUS["commands"], late]},
        "POST what-if": WHAT_IF,
        "GET semaphores": {"semaphores": [{"name": "nas", "size": 3, "used": 1}]},
    }


@pytest.mark.parametrize(
    "arguments, header",
    [
        (["jobs"], "job  state"),
        (["machines"], "machine  state"),
        (["command", "list"], "command  "),
        (["semaphore", "list"], "semaphore  used"),
        (["status"], "command  "),
        (["why", "7"], "machine  rules"),
        (["what-if", "night.toml"], "command    jobs  settings"),
    ],
)
def test_lists_fit_the_terminal_and_have_a_header_line(
    master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: Any, header: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "night.toml").write_text("[machines.attic]\njobs = 1\n")
    output = shown(master, *arguments)
    lines = STYLE.sub("", output).splitlines()
    assert [line for line in lines if display_width(line) > COLUMNS] == []
    assert any(" ".join(line.split()).startswith(" ".join(header.split())) for line in lines)
    # Header lines are bold.
    assert "\x1b[1m" in output


def test_a_list_shows_the_beginning_of_a_long_program(master: Master) -> None:
    script = job(command="run", subject=None, arguments={"argv": ["sh", "-c", "x" * 100_000]})
    master.answers["GET jobs"] = {"jobs": [script], "next": None}
    output = STYLE.sub("", shown(master, "jobs"))
    assert output.count("\n") < 20
    assert "…" in output
    # In a pipe each job has one line with the whole text.
    assert "x" * 100_000 in master.run("jobs").stdout.decode()


def test_a_list_that_ends_early_says_so(master: Master) -> None:
    master.answers["GET jobs"] = {"jobs": [job(each) for each in (9, 8, 7)], "next": 7}
    output = run_on_terminal(master, "jobs", "--limit", "2", with_stderr=True)
    assert master.requests[-1].query["limit"] == "3"
    assert "these are the newest 2 jobs; --limit shows more" in output
    assert "\n  7" not in output
    one = run_on_terminal(master, "jobs", "--limit", "1", with_stderr=True)
    assert "this is the newest job; --limit shows more" in one
    master.answers["GET jobs"] = {"jobs": [job(each) for each in (9, 8, 7)], "next": None}
    assert "newest" not in run_on_terminal(master, "jobs", "--limit", "3", with_stderr=True)


def test_state_progress_and_reason_have_the_colour_of_the_state(master: Master) -> None:
    lines = shown(master, "jobs").splitlines()
    assert "\x1b[36mrunning\x1b[0m" in lines[1]
    assert "\x1b[36m40 % 5 min\x1b[0m" in lines[1]
    details = shown(master, "show", "7")
    assert "state      \x1b[31mfailed\x1b[0m\n" in details
    assert "reason     \x1b[31mexit code 3\x1b[0m\n" in details


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
@pytest.mark.parametrize("arguments", [["jobs"], ["status"], ["show", "7"]])
def test_no_color_and_dumb_terminals_get_no_colours(
    master: Master, variables: dict[str, str], arguments: list[str]
) -> None:
    assert "\x1b" not in shown(master, *arguments, **variables)
