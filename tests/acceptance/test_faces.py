"""The installed command line against a real `up`: what owners, authors and users can say."""

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

MYTHJOBS = Path(sys.executable).with_name("mythjobs")
PATIENCE_S = 60.0
# Runs until somebody opens the gate, a FIFO.
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


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Queue:
    """A state directory, and the words that are typed at it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state = root / "state"

    def __call__(self, *words: str | Path | int, code: int = 0) -> Done:
        done = subprocess.run(
            [MYTHJOBS, "--state-dir", self.state, *map(str, words)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd=self.root,
            timeout=PATIENCE_S,
        )  # fmt: skip
        assert done.returncode == code, (words, done)
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def machine(self) -> str:
        [machine] = self("machines", "--json").json
        return str(machine["name"])

    def submit(self, *words: str | Path) -> int:
        return int(self("submit", *words, "--json").json["id"])

    def job(self, job: int) -> Any:
        return self("show", job, "--json").json

    def until(self, job: int, is_so: Callable[[Any], bool]) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not is_so(found := self.job(job)):
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        return found

    def gated(self, *words: str) -> tuple[int, Path]:
        gate = self.root / f"gate{len(list(self.root.iterdir()))}"
        os.mkfifo(gate)
        return self.submit("gated", "--param", f"gate={gate.name}", *words), gate


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    queue = Queue(tmp_path)
    (tmp_path / "gated.toml").write_text(GATED)
    with (tmp_path / "log").open("wb") as log:
        up = subprocess.Popen(
            [MYTHJOBS, "--state-dir", queue.state, "up", "--port", "0", "--jobs", "2",
             "--stop-jobs"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    assert up.stdout is not None
    with up.stdout as said:
        try:
            ready, _, _ = select.select([said], [], [], PATIENCE_S)
            assert ready, (tmp_path / "log").read_text()
            assert said.readline().startswith(b"mythjobs is up")
            queue("run", "true")  # the machine has joined
            yield queue
        finally:
            up.send_signal(signal.SIGTERM)
            assert up.wait(PATIENCE_S) == 0
    # Whatever a test did, nothing of it may have broken a promise.
    assert queue("check").out == "the store keeps its promises\n"


def test_owners_say_what_their_machines_run_and_when(queue: Queue) -> None:
    machine = queue.machine
    needs_gpu = GATED.replace('name = "gated"', 'name = "gated"\nlabels = ["gpu"]', 1)
    (queue.root / "gated.toml").write_text(needs_gpu)
    assert "its jobs will wait: no machine can run it" in queue("command", "add", "gated.toml").err
    job, gate = queue.gated()
    assert queue.job(job)["reason"]["code"] == "no_label"
    assert "has no label gpu" in queue("why", job).out

    settings = queue("machine", "show", machine).out + 'labels = ["gpu"]\n'
    (queue.root / "machine.toml").write_text(settings)
    queue("machine", "set", machine, "machine.toml")
    queue.until(job, lambda found: found["state"] == "running")
    gate.write_text("go\n")
    queue("wait", job)

    queue("machine", "close", machine, "gated", "--for", "1h")
    job, gate = queue.gated()
    assert queue.job(job)["reason"]["code"] == "window_closed"
    assert queue("why", "--machine", machine, "--json").json["code"] == "window_closed"
    assert queue("machine", "show", machine).out.count("# closed for gated until") == 1
    queue("machine", "hours", machine, "gated")
    gate.write_text("go\n")
    queue("wait", job)

    refused = queue("machine", "dead", machine, "--reason", "a test", "--yes", code=2)
    assert "is connected, so it is not dead" in refused.err


def test_users_say_where_and_within_what_a_job_runs(queue: Queue) -> None:
    queue("command", "add", "gated.toml")
    queue("semaphore", "set", "nas", "0")
    job, gate = queue.gated("--semaphore", "nas", "--limit", "wall=5m", "--deadline", "+1h")
    assert queue.job(job)["reason"]["code"] == "semaphore"
    queue("semaphore", "set", "nas", "1")
    found = queue.until(job, lambda found: found["state"] == "running")
    assert (found["semaphores"], found["limits"]) == ({"nas": 1}, {"wall": "5m"})
    [nas] = queue("semaphore", "list", "--json").json
    assert (nas["name"], nas["size"], nas["used"]) == ("nas", 1, 1)
    gate.write_text("go\n")
    queue("wait", job)

    elsewhere = queue.submit("gated", "--param", "gate=none", "--machine", "nowhere")
    assert queue.job(elsewhere)["reason"]["code"] == "no_such_machine"
    breach = queue("run", "--output", "1kB", "--nice", "5", "--", "yes", code=124)
    assert "output limit" in breach.err


def test_a_running_job_is_paused_and_goes_on(queue: Queue) -> None:
    queue("command", "add", "gated.toml")
    job, gate = queue.gated()
    queue.until(job, lambda found: found["state"] == "running")
    assert queue("pause", job).out == f"job {job} pausing\n"
    found = queue.until(job, lambda found: found["frozen"] == ["user"])
    assert found["reason"]["code"] == "frozen"
    assert queue("resume", "--command", "gated", "--yes").out == "1 job asked to go on\n"
    # Only now: it may have been frozen before it came to the gate.
    gate.write_text("go\n")
    queue("wait", job)


def test_many_jobs_are_acted_on_at_once_and_old_ones_deleted(queue: Queue) -> None:
    queue("command", "add", "gated.toml")
    queue("command", "disable", "gated")
    (queue.root / "sets.jsonl").write_text('{"gate": "none"}\n' * 1200)
    queue("submit", "gated", "--each", "sets.jsonl", "--prefer", "attic")
    [load] = queue("status", "--json").json["commands"]
    assert (load["name"], load["queued"], load["enabled"]) == ("gated", 1200, False)
    [listed] = queue("jobs", "--limit", "1", "--json").json
    assert listed["reason"]["code"] == "disabled"

    refused = queue("cancel", "--command", "gated", code=2)
    assert refused.err.startswith("mythjobs: 1200 waiting; nobody can be asked here")
    done = queue("cancel", "--command", "gated", "--yes", "--json").json
    assert done == {"act": "cancel", "done": 1200, "refused": 0, "errors": []}
    asked = queue("prune", "--older-than", "1ms", code=2).err
    assert asked.startswith("mythjobs: 1 succeeded and 1200 cancelled before ")
    assert queue("prune", "--older-than", "1ms", "--yes", "--json").json == {"jobs": 1201}


def test_definitions_and_the_store_are_carried_elsewhere(queue: Queue) -> None:
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
