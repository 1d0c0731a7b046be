from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.master.harness import Harness


@pytest.fixture
def master(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path)
    yield made
    made.close()
