import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.running_queue import RunningQueue, run_queue

PATH = {"name": "source", "type": "path"}


@pytest.fixture(scope="session")
def running_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQueue]:
    with run_queue(tmp_path_factory.mktemp("queue") / "s") as running:
        yield running


@pytest.fixture
def queue(running_queue: RunningQueue) -> RunningQueue:
    definition = {"name": "look", "argv": ["ls", "-l", "{source}"], "parameters": [PATH]}
    running_queue.client.post("commands", {"definition": definition, "replace": True})
    append = {
        "name": "append", "shell": 'echo more >>"$MYTHJOBS_P_SOURCE"', "parameters": [PATH],
        "subject": "{source}",
    }  # fmt: skip
    running_queue.client.post("commands", {"definition": append, "replace": True})
    beside = {
        "name": "beside", "shell": 'cp "$MYTHJOBS_P_SOURCE" "$MYTHJOBS_P_SOURCE.out"',
        "parameters": [PATH],
    }  # fmt: skip
    running_queue.client.post("commands", {"definition": beside, "replace": True})
    return running_queue


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Path]:
    before = signal.signal(signal.SIGIO, signal.SIG_IGN)
    directory = tmp_path / "inbox"
    directory.mkdir()
    yield directory
    signal.signal(signal.SIGIO, before)
