"""The installed command line against a real `up`: requests of owners, authors and users."""

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
from typing import Any, NamedTuple

import pytest

from tests.support.parent_death import bind_to_parent

MYTHJOBS = Path(sys.executable).with_name("mythjobs")
TIMEOUT_S = 60.0
# Runs until a line is written to the gate, a FIFO.
GATED = """
name = "gated"
shell = 'read line <"$MYTHJOBS_P_GATE"'

[[parameters]]
name = "gate"
type = "path"

[limits]
wall = "10m"
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MYTHJOBS.exists(), reason="mythjobs is not installed here"),
]


class CommandResult(NamedTuple):
    exit_code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Queue:
    """Runs the command line with one state directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state"

    def __call__(self, *arguments: str | Path | int, code: int = 0) -> CommandResult:
        done = subprocess.run(
            [MYTHJOBS, "--state-dir", self.state, *map(str, arguments)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=self.root,
            timeout=TIMEOUT_S,
        )  # fmt: skip
        assert done.returncode == code, (arguments, done)
        return CommandResult(done.returncode, done.stdout, done.stderr)

    @property
    def machine(self) -> str:
        [machine] = self("machines", "--json").json
        return str(machine["name"])

    def submit(self, *arguments: str | Path) -> int:
        return int(self("submit", *arguments, "--json").json["id"])

    def job(self, job: int) -> Any:
        return self("show", job, "--json").json

    def wait_job(self, job: int, condition: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition(found := self.job(job)):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found

    def submit_gated(self, *arguments: str) -> tuple[int, Path]:
        gate = self.root / f"gate{len(list(self.root.iterdir()))}"
        os.mkfifo(gate)
        return self.submit("gated", "--param", f"gate={gate.name}", *arguments), gate


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    (tmp_path / "gated.toml").write_text(GATED)
    with (tmp_path / "log").open("wb") as log:
        up = subprocess.Popen(
            bind_to_parent(
                MYTHJOBS, "--state-dir", queue.state, "up", "--port", "0", "--jobs", "2",
                "--no-scaling", "--stop-jobs",
            ),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    assert up.stdout is not None
    with up.stdout as stdout:
        try:
            ready, _, _ = select.select([stdout], [], [], TIMEOUT_S)
            assert ready, (tmp_path / "log").read_text()
            assert stdout.readline().startswith(b"mythjobs is up")
            queue("run", "true")  # the machine has joined
            yield queue
        finally:
            up.send_signal(signal.SIGTERM)
            assert up.wait(TIMEOUT_S) == 0
    # Invariants of the store must hold after every test.
    assert queue("check").out == "all invariants of the store hold\n"


def test_owners_set_what_their_machines_run_and_when(queue: Queue) -> None:
    machine = queue.machine
    needs_gpu = GATED.replace('name = "gated"', 'name = "gated"\nlabels = ["gpu"]', 1)
    (queue.root / "gated.toml").write_text(needs_gpu)
    assert "its jobs will wait: no machine can run it" in queue("command", "add", "gated.toml").err
    job, gate = queue.submit_gated()
    assert queue.job(job)["reason"]["code"] == "no_label"
    assert "has no label gpu" in queue("why", job).out

    settings = queue("machine", "show", machine).out + 'labels = ["gpu"]\n'
    (queue.root / "machine.toml").write_text(settings)
    queue("machine", "set", machine, "machine.toml")
    queue.wait_job(job, lambda found: found["state"] == "running")
    gate.write_text("go\n")
    queue("wait", job)

    queue("machine", "close", machine, "gated", "--for", "1h")
    job, gate = queue.submit_gated()
    assert queue.job(job)["reason"]["code"] == "window_closed"
    assert queue("why", "--machine", machine, "--json").json["code"] == "window_closed"
    assert queue("machine", "show", machine).out.count("# closed for gated until") == 1
    queue("machine", "hours", machine, "gated")
    gate.write_text("go\n")
    queue("wait", job)

    refused = queue("machine", "dead", machine, "--reason", "a test", "--yes", code=2)
    assert "is connected, so it is not dead" in refused.err


def test_users_set_the_machine_and_the_limits_of_a_job(queue: Queue) -> None:
    queue("command", "add", "gated.toml")
    queue("semaphore", "set", "nas", "0")
    job, gate = queue.submit_gated("--semaphore", "nas", "--limit", "wall=5m", "--deadline", "+1h")
    assert queue.job(job)["reason"]["code"] == "semaphore"
    queue("semaphore", "set", "nas", "1")
    found = queue.wait_job(job, lambda found: found["state"] == "running")
    assert (found["semaphores"], found["limits"]) == ({"nas": 1}, {"wall": "5m"})
    [nas] = queue("semaphore", "list", "--json").json
    assert (nas["name"], nas["size"], nas["used"]) == ("nas", 1, 1)
    gate.write_text("go\n")
    queue("wait", job)

    refused = queue("run", "--machine", "nowhere", "--", "true", code=2)
    assert 'there is no machine "nowhere"; see' in refused.err
    away = ("--machine", "nowhere", "--await-machine")
    elsewhere = queue.submit("gated", "--param", "gate=none", *away)
    assert queue.job(elsewhere)["reason"]["code"] == "no_such_machine"
    breach = queue("run", "--output", "1kB", "--nice", "5", "--", "yes", code=124)
    assert "output limit" in breach.err


def test_a_running_job_is_paused_and_resumed(queue: Queue) -> None:
    queue("command", "add", "gated.toml")
    job, gate = queue.submit_gated()
    queue.wait_job(job, lambda found: found["state"] == "running")
    assert queue("pause", job).out == f"job {job} pausing\n"
    found = queue.wait_job(job, lambda found: found["frozen"] == ["user"])
    assert found["reason"]["code"] == "frozen"
    assert queue("resume", "--command", "gated", "--yes").out == "1 job resuming\n"
    # Only now: the job may have been frozen before it opened the gate.
    gate.write_text("go\n")
    queue("wait", job)


def test_a_script_reports_its_progress_and_earlier_runs_estimate_it(queue: Queue) -> None:
    report = f'{MYTHJOBS} report --progress 42.5 --comment "pass 2"'
    reporting = GATED.replace("shell = '", f'progress = "status"\nshell = \'{report}; ', 1)
    (queue.root / "gated.toml").write_text(reporting)
    queue("command", "add", "gated.toml")
    job, gate = queue.submit_gated()
    found = queue.wait_job(job, lambda found: found["progress"] is not None)
    assert (found["progress"], found["comment"]) == (42.5, "pass 2")
    assert ": pass 2" in queue("jobs").out
    gate.write_text("go\n")
    queue("wait", job)

    # A run without report is estimated by an earlier one, which was short.
    program = ("sh", "-c", "test -e short || exec sleep 600")
    (queue.root / "short").touch()
    queue("run", "--", *program)
    (queue.root / "short").unlink()
    running = subprocess.Popen(
        [MYTHJOBS, "--state-dir", queue.state, "run", "--", *program],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd=queue.root,
    )  # fmt: skip
    job += 2
    deadline = time.monotonic() + TIMEOUT_S
    while queue("jobs", "--json").json[0]["id"] < job:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    queue.wait_job(job, lambda found: found["estimated_progress"] == 99.0)
    assert "running, ~99 %" in queue("show", job).out
    queue("cancel", job)
    assert running.wait(TIMEOUT_S) == 143


def test_many_jobs_are_cancelled_with_one_command_and_pruned(queue: Queue) -> None:
    queue("command", "add", "gated.toml")
    queue("command", "disable", "gated")
    (queue.root / "sets.jsonl").write_text('{"gate": "none"}\n' * 1200)
    queue("submit", "gated", "--each", "sets.jsonl", "--prefer", "attic")
    [load] = queue("status", "--json").json["commands"]
    assert (load["name"], load["queued"], load["enabled"]) == ("gated", 1200, False)
    [listed] = queue("jobs", "--limit", "1", "--json").json
    assert listed["reason"]["code"] == "disabled"

    refused = queue("cancel", "--command", "gated", code=2)
    assert refused.err.startswith("mythjobs: cancel 1200 queued jobs; stdin is not a terminal")
    done = queue("cancel", "--command", "gated", "--yes", "--json").json
    assert (done["done"], done["unchanged"], done["refused"]) == (1200, 0, 0)
    asked = queue("prune", "--older-than", "1ms", code=2).err
    assert asked.startswith("mythjobs: delete 1 succeeded and 1200 cancelled jobs ended before ")
    assert queue("prune", "--older-than", "1ms", "--yes", "--json").json == {"jobs": 1201}


def test_jobs_that_waited_for_each_other_are_rerun_in_their_order(queue: Queue) -> None:
    ready, log = queue.root / "ready", queue.root / "order"
    run = ("run", "--detach", "--print-id")
    first = queue(*run, "--", "sh", "-c", f"sleep 0.1; echo 1 >>{log}; test -e {ready}").out.strip()
    second = queue(*run, "--after", first, "--", "sh", "-c", f"echo 2 >>{log}").out.strip()
    queue("wait", first, second, code=1)
    assert log.read_text() == "1\n"
    ready.touch()
    done = queue("rerun", second, first).out
    new = int(second) + 1
    assert done == (
        f"job {new + 1} is a rerun of job {second}\njob {new} is a rerun of job {first}\n"
    )
    queue("wait", new, new + 1)
    assert log.read_text() == "1\n1\n2\n"
    assert queue.job(new + 1)["after"] == [{"job": new, "when": "ok", "met": True}]


def test_definitions_and_the_store_are_exported(queue: Queue) -> None:
    queue("command", "add", "gated.toml")
    (queue.root / "gated.toml").write_text(GATED.replace("10m", "5m"))
    queue("command", "add", "gated.toml", "--replace")
    assert [each["revision"] for each in queue("command", "show", "gated", "--revisions",
                                               "--json").json] == [2, 1]  # fmt: skip
    assert 'wall = "10m"' in queue("command", "show", "gated", "--revision", "1").out
    assert queue("command", "export", "--dir", "out").out == "out/gated.toml\n"
    queue("command", "remove", "gated")
    queue("command", "import", "out/gated.toml")
    assert 'wall = "5m"' in queue("command", "show", "gated").out

    queue("backup", "copy.db")
    assert (queue.root / "copy.db").read_bytes().startswith(b"SQLite format 3")
    (queue.root / "tried.toml").write_text(f'[machines."{queue.machine}"]\njobs = 1\n')
    tried = queue("what-if", "tried.toml", "--json").json
    assert (tried["jobs"], tried["changed"]) == (1, [])
    assert queue("status", "--json").json["store"] == str(queue.state / "store.db")


def test_a_run_that_kills_its_reaper_is_not_started_again(queue: Queue) -> None:
    starts = queue.root / "starts"
    program = ("sh", "-c", f"echo started >>{starts}; kill -9 $PPID; sleep 60")
    done = queue("run", "--", *program, code=75)
    assert starts.read_text() == "started\n"
    assert "lost: " in done.err
    assert "the reaper" in done.err

    # With --retry it is, until it was lost three times in a row. Then it needs a person.
    done = queue("run", "--retry", "--", *program, code=67)
    assert starts.read_text() == 4 * "started\n"
    assert "is held: held because it was lost 3 times in a row" in done.err
    [job] = queue("jobs", "--state", "queued", "--json").json
    assert queue("wait", job["id"], code=67).err.startswith(f"mythjobs: job {job['id']} is held")
    assert f"{job['id']}." in queue("status").err
    queue("cancel", job["id"])


def test_a_command_reads_its_input_from_a_file(queue: Queue) -> None:
    (queue.root / "count.toml").write_text(
        'name = "count"\nshell = "wc -l"\nstdin = "{lines}"\n'
        '[[parameters]]\nname = "lines"\ntype = "path"\n'
    )
    queue("command", "add", "count.toml")
    assert 'stdin = "{lines}"' in queue("command", "show", "count").out
    (queue.root / "in.txt").write_text("one\ntwo\n")
    job = queue.submit("count", "--param", "lines=in.txt")
    queue("wait", job)
    assert queue("log", job).out.strip() == "2"
    job = queue.submit("count", "--param", "lines=none.txt")
    done = queue("wait", job, code=1)
    assert f"input file {queue.root}/none.txt: No such file or directory" in done.out
