"""The spawner in C with output pipes: programs whose end it waits for, and those it hands over."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from mythjobs.process.spawn import native
from tests.integration.process.short_program_cases import CASES, SKIPPED


@pytest.mark.parametrize("case", list(CASES))
def test_case(case: str, tmp_path: Path) -> None:
    if not Path(native.LIBRARY).exists():
        pytest.skip("the spawner is not compiled here")
    if not Path("/proc/thread-self/children").exists():
        pytest.skip("this kernel does not list children")
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.process.short_program_cases", case, tmp_path],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    if done.returncode == SKIPPED:
        pytest.skip(done.stdout)
    assert done.returncode == 0, done.stderr
