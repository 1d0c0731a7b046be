"""State directory whose reapers and jobs are killed after the test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.config.runtime import ensure_runtime_dir
from mythjobs.config.state import StateDir, open_state
from tests.support.agent_master import terminate_reapers


@pytest.fixture
def state(tmp_path: Path) -> Iterator[StateDir]:
    state = open_state(tmp_path / "s")
    yield state
    terminate_reapers(state)
    shutil.rmtree(ensure_runtime_dir(state), ignore_errors=True)
