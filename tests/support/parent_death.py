"""Programs of tests that end with the test run, also if that is killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_PROCESSES: Final = Path(__file__).parents[2] / "bench" / "processes.py"
_TERMINATE_AT_END_OF_FILE: Final = """
import runpy, sys
path = sys.stdin.readline().removesuffix("\\n")
sys.stdin.read()
runpy.run_path(sys.argv[1])["terminate_all"](path, 5.0)
"""


def bind_to_parent(
    *command: str | Path, number: signal.Signals = signal.SIGTERM
) -> list[str | Path]:
    """Return the command such that the program gets the signal when the thread that starts it ends
    (prctl(2), PR_SET_PDEATHSIG). Pytest runs fixtures and tests in its main thread."""
    # Not `preexec_fn`, which Python may run while another thread holds a lock.
    # With its path: the caller may start it with a PATH of few programs.
    setpriv = shutil.which("setpriv") or "setpriv"
    return [setpriv, "--pdeathsig", number.name.removeprefix("SIG"), "--", *command]


@contextmanager
def terminate_with_parent(path: Path) -> Iterator[None]:
    """Terminate all processes whose command line contains the path when the block or this process
    ends: also those whose parent has ended, as reapers and their jobs."""
    # The path is not in the command line of the program itself.
    command: list[str | Path] = [sys.executable, "-c", _TERMINATE_AT_END_OF_FILE, _PROCESSES]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, text=True, start_new_session=True
    ) as program:
        assert program.stdin is not None
        program.stdin.write(f"{path}\n")
        program.stdin.flush()
        yield
