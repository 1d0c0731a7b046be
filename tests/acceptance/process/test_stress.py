"""Many programs, hostile programs, and no leftovers. MYTHJOBS_STRESS=1 runs the full size."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mythjobs.process.cgroup import mounts

STRESS = Path(__file__).parent / "stress.py"
FULL = bool(os.environ.get("MYTHJOBS_STRESS"))
LONGEST_S = 1000 if FULL else 100
pytestmark = [pytest.mark.slow, pytest.mark.timeout(LONGEST_S + 20)]


@pytest.mark.parametrize(
    "kind,size",
    [
        ("short", 20_000 if FULL else 1000),
        ("long", 1000),
        ("bomb", 200),
        ("flood", 100 if FULL else 1),
    ],
)
def test_nothing_is_left_after(kind: str, size: int, tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    child = subprocess.Popen(
        [sys.executable, STRESS, kind, str(size)],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env,
    )  # fmt: skip
    try:
        output, _ = child.communicate(timeout=LONGEST_S)
    finally:
        child.kill()
        child.wait()
    assert (child.returncode, output.decode(errors="replace")) == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert cgroups_of(child.pid) == []


def cgroups_of(pid: int) -> list[str]:
    places = mounts.read_cgroup_mounts()
    parents = [each for each in (places.unified, *places.controllers.values()) if each]
    return [
        f"{parent}/{name}"
        for parent in parents
        for name in os.listdir(parent)
        if name.startswith(f"mythjobs-{pid}-")
    ]
