"""Kills of master, agents and reapers under load, and a hanging agent.

`make torture CYCLES=100` runs longer.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.agent_hang import run_hang_test
from tests.acceptance.torture import run_torture_test

MIN_CYCLES = 4


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_kills_and_hangs_lose_no_job_and_run_no_job_twice(tmp_path: Path) -> None:
    """The hang takes over a minute; kill cycles on another cluster run meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        hang_result = pool.submit(run_hang_test, tmp_path / "hang")
        report, kills = run_torture_test(
            tmp_path / "cycles", lambda done: done < MIN_CYCLES or not hang_result.done(), seed=1
        )
    assert report.violations == []
    assert hang_result.result() == []
    count = Counter(each.program for each in kills)
    assert count["master"] == count["agent"] == count["reaper"] >= MIN_CYCLES
    # The result is meaningful only if the cluster was under load.
    assert report.jobs > 3 * MIN_CYCLES
    assert report.reruns > 0
