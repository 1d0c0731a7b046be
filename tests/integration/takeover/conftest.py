"""A real queue, shared by the tests of takeover, and the files of a machine."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.import_queue import ImportQueue, run_queue
from tests.support.machine_tree import MachineTree


@pytest.fixture(scope="session")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImportQueue]:
    with run_queue(tmp_path_factory.mktemp("queue")) as found:
        yield found


@pytest.fixture
def queue(running: ImportQueue) -> Iterator[ImportQueue]:
    """The queue, without commands, schedules and imported entries of other tests."""
    yield running
    running.remove_all()


@pytest.fixture
def tree(tmp_path: Path) -> MachineTree:
    return MachineTree(tmp_path)
