from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.process.reaper_agent import Agent, Home, reaper


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture(scope="module")
def shared_home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tmp_path_factory.mktemp("agent"))


@pytest.fixture(scope="module")
def agent(shared_home: Home) -> Iterator[Agent]:
    """Of one reaper for a whole file of tests, which use job numbers of their own."""
    with reaper(shared_home) as connected:
        yield connected
