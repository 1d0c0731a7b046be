from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.network.machine import Machine
from tests.support.namespaces import Network, connected_namespaces


@pytest.fixture
def network() -> Iterator[Network]:
    with connected_namespaces() as made:
        yield made


@pytest.fixture
def machines(network: Network, tmp_path: Path) -> Iterator[tuple[Machine, Machine]]:
    first, second = (Machine(network, number, tmp_path / str(number)) for number in range(2))
    try:
        yield first, second
    finally:
        second.stop()
        first.stop()
