"""Processes that are stopped as if their host hung."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

_TIMEOUT_S: Final = 60.0


def freeze(pid: int) -> None:
    """Stop a process with SIGSTOP; return once all its threads stand still.

    kill(2) returns before that, and a thread on another CPU may still answer a request.
    """
    os.kill(pid, signal.SIGSTOP)
    deadline_s = time.monotonic() + _TIMEOUT_S
    while not _read_thread_states(pid) <= {"T", "t", "Z", "X"}:
        assert time.monotonic() < deadline_s, f"process {pid} does not stop"
        time.sleep(0.001)


def _read_thread_states(pid: int) -> set[str]:
    found = set()
    for each in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # the thread has ended
            # The state is the first field after the name in brackets (proc(5)).
            found.add((each / "stat").read_text().rpartition(")")[2].split()[0])
    return found
