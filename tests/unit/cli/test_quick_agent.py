"""Command lines of `mythjobs agent` that run without click."""

import subprocess
import sys

import pytest

from mythjobs.cli.quick_agent import AgentOptions, parse


@pytest.mark.parametrize(
    "line, expected",
    [
        ("agent", AgentOptions()),
        ("--state-dir a agent --no-scaling", AgentOptions("a", no_scaling=True)),
        ("agent --jobs 2 --stop-jobs", AgentOptions(jobs=2, stop_jobs=True)),
        ("agent --state-dir a --jobs 0", AgentOptions("a", jobs=0)),
    ],
)
def test_usual_command_lines_are_parsed(line: str, expected: AgentOptions) -> None:
    assert parse(line.split()) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "agent join",
        "agent --help",
        "agent agent",
        "agent --name attic",
        "agent --log-format json",
        "agent --jobs",
        "agent --jobs auto",
        "agent --jobs -1",
        "agent --jobs ²",
        "agent --jobs 10001",
        "--jobs 2 agent",
        "--stop-jobs agent",
        "agent --state-dir",
        "--state-dir --stop-jobs agent",
        "--state-dir a",
    ],
)
def test_all_others_are_left_to_click(line: str) -> None:
    assert parse(line.split()) is None


def test_the_agent_runs_without_click() -> None:
    code = (
        "import sys, mythjobs.cli.main as main; main.load(['agent']); "
        "import mythjobs.agent.service; print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(found.stdout.split())
    assert "mythjobs.agent.service" in loaded
    assert "click" not in loaded
