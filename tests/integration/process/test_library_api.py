"""Assertions of MythTV's two test programs for MythSystem, including skipped ones, without
sleeping; and one test per known limitation of MythTV's class."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from mythjobs.process import (
    MERGED,
    PIPE,
    Breached,
    Exited,
    Limits,
    MythSystem,
    NotStarted,
    Signalled,
    Stopped,
)

TEXT = b"how_are_you"


def test_constructed_command_is_run() -> None:
    assert TEXT in MythSystem.shell('echo "$1"', TEXT).run().stdout.read()


@pytest.mark.parametrize("code", [0, 1, 142, 200, 255])
def test_wait_returns_exit_code(code: int) -> None:
    process = MythSystem.shell(f"exit {code}").start()
    assert process.wait() == Exited(code)
    assert process.outcome == Exited(code)


def test_a_signal_ends_the_wait() -> None:
    assert MythSystem.shell("kill -KILL $$").run().outcome == Signalled(9)


def test_outcome_is_none_while_the_program_runs() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    assert process.pid
    assert process.outcome is None
    process.stdin.close()
    assert process.wait() == Exited(0)


def test_run_in_background_works() -> None:
    with MythSystem(["cat"], stdin=PIPE).start() as process:
        assert process.outcome is None


def test_wait_returns_true_on_exit_and_false_on_timeout() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    assert process.wait(0) is None
    assert process.wait(0.01) is None
    process.stdin.close()
    assert process.wait(60) == Exited(0)


def test_stdin_works(tmp_path: Path) -> None:
    path = tmp_path / "out"
    done = MythSystem.shell('cat - > "$1"', str(path), stdin=TEXT).run()
    assert done.outcome == Exited(0)
    assert path.read_bytes() == TEXT


def test_stdin_works_while_the_program_runs(tmp_path: Path) -> None:
    path = tmp_path / "out"
    with MythSystem(["cat"], stdin=PIPE, stdout=path).start() as process:
        assert process.stdin.write(TEXT)
    assert path.read_bytes() == TEXT


def test_stdout_works() -> None:
    done = MythSystem(["echo", TEXT]).run()
    assert done.outcome == Exited(0)
    assert done.stdout.read() == TEXT + b"\n"
    assert done.stderr.read() == b""


def test_stderr_works() -> None:
    done = MythSystem.shell('echo "$1" >&2', TEXT).run()
    assert done.outcome == Exited(0)
    assert done.stderr.read() == TEXT + b"\n"
    assert done.stdout.read() == b""


def test_shell_used_when_requested() -> None:
    done = MythSystem.shell("if [ 1 = 1 ] ; then echo X ; fi").run()
    assert done.stdout.text() == "X\n"


def test_shell_not_used_when_not_requested() -> None:
    done = MythSystem(["if", "[", "1", "=", "1", "]", ";", "then", "echo", "X"]).run()
    assert isinstance(done.outcome, NotStarted)
    assert done.outcome.errno == errno.ENOENT


def test_a_starting_directory_is_used(tmp_path: Path) -> None:
    assert MythSystem(["pwd"], cwd=tmp_path).run().stdout.text() == f"{tmp_path}\n"


def test_the_default_directory_is_ours() -> None:
    assert MythSystem(["pwd", "-P"]).run().stdout.text() == f"{os.getcwd()}\n"


def test_repr_does_not_show_arguments() -> None:
    process = MythSystem(["true", "--password", "secret"]).start()
    process.wait()
    assert "secret" not in repr(process)
    assert "true" in repr(process)


# Known limitations of MythTV's class.


def test_wait_timeout_and_wall_limit_are_independent() -> None:
    limits = Limits(wall_s=0.2, grace_s=5)
    process = MythSystem(["sleep", "600"], limits=limits).start()
    assert process.wait(0.01) is None
    assert process.wait() == Breached("wall")


def test_input_may_contain_nul_and_have_any_size() -> None:
    data = b"a\0b" * 1_000_000
    assert MythSystem(["wc", "-c"], stdin=data).run().stdout.text() == "3000000\n"
    with MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start() as process:
        assert process.stdin.write(data)
        process.stdin.close()
        assert process.stdout.read() == data


def test_a_signal_reaches_the_children_of_a_shell() -> None:
    text = "trap : TERM; (trap 'echo child; exit' TERM; echo ready; while :; do sleep 1; done) & "
    text += "wait; wait; echo parent"
    process = MythSystem.shell(text, stdout=PIPE).start()
    lines = iter(process.stdout)
    assert next(lines) == b"ready\n"
    assert process.signal(15) >= 2
    assert b"".join(lines).split() == [b"child", b"parent"]
    assert process.wait() == Exited(0)


def test_empty_and_blank_arguments_arrive() -> None:
    done = MythSystem(["printf", "[%s]", "", " ", "a  b", "\\"]).run()
    assert done.stdout.text() == "[][ ][a  b][\\]"


def test_usage_is_reported() -> None:
    usage = MythSystem.shell("i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done").run().usage
    assert usage.cpu_s > 0.01
    assert usage.wall_s > 0.01
    assert usage.switches > 0


def test_output_larger_than_a_pipe_is_complete() -> None:
    done = MythSystem(["head", "-c", "1000000", "/dev/zero"]).run()
    assert done.outcome == Exited(0)
    assert done.stdout.written_bytes == 1_000_000
    assert done.stdout.dropped_bytes == 0


def test_output_is_complete_at_the_end() -> None:
    processes = [MythSystem(["echo", str(i)]).start() for i in range(200)]
    for i, process in enumerate(processes):
        assert process.done().stdout.text() == f"{i}\n"


def test_merged_output_is_in_order() -> None:
    done = MythSystem.shell("echo 1; echo 2 >&2; echo 3", stderr=MERGED).run()
    assert done.stdout.text() == "1\n2\n3\n"


def test_termination_is_reported_as_stopped() -> None:
    process = MythSystem(["sleep", "600"]).start()
    begun_s = time.monotonic()
    assert process.terminate() == Stopped("user")
    assert time.monotonic() - begun_s < 5
    assert MythSystem(["sleep", "600"]).start().kill(by="me") == Stopped("me")
