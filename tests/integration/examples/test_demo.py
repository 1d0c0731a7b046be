"""The demo, up to its first job; the whole of it takes minutes (`make demo`)."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[3] / "examples" / "demo"
PROGRAMS = ("ffmpeg", "ffprobe", "comskip")

pytestmark = pytest.mark.slow


def test_missing_programs_are_named_with_the_way_to_install_them(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, DEMO],
        env=os.environ | {"PATH": str(tmp_path)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "demo: ffmpeg, ffprobe, comskip missing; `make demo` installs them\n"


@pytest.mark.skipif(not all(map(shutil.which, PROGRAMS)), reason="ffmpeg or comskip is missing")
def test_ctrl_c_leaves_neither_processes_nor_files(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, DEMO],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        assert demo.stdout.readline().startswith("recording of ")
        assert list(tmp_path.iterdir())
        demo.send_signal(signal.SIGINT)
        # To the end of both pipes, which each process that was left would hold.
        _, errors = demo.communicate(timeout=60)
    assert demo.returncode == 130
    assert "demo: interrupted; ending all started processes" in errors
    assert list(tmp_path.iterdir()) == []
