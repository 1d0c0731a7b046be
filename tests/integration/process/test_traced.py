"""Programs that a debugger traces at their end: the kernel keeps such a zombie from its parent
until the tracer has waited for it (ptrace(2))."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from mythjobs.process import (
    PIPE,
    Breached,
    Exited,
    Limits,
    MythSystem,
    Reader,
    Signalled,
    Stopped,
)

# Traces a process and, like a debugger that waits for its user, does not handle its end.
_TRACER = """
import ctypes, sys
PTRACE_SEIZE = 0x4206
libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
failed = libc.ptrace(PTRACE_SEIZE, int(sys.argv[1]), None, None)
print(ctypes.get_errno() if failed else 0, flush=True)
sys.stdin.read()
"""


@contextmanager
def traced(pid: int | None) -> Iterator[None]:
    tracer = subprocess.Popen(
        [sys.executable, "-c", _TRACER, str(pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with tracer:
        assert tracer.stdout is not None
        if tracer.stdout.readline() != b"0\n":
            tracer.kill()
            pytest.skip("this machine permits no ptrace(2)")
        yield
        tracer.communicate()


def _state(pid: int | None) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "gone"
    return text[text.rfind(")") + 2]


@pytest.mark.slow
def test_a_program_that_is_traced_at_its_end_has_its_own_outcome() -> None:
    ends = {"exit 7": Exited(7), "exit 0": Exited(0), "kill -9 $$": Signalled(9)}
    programs = [MythSystem.shell(f"read line; {text}", stdin=PIPE).start() for text in ends]
    with ExitStack() as stack:
        for each in programs:
            stack.enter_context(traced(each.pid))
        for each in programs:
            each.stdin.close()
        assert [each.wait(20) for each in programs] == list(ends.values())
        assert [_state(each.pid) for each in programs] == ["Z"] * 3
        # Other programs are not affected.
        assert MythSystem(["true"]).run().outcome == Exited(0)
    limit_s = time.monotonic() + 20
    while "Z" in [_state(each.pid) for each in programs]:
        assert time.monotonic() < limit_s
        time.sleep(0.01)


@pytest.mark.slow
def test_a_traced_program_can_be_ended() -> None:
    process = MythSystem(["sleep", "600"]).start()
    with traced(process.pid):
        assert process.terminate(grace_s=0.1) == Stopped("user")


# Makes its parent the tracer, and stops as soon as a signal arrives; nobody continues it.
_TRACEME = """
import ctypes, os, signal
ctypes.CDLL(None).ptrace(0, 0, None, None)
os.write(1, b"ready")
os.kill(os.getpid(), signal.SIGUSR1)
os._exit(7)
"""


@pytest.mark.slow
@pytest.mark.parametrize("contain", [False, True])
def test_a_program_that_lets_us_trace_it_can_be_ended(contain: bool) -> None:
    command = [sys.executable, "-c", _TRACEME]
    process = MythSystem(command, stdout=PIPE, contain=contain).start()
    assert isinstance(process.stdout, Reader)
    assert process.stdout.read_some() == b"ready"
    while _state(process.pid) != "t":
        time.sleep(0.01)
    # The stop is no end, and does not hide it.
    assert process.outcome is None
    process.stop(grace_s=0.1)
    assert process.wait(20) == Stopped("user")
    limited = MythSystem(command, limits=Limits(wall_s=0.2, grace_s=0.1), contain=contain).start()
    assert limited.wait(20) == Breached("wall")
