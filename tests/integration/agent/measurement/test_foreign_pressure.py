"""Which cgroups count as other programs, and how long they wait, on a tree of files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mythjobs.agent.measurement.foreign_pressure import ForeignPressure, find_foreign

SERVICE = "system.slice/mythtv-backend.service"


def write_pressure(root: Path, path: str, total_s: float) -> None:
    (root / path).mkdir(parents=True, exist_ok=True)
    (root / path / "io.pressure").write_text(
        f"some avg10=0.00 avg60=0.00 avg300=0.00 total={round(total_s * 1e6)}\n"
        "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for path in (
        "init.scope", "user.slice/user-1000.slice", SERVICE, "system.slice/agent.service",
        "system.slice/mythjobs-reaper-1.scope/mythjobs-reaper", "system.slice/mythjobs-2",
    ):  # fmt: skip
        write_pressure(tmp_path, path, 0.0)
    return tmp_path


def test_the_highest_cgroups_beside_the_own_ones_are_foreign(root: Path) -> None:
    own = ["/system.slice/agent.service", "/system.slice/mythjobs-reaper-1.scope/mythjobs-reaper"]
    found = {os.path.relpath(each, root) for each in find_foreign(str(root), own)}
    assert found == {"init.scope", "user.slice", SERVICE}


def test_the_longest_wait_since_the_last_reading_counts(tmp_path: Path) -> None:
    for path in ("recorder", "player"):
        write_pressure(tmp_path, path, 1.0)
    pressure = ForeignPressure(str(tmp_path))
    assert pressure.read_stall_s([]) == 0.0
    write_pressure(tmp_path, "recorder", 1.2)
    write_pressure(tmp_path, "player", 1.5)
    assert pressure.read_stall_s([]) == 0.5
    write_pressure(tmp_path, "recorder", 1.3)
    assert pressure.read_stall_s([]) == pytest.approx(0.6)
    # A service that starts or ends is no error, and what it waited before is not counted.
    (tmp_path / "player" / "io.pressure").unlink()
    assert pressure.read_stall_s([]) == pytest.approx(0.6)


def test_nothing_is_known_without_pressure_files(tmp_path: Path) -> None:
    (tmp_path / "service").mkdir()
    assert ForeignPressure(str(tmp_path)).read_stall_s([]) is None
