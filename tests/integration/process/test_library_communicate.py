"""Process.communicate(), Done.check(), and arguments that describe the program's surroundings."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mythjobs.process import (
    INHERIT,
    MERGED,
    PIPE,
    Breached,
    Exited,
    Limits,
    MythSystem,
    NotStarted,
    Output,
    ProgramFailed,
)

LARGE = bytes(range(256)) * 20_000


@pytest.mark.parametrize("to", ["pipes", "buffers"])
def test_communicate_exchanges_large_data_both_ways(to: str) -> None:
    more = {"stdout": PIPE, "stderr": PIPE} if to == "pipes" else {}
    process = MythSystem(["tee", "/dev/stderr"], stdin=PIPE, **more).start()  # type: ignore[arg-type]
    assert process.communicate(LARGE) == Output(LARGE, LARGE)
    assert process.outcome == Exited(0)
    assert process.communicate() == (LARGE, LARGE)


def test_communicate_without_input_closes_stdin() -> None:
    assert MythSystem(["cat"], stdin=PIPE).start().communicate() == (b"", b"")


def test_communicate_returns_none_for_other_streams(tmp_path: Path) -> None:
    process = MythSystem(["cat"], stdin=PIPE, stdout=tmp_path / "out", stderr=MERGED).start()
    assert process.communicate(bytearray(b"text")) == (None, None)
    assert (tmp_path / "out").read_bytes() == b"text"


def test_communicate_ignores_that_the_program_stops_reading() -> None:
    process = MythSystem(["head", "-c", "2"], stdin=PIPE, stdout=PIPE).start()
    assert process.communicate(LARGE) == (LARGE[:2], b"")
    with MythSystem(["true"], stdin=PIPE).start() as process:
        process.wait()
        assert process.communicate(LARGE) == (b"", b"")


def test_communicate_continues_after_a_timeout() -> None:
    text = "printf first; cat >/dev/null; printf second; read x <&3 3<&-; printf third"
    ours, theirs = os.pipe()
    process = MythSystem.shell(
        f"exec 3</dev/fd/{ours}; {text}", stdin=PIPE, stdout=PIPE, pass_fds=[ours]
    ).start()
    os.close(ours)
    assert process.communicate(LARGE, timeout_s=0.05) is None
    assert process.outcome is None
    with pytest.raises(ValueError, match="already called"):
        process.communicate(b"more")
    os.close(theirs)
    assert process.communicate(timeout_s=60) == (b"firstsecondthird", b"")


def test_communicate_times_out_while_output_keeps_coming() -> None:
    process = MythSystem(["yes"], stdout=PIPE).start()
    assert process.communicate(timeout_s=0.05) is None
    process.kill()
    output = process.communicate()
    assert output is not None
    assert output.stdout is not None
    assert output.stdout.startswith(b"y\n")


def test_communicate_after_own_reads_and_writes() -> None:
    process = MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start()
    process.stdin.write(b"one\n")
    assert next(iter(process.stdout)) == b"one\n"
    process.stdin.write(b"two\n")
    assert process.communicate(b"three\n") == (b"two\nthree\n", b"")


def test_communicate_with_a_program_that_cannot_start() -> None:
    process = MythSystem(["/none"], stdin=PIPE, stdout=PIPE).start()
    assert process.communicate(LARGE) == (b"", b"")
    assert isinstance(process.outcome, NotStarted)
    process = MythSystem(["true"], stdin=PIPE, stdout=PIPE, cwd="/none").start()
    assert process.stdin.write(b"x") is False
    assert process.communicate() == (b"", b"")


def test_several_threads_communicate_with_programs_of_their_own() -> None:
    results: list[bool] = []

    def exchange(i: int) -> None:
        process = MythSystem(["cat"], stdin=PIPE, stdout=PIPE).start()
        data = b"%d" % i * 50_000
        results.append(process.communicate(data) == (data, b""))

    threads = [threading.Thread(target=exchange, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True] * 10


# Done.


def test_a_result_tells_success_and_exit_code() -> None:
    done = MythSystem(["true"]).run()
    assert (done.ok, done.exit_code) == (True, 0)
    assert done.check() is done
    done = MythSystem.shell("exit 3").run()
    assert (done.ok, done.exit_code) == (False, 3)
    assert MythSystem.shell("kill -9 $$").run().exit_code is None
    assert MythSystem(["/none"]).run().exit_code is None


def test_a_failed_check_raises_a_sentence() -> None:
    cases = {
        "sh: exit code 3: no tape": MythSystem.shell("echo tape; echo no tape >&2; exit 3"),
        "sh: killed by signal 9 (SIGKILL)": MythSystem.shell("kill -9 $$"),
        "sleep: ended because it exceeded its wall limit": MythSystem(
            ["sleep", "60"], limits=Limits(wall_s=0.01)
        ),
        "sh: exit code 1": MythSystem.shell("exit 1", stderr=INHERIT),
    }
    for sentence, system in cases.items():
        done = system.run()
        with pytest.raises(ProgramFailed) as failed:
            done.check()
        assert str(failed.value).endswith(sentence)
        assert failed.value.done is done
    with pytest.raises(ProgramFailed, match="/none: could not start: /none: no such file"):
        MythSystem(["/none"]).run().check()


def test_a_limit_that_was_breached_is_no_success_even_with_exit_code_0() -> None:
    text = "trap 'exit 0' TERM; while :; do sleep 0.01; done"
    done = MythSystem.shell(text, limits=Limits(wall_s=0.1)).run()
    assert done.outcome == Breached("wall")
    assert (done.ok, done.exit_code) == (False, 0)


# The program's surroundings.


@pytest.mark.parametrize("contain", [False, True])
def test_argv_0_may_differ_from_the_program(contain: bool) -> None:
    done = MythSystem(
        ["another-name", "-c", "echo $0"], executable="/bin/sh", contain=contain
    ).run()
    assert (done.outcome, done.stdout.text()) == (Exited(0), "another-name\n")
    done = MythSystem(["", "-c", "echo found"], executable="sh", contain=contain).run()
    assert (done.outcome, done.stdout.text()) == (Exited(0), "found\n")


def test_a_missing_executable_is_named() -> None:
    for name in "/none", "no-such-program":
        outcome = MythSystem(["true"], executable=name).run().outcome
        assert isinstance(outcome, NotStarted)
        assert outcome.errno == errno.ENOENT
        assert outcome.sentence.startswith(name)


@pytest.mark.parametrize("more", [{}, {"contain": True}, {"nice": 1}])
def test_passed_descriptors_keep_their_numbers(more: dict[str, object]) -> None:
    pipes = [os.pipe() for _ in range(3)]
    numbers = [each[1] for each in pipes]
    text = 'for fd; do echo "$fd" >/dev/fd/$fd; done; ls /proc/$$/fd'
    args = [str(each) for each in numbers]
    process = MythSystem.shell(text, *args, pass_fds=numbers, **more).start()
    for fd in numbers:
        # start() has returned after exec.
        os.close(fd)
    for reader, number in pipes:
        with open(reader, "rb") as file:
            assert file.read() == b"%d\n" % number
    assert set(process.done().stdout.text().split()) == {"0", "1", "2", *args}


def test_passed_descriptors_stay_as_they_are_here() -> None:
    fd = os.open(os.devnull, os.O_RDONLY)
    assert MythSystem(["true"], pass_fds=[fd, fd]).run().ok
    assert not os.get_inheritable(fd)
    os.close(fd)
    outcome = MythSystem(["true"], pass_fds=[fd]).run().outcome
    assert outcome == NotStarted(errno.EBADF, f"pass_fds: descriptor {fd} is not open")


def test_passed_descriptors_may_be_streams_as_well() -> None:
    ours, theirs = os.pipe()
    text = f"echo one; echo two >/dev/fd/{theirs}"
    process = MythSystem.shell(text, stdout=theirs, pass_fds=[theirs]).start()
    os.close(theirs)
    with open(ours, "rb") as file:
        assert file.read() == b"one\ntwo\n"
    assert process.wait() == Exited(0)


def test_variables_are_added_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORD", "ours")
    monkeypatch.setenv("OTHER", "kept")
    text = 'echo "$WORD $OTHER"'
    assert MythSystem.shell(text, env_add={"WORD": "new"}).run().stdout.text() == "new kept\n"
    assert MythSystem.shell(text, env_add={b"WORD": b"\xff"}).run().stdout.read() == b"\xff kept\n"
    monkeypatch.setenv("OTHER", "later")
    system = MythSystem.shell(text, env_add={"WORD": "new"})
    monkeypatch.setenv("OTHER", "latest")
    assert system.run().stdout.text() == "new latest\n"
    done = MythSystem(["/usr/bin/env"], env={"A": "1", "B": "2"}, env_add={"B": "3"}).run()
    assert done.stdout.text() == "A=1\nB=3\n"


def test_the_program_is_searched_in_an_added_path(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    done = MythSystem(["program"], env_add={"PATH": f"/bin:{tmp_path}"}).run()
    assert done.stdout.text() == "found\n"


def test_ctrl_c_during_communicate_leaves_the_program_to_the_caller() -> None:
    script = (
        "import os, signal, sys; from mythjobs.process import *\n"
        "process = MythSystem(['cat'], stdin=PIPE, stdout=PIPE).start()\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.1)\n"
        "def interrupt(number, frame): raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGALRM, interrupt)\n"
        "try: process.done()\n"
        "except KeyboardInterrupt: print(process.communicate(b'text'))\n"
    )
    source = str(Path(__file__).parents[3] / "src")
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": source},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "Output(stdout=b'text', stderr=b'')\n"
