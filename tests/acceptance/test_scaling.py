"""Automatic scaling from end to end: `mythjobs up` without options, with real jobs."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.parent_death import bind_to_parent

MYTHJOBS = Path(sys.executable).with_name("mythjobs")
TIMEOUT_S = 60.0
# Waits without using anything until it gets a line from the gate, a FIFO. Opened for reading alone,
# all jobs that wait would see its end when the writer of a line for one of them closes it.
WAITING = """
name = "waiting"
shell = 'read line <>gate'

[limits]
wall = "10m"
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MYTHJOBS.exists(), reason="mythjobs is not installed here"),
]


class Program:
    """`mythjobs up` with a state directory, and requests to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state"
        with (root / "log").open("wb") as log:
            self.process = subprocess.Popen(
                bind_to_parent(
                    MYTHJOBS, "--state-dir", self.state, "up", "--port", "0", "--stop-jobs"
                ),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
            )  # fmt: skip
        stdout = self.process.stdout
        assert stdout is not None
        ready, _, _ = select.select([stdout], [], [], TIMEOUT_S)
        assert ready, (root / "log").read_text()
        assert stdout.readline().startswith(b"mythjobs is up")

    def __call__(self, *arguments: str | Path) -> Any:
        done = subprocess.run(
            [MYTHJOBS, "--state-dir", self.state, *arguments, "--json"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True, cwd=self.root,
            timeout=TIMEOUT_S,
        )  # fmt: skip
        return json.loads(done.stdout)

    def wait(self, condition: Callable[[Any], bool], *arguments: str) -> Any:
        """Repeat a request until its answer meets the condition, and return the answer."""
        deadline = time.monotonic() + TIMEOUT_S
        while not condition(found := self(*arguments)):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(TIMEOUT_S) == 0, (self.root / "log").read_text()
        assert self.process.stdout
        self.process.stdout.close()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    found = Program(tmp_path)
    try:
        yield found
    finally:
        if found.process.poll() is None:
            found.end()


def test_jobs_of_a_new_command_run_one_by_one_until_they_are_measured(
    program: Program, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "gate")
    (tmp_path / "waiting.toml").write_text(WAITING.replace(">gate", f">{tmp_path}/gate"))
    subprocess.run(
        [MYTHJOBS, "--state-dir", program.state, "command", "add", "waiting.toml"],
        cwd=tmp_path, check=True, capture_output=True, timeout=TIMEOUT_S,
    )  # fmt: skip
    [machine] = program.wait(lambda found: found and found[0]["state"] == "up", "machines")
    name = machine["name"]
    jobs = [program("submit", "waiting")["id"] for _ in range(6)]
    # The first runs alone, and the page of the machine says why.
    first = program.wait(lambda found: found["running"] == 1, "machine", "show", name)
    assert first["scaling"]["sentence"] == (
        "runs 1 job and not 2: the use of waiting is being measured, as it is new here"
    )
    # Jobs that use nothing do not keep each other out, however few cores the machine has.
    shown = program.wait(lambda found: found["running"] == len(jobs), "machine", "show", name)
    assert shown["load"]["memory_bytes"] > 0
    # Its jobs have a low priority.
    [pid, *_] = [int(each) for each in find_pids(f"read line <>{tmp_path}/gate")]
    assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    for _ in jobs:
        (tmp_path / "gate").write_text("\n")
    for job in jobs:
        program.wait(lambda found: found["state"] == "succeeded", "show", str(job))
    program.end()
    kept = json.loads((program.state / "agent/scaling.json").read_bytes())
    runs, cpu, *_ = kept["commands"]["waiting"]
    assert runs == len(jobs)
    assert cpu < 0.1


def find_pids(text: str) -> list[str]:
    """Return the processes whose command line contains the text."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_bytes().replace(b"\0", b" ").decode(errors="replace"):
                found.append(path.parent.name)
        except OSError:
            continue
    return found
