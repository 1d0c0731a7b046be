"""Master, agents and reapers are killed while jobs run, and every promise is kept.

`make torture CYCLES=100` is the same for longer.
"""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.acceptance.silence import silence
from tests.acceptance.torture import torture

LEAST_CYCLES = 4


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_nothing_is_lost_and_nothing_runs_twice_whatever_is_killed_or_hangs(tmp_path: Path) -> None:
    """The agent that hangs needs more than a minute of waiting; meanwhile the others are killed."""
    with ThreadPoolExecutor(1) as pool:
        hung = pool.submit(silence, tmp_path / "silence")
        report, kills = torture(
            tmp_path / "cycles", lambda done: done < LEAST_CYCLES or not hung.done(), seed=1
        )
    assert report.violations == []
    assert hung.result() == []
    count = Counter(each.who for each in kills)
    assert count["master"] == count["agent"] == count["reaper"] >= LEAST_CYCLES
    # It was under load: else this would have shown nothing.
    assert report.jobs > 3 * LEAST_CYCLES
    assert report.again > 0
