"""MythSystem used by finalizers, at the interpreter's exit, and by signal handlers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.integration.process.host_script import output_of, run_script

pytestmark = pytest.mark.slow

FINALIZER = """
class Guard:
    def __init__(self, process):
        self.process = process
    # Names of the module may be gone already.
    def __del__(self, os=os, Limits=Limits):
        process = self.process
        results = [
            process.signal(0), process.pids(), process.usage().wall_s > 0, process.stopping,
            process.pause(), process.resume(), process.limit(Limits(wall_s=600)),
            repr(process)[:8], process.wait(0.01), process.kill(),
        ]
        os.write(1, f"{results[-1]}\\n".encode())
"""


@pytest.mark.parametrize("at_exit", ["end", "leave"])
def test_a_finalizer_at_exit_may_use_its_process(at_exit: str) -> None:
    script = f"""
guard = Guard(MythSystem(["sleep", "600"], at_exit={at_exit!r}).start())
assert guard.process.pid
"""
    outcome = {"end": "exit", "leave": "user"}[at_exit]
    assert output_of(FINALIZER + script) == f"Stopped(by='{outcome}')\n"


def test_a_finalizer_at_exit_may_start_nothing_but_does_not_hang() -> None:
    script = """
class Last:
    def __del__(self, os=os, MythSystem=MythSystem):
        outcome = MythSystem(["true"]).start().wait(5)
        os.write(1, b"ended\\n")
last = Last()
MythSystem(["true"]).run()
"""
    assert output_of(script) == "ended\n"


def test_exit_functions_of_the_host_may_run_programs() -> None:
    # Those that were registered before the import run after ours.
    script = """
import atexit
def late():
    print(MythSystem(["echo", "late"]).run().stdout.text(), end="", flush=True)
atexit.register(late)
MythSystem(["true"]).run()
"""
    early = "import atexit\natexit.register(lambda: late())\n"
    assert output_of(script) == "late\n"
    done = run_script("late = None\n")
    assert done.returncode == 0
    text = """
def late():
    print(MythSystem(["echo", "later"]).run().stdout.text(), end="", flush=True)
MythSystem(["true"]).run()
"""
    import subprocess
    import sys

    source = str(Path(__file__).parents[3] / "src")
    code = early + f"import sys; sys.path.insert(0, {source!r})\n"
    code += "from mythjobs.process import MythSystem\n" + text
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert found.stdout == "later\n"


def test_a_program_that_is_to_outlive_the_host_is_started(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)
    script = f"""
for _ in range(20):
    MythSystem(["echo", "text"], at_exit="leave", stdout={tmp_path / "out"!r}).start()
""".replace("PosixPath", "")
    output_of(script)
    os.close(theirs)
    # The programs may still run; each has been started.
    for _ in range(1000):
        if (tmp_path / "out").read_bytes() == b"text\n" * 20:
            break
        os.sched_yield()
    assert (tmp_path / "out").read_bytes() == b"text\n" * 20
    os.close(ours)


HANDLER = """
handled = 0
def handler(number, frame):
    global handled
    done = MythSystem(["cat"], stdin=b"x").run()
    assert done.stdout.read() == b"x", done
    if handled >= 0:
        handled += 1
        arm()
def arm():
    'Interrupt the program soon, at any instruction.'
    signal.setitimer(signal.ITIMER_REAL, 0.0001 + handled % 50 * 0.0001)
signal.signal(signal.SIGALRM, handler)
"""


def test_a_signal_handler_may_run_programs() -> None:
    script = """
until = time.monotonic() + 3
arm()
while time.monotonic() < until:
    with MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start() as process:
        process.stdin.write(b"text\\n")
        process.stdin.close()
        assert process.stdout.read() == b"text\\n"
        process.pids(), process.usage(), process.signal(0)
    assert MythSystem(["cat"], stdin=b"more").run().stdout.read() == b"more"
handled, count = -1, handled
signal.setitimer(signal.ITIMER_REAL, 0)
assert count > 10, count
"""
    output_of(HANDLER + script)


def test_a_signal_handler_may_be_the_first_user() -> None:
    # Each fork uses the class for the first time, while signals arrive.
    script = """
for delay in range(1, 60):
    pid = os.fork()
    if pid == 0:
        signal.setitimer(signal.ITIMER_REAL, delay * 0.0001)
        ok = MythSystem(["true"]).run().ok
        while not handled:
            time.sleep(0.001)
        os._exit(0 if ok else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
    output_of(HANDLER + script)


def test_a_signal_handler_may_use_the_process_that_the_program_waits_for() -> None:
    script = """
process = MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start()
kept = MythSystem.shell("echo kept; sleep 600").start()
def use(number, frame):
    process.stdin.write(b"from the handler")
    process.stdin.close()
    process.stdout.read_some()
    next(iter(kept.stdout))
    kept.wait(0)
    process.pid, process.pids(), process.usage(), process.signal(0), process.wait(0.01)
    kept.kill()
signal.signal(signal.SIGALRM, use)
signal.setitimer(signal.ITIMER_REAL, 0.1)
# Each of these holds a lock while it waits.
assert process.stdout.read() == b""
assert list(kept.stdout) == [b"kept\\n"]
assert kept.wait() == Stopped("user")
assert process.wait() == Exited(0)
"""
    output_of(HANDLER + script)
