"""A real queue for tests: `mythjobs up` as a program, with a master and an agent."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from mythjobs.client import locate
from mythjobs.client.client import Client
from tests.support.parent_death import bind_to_parent

_TIMEOUT_S = 60


class RunningQueue(NamedTuple):
    root: Path
    client: Client


@contextmanager
def run_queue(root: Path) -> Iterator[RunningQueue]:
    """Run a queue with the state directory `root`, which is made, until the end of the block."""
    root.mkdir(mode=0o700)
    log = root / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            bind_to_parent(
                sys.executable, "-P", "-m", "mythjobs", "--state-dir", root, "up", "--port", "0",
                "--stop-jobs",
            ),
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as stdout:
        ready, _, _ = select.select([stdout], [], [], _TIMEOUT_S)
        assert ready, log.read_text()
        assert b"is up" in stdout.readline(), log.read_text()
        client = Client(locate.find_socket(str(root)))
        deadline_s = time.monotonic() + _TIMEOUT_S
        while [each["state"] for each in client.get("machines")["machines"]] != ["up"]:
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.02)
        yield RunningQueue(root, client)
        process.terminate()
        process.wait(_TIMEOUT_S)
