"""Programs of tests that end with the test run, also if that is killed."""

from __future__ import annotations

import signal
from pathlib import Path


def bind_to_parent(
    *command: str | Path, number: signal.Signals = signal.SIGTERM
) -> list[str | Path]:
    """Return the command such that the program gets the signal when the thread that starts it ends
    (prctl(2), PR_SET_PDEATHSIG). Pytest runs fixtures and tests in its main thread."""
    # Not `preexec_fn`, which Python may run while another thread holds a lock.
    return ["setpriv", "--pdeathsig", number.name.removeprefix("SIG"), "--", *command]
