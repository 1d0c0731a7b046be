"""A state directory whose reapers, and what they have running, are gone after the test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.config.runtime import runtime_dir
from mythjobs.config.state import StateDir, open_state
from tests.support.agent_master import end_reapers


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    state = open_state(tmp_path / "s")
    yield state
    end_reapers(state)
    shutil.rmtree(runtime_dir(state), ignore_errors=True)
