"""Each system call of a start fails in turn: descriptors, memory or processes are lacking."""

from __future__ import annotations

import json
import mmap
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.support.syscall_faults import Fault, is_supported, run

# Cases take 0.1 s each, and 5 s each those in which a new thread has no memory.
_TIMEOUT_S = 280.0
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
_ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("moment", ["first", "warm"])
@pytest.mark.parametrize("variant", ["native", "pool", "stub", "contained"])
def test_a_start_that_lacks_something_tells_the_truth_and_leaves_nothing(
    variant: str, moment: str
) -> None:
    # Seen: outcomes that never came, programs killed after they had begun and called "not
    # started", leaked descriptors, dead threads, containment given up for ever.
    if not is_supported():
        pytest.skip("the numbers of the system calls of this machine are unknown")
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.integration.process.start_faults", variant, moment],
            cwd=_ROOT, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        pytest.fail(f"not ready after {_TIMEOUT_S:g} s: {(error.stderr or b'')[-4000:].decode()}")
    if "cannot be supervised" in done.stderr:
        pytest.skip("no seccomp filter can be installed here")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["cases"] > 10


def test_other_threads_make_system_calls_while_supervision_begins() -> None:
    # Seen: a thread waited for the supervisor with the interpreter's lock, and the supervisor for
    # a message from a thread that needs the lock.
    if not is_supported():
        pytest.skip("the numbers of the system calls of this machine are unknown")

    def call_with_lock() -> None:
        while True:
            mmap.mmap(-1, mmap.PAGESIZE).close()

    def prepare() -> None:
        for _ in range(3):
            threading.Thread(target=call_with_lock, daemon=True).start()

    for _ in range(20):
        try:
            result = run(
                prepare, lambda: "during", lambda: "after", Fault("", 0, 0),
                is_exempt=lambda pid: False,
            )  # fmt: skip
        except OSError as error:
            pytest.skip(str(error))
        assert (result.report, result.after) == ("during", "after")
