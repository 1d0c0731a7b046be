"""Master, agents and reapers are killed while jobs run, and every promise is kept.

`make torture CYCLES=100` is the same for longer.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.torture import torture

CYCLES = 4


@pytest.mark.slow
def test_nothing_is_lost_and_nothing_runs_twice_when_everything_is_killed(tmp_path: Path) -> None:
    report, kills = torture(tmp_path, CYCLES, seed=1)
    assert report.violations == []
    assert sorted(each.who for each in kills) == sorted(["agent", "master", "reaper"] * CYCLES)
    # It was under load: else this would have shown nothing.
    assert report.jobs > 3 * CYCLES
    assert report.again > 0
