"""Cases of CPython's test_subprocess about programs, outcomes and signals, told for MythSystem."""

from __future__ import annotations

import errno
import os
import resource
import signal
import stat
import sys
import threading
import time
from pathlib import Path

import pytest

from mythjobs.process import (
    PIPE,
    Breached,
    Exited,
    Limits,
    MythSystem,
    NotStarted,
    Process,
    ProgramFailed,
    Signalled,
    Stopped,
)
from tests.integration.process.host_script import output_of

PYTHON = sys.executable


def text_of(*argv: str, **more: object) -> str:
    return MythSystem(list(argv), **more).run().check().stdout.text()  # type: ignore[arg-type]


# Return codes.


@pytest.mark.parametrize("code", [0, 1, 47, 127, 128, 255])
def test_exit_codes(code: int) -> None:
    done = MythSystem([PYTHON, "-S", "-c", f"import sys; sys.exit({code})"]).run()
    assert (done.outcome, done.exit_code) == (Exited(code), code)


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGKILL, signal.SIGTERM, 34, 64])
def test_deaths_by_signal(number: int) -> None:
    done = MythSystem([PYTHON, "-S", "-c", f"import os; os.kill(os.getpid(), {number})"]).run()
    assert isinstance(done.outcome, Signalled)
    assert done.outcome.signal == number
    with pytest.raises(ProgramFailed, match="killed by signal"):
        done.check()


def test_a_run_returns_what_it_ran(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexit 47\n")
    script.chmod(0o700)
    assert MythSystem([str(script)]).run().exit_code == 47
    assert MythSystem([os.fsencode(script)]).run().exit_code == 47


# Start errors.


def test_errors_of_the_start_are_outcomes(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("exit 0")
    no_format = tmp_path / "no-format"
    no_format.write_text("exit 0")
    no_format.chmod(0o755)
    no_interpreter = tmp_path / "no-interpreter"
    no_interpreter.write_text("#!/none\n")
    no_interpreter.chmod(0o755)
    cases = {
        "/none": errno.ENOENT,
        "none": errno.ENOENT,
        str(plain): errno.EACCES,
        str(tmp_path): errno.EACCES,
        f"{plain}/none": errno.ENOTDIR,
        str(no_format): errno.ENOEXEC,
        str(no_interpreter): errno.ENOENT,
        "x" * 5000: errno.ENAMETOOLONG,
    }
    for more in {}, {"contain": True}, {"nice": 1}, {"stdin": PIPE, "stdout": PIPE}:
        for name, number in cases.items():
            process = MythSystem([name], **more).start()
            outcome = process.wait()
            assert isinstance(outcome, NotStarted), (name, more, outcome)
            assert outcome.errno == number, (name, more, outcome)
            assert name in outcome.sentence
            assert process.pid is None


def test_arguments_that_are_too_long_are_an_outcome() -> None:
    for argv in (["true", "x" * 200_000], ["true", *["x" * 1000] * 5000]):
        outcome = MythSystem(argv).run().outcome
        assert isinstance(outcome, NotStarted)
        assert outcome.errno == errno.E2BIG


def test_errors_after_errors_do_not_mix() -> None:
    for _ in range(10):
        assert isinstance(MythSystem(["/none"]).run().outcome, NotStarted)
        assert MythSystem(["true"]).run().ok
        outcome = MythSystem(["true"], cwd="/none").run().outcome
        assert isinstance(outcome, NotStarted)
        assert "working directory" in outcome.sentence


# Surroundings.


def test_cwd(tmp_path: Path) -> None:
    for cwd in (tmp_path, str(tmp_path), os.fsencode(tmp_path)):
        assert text_of("pwd", "-P", cwd=cwd) == f"{tmp_path}\n"


def test_a_relative_program_is_found_from_cwd(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "program").symlink_to("/bin/echo")
    assert text_of("./program", "x", cwd=tmp_path / "bin") == "x\n"
    assert text_of("bin/program", "x", cwd=tmp_path) == "x\n"
    assert text_of("program", "x", cwd=tmp_path, env={"PATH": "bin"}) == "x\n"
    assert text_of("x", "y", cwd=tmp_path, executable="bin/program") == "y\n"
    assert isinstance(MythSystem(["bin/program"], cwd="/").run().outcome, NotStarted)


def test_env() -> None:
    code = "import os, sys; sys.stdout.write(os.getenv('FRUIT'))"
    assert text_of(PYTHON, "-c", code, env=os.environ | {"FRUIT": "orange"}) == "orange"
    assert text_of("/usr/bin/env", env={"FRUIT": "lemon=="}) == "FRUIT=lemon==\n"
    assert text_of("/usr/bin/env", env={}) == ""


@pytest.mark.parametrize("env", [{"A\0B": "x"}, {"A": "x\0y"}, {"A=B": "x"}, {"": "x"}])
def test_an_invalid_env_is_misuse(env: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        MythSystem(["true"], env=env)
    with pytest.raises(ValueError):
        MythSystem(["true"], env_add=env)


def test_shell_text_and_its_arguments() -> None:
    assert MythSystem.shell("echo $1-$2", "a b", "$x").run().stdout.text() == "a b-$x\n"
    assert MythSystem.shell("echo $NAME", env={"NAME": "apple"}).run().stdout.text() == "apple\n"


def test_umask_and_new_files(tmp_path: Path) -> None:
    assert MythSystem(["touch", "file"], cwd=tmp_path, umask=0o077).run().ok
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_user() -> None:
    assert text_of("id", "-un", user="nobody") == "nobody\n"
    with pytest.raises(ValueError, match="does not exist"):
        MythSystem(["true"], user="no-such-user")


def test_limits_of_the_kernel() -> None:
    rlimits = {resource.RLIMIT_NOFILE: (50, 60)}
    text = text_of("/bin/sh", "-c", "ulimit -Sn; ulimit -Hn", rlimits=rlimits)
    assert text == "50\n60\n"


def test_sessions() -> None:
    code = "import os; print(os.getsid(0) == os.getpid(), os.getsid(0))"
    assert text_of(PYTHON, "-S", "-c", code).startswith("True")
    found = text_of(PYTHON, "-S", "-c", code, session=False)
    assert found == f"False {os.getsid(0)}\n"


def test_signals_are_restored() -> None:
    status = text_of("cat", "/proc/self/status")
    ignored = int(next(line for line in status.splitlines() if "SigIgn" in line).split()[1], 16)
    assert not ignored >> (signal.SIGPIPE - 1) & 1
    assert not ignored >> (signal.SIGXFSZ - 1) & 1


# Waiting.


def test_outcome_updates_without_a_wait() -> None:
    process = MythSystem(["true"]).start()
    until_s = time.monotonic() + 60
    while process.outcome is None:
        assert time.monotonic() < until_s
        os.sched_yield()
    assert process.outcome == Exited(0)


def test_wait_and_its_timeout() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    begun_s = time.monotonic()
    assert process.wait(timeout_s=0.05) is None
    assert time.monotonic() - begun_s >= 0.05
    process.stdin.close()
    assert process.wait(timeout_s=60) == Exited(0)
    assert process.wait() == process.wait(0) == Exited(0)


def test_many_threads_wait_for_one_program() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    outcomes: list[object] = []
    threads = [threading.Thread(target=lambda: outcomes.append(process.wait())) for _ in range(20)]
    for thread in threads:
        thread.start()
    process.stdin.close()
    for thread in threads:
        thread.join()
    assert outcomes == [Exited(0)] * 20


def test_a_stopped_program_has_not_ended() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    assert process.pid
    os.kill(process.pid, signal.SIGSTOP)
    assert process.wait(0.02) is None
    os.kill(process.pid, signal.SIGCONT)
    process.stdin.close()
    assert process.wait() == Exited(0)


def test_a_program_that_is_killed_by_others() -> None:
    process = MythSystem(["sleep", "600"]).start()
    assert process.pid
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == Signalled(signal.SIGTERM)


# Signals.


def ready(text: str) -> Process:
    process = MythSystem.shell(text, stdout=PIPE).start()
    assert next(iter(process.stdout)) == b"ready\n"
    return process


def test_send_signal() -> None:
    process = ready("trap 'exit 7' USR1; echo ready; while :; do sleep 0.01; done")
    assert process.signal(signal.SIGUSR1) >= 1
    assert process.wait() == Exited(7)


def test_kill_and_terminate() -> None:
    assert ready("echo ready; exec sleep 600").kill() == Stopped("user")
    assert ready("echo ready; exec sleep 600").terminate() == Stopped("user")
    stubborn = ready("trap '' TERM; echo ready; while :; do sleep 0.01; done")
    begun_s = time.monotonic()
    assert stubborn.terminate(grace_s=0.2) == Stopped("user")
    assert 0.2 <= time.monotonic() - begun_s < 10


def test_a_handler_of_the_program_may_end_it_with_a_code() -> None:
    process = ready("trap 'echo handled; exit 5' TERM; echo ready; while :; do sleep 0.01; done")
    process.stop(grace_s=60)
    assert process.wait() == Stopped("user")
    assert process.done().exit_code == 5


@pytest.mark.parametrize("method", ["kill", "terminate", "stop", "pause", "resume"])
def test_dead_programs_get_no_signal(method: str) -> None:
    process = MythSystem(["true"]).start()
    process.wait()
    getattr(process, method)()
    assert process.signal(signal.SIGTERM) == 0
    assert process.outcome == Exited(0)


def test_a_program_that_has_ended_by_itself_keeps_its_outcome() -> None:
    for _ in range(50):
        process = MythSystem.shell("exit 3").start()
        assert process.pid
        assert process.kill() in (Exited(3), Stopped("user"))


def test_timeouts_end_the_whole_tree() -> None:
    # As with a shell that runs a program: capturing its output must not hang.
    limits = Limits(wall_s=0.1, grace_s=0)
    done = MythSystem.shell("sleep 600; true", limits=limits).run()
    assert done.outcome == Breached("wall")
    assert done.usage.wall_s < 60


# Objects.


def test_a_system_may_be_started_again() -> None:
    system = MythSystem(["cat"], stdin=b"text")
    assert [system.run().stdout.read() for _ in range(3)] == [b"text"] * 3
    processes = [system.start() for _ in range(3)]
    assert [each.done().stdout.read() for each in processes] == [b"text"] * 3


def test_the_callers_values_are_copied() -> None:
    argv, env = ["/usr/bin/env"], {"A": "1"}
    system = MythSystem(argv, env=env)
    argv.append("false")
    env["A"] = "2"
    assert system.run().stdout.text() == "A=1\n"


def test_an_exception_in_the_block_ends_the_program() -> None:
    class Failure(Exception):
        pass

    with pytest.raises(Failure), MythSystem(["sleep", "600"]).start() as process:
        raise Failure
    assert process.outcome == Stopped("user")


@pytest.mark.slow
def test_dropped_processes_leave_no_zombie() -> None:
    script = """
for _ in range(100):
    MythSystem(["true"]).start()
    MythSystem(["sleep", "600"]).start().stop(grace_s=0)
until = time.monotonic() + 60
while True:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        break
    assert time.monotonic() < until
"""
    output_of(script)
