"""A storm of reconnecting agents: the benchmark with fewer of them, as a test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.namespaces import find_obstacle

BENCHMARK = Path(__file__).parents[3] / "bench" / "agents.py"


@pytest.mark.slow
@pytest.mark.skipif(bool(find_obstacle()), reason=find_obstacle())
def test_two_hundred_agents_are_back_soon_after_a_storm() -> None:
    arguments = ["--agents", "200", "--seconds", "0", "--json"]
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *arguments], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["agents"] == 200
    assert found["back_s"] < 15
