from collections.abc import Iterator

import pytest

from tests.support.running_queue import RunningQueue, run_queue


@pytest.fixture(scope="session")
def running_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQueue]:
    with run_queue(tmp_path_factory.mktemp("queue") / "s") as running:
        yield running
