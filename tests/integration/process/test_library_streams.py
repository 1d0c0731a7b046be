"""Standard streams of MythSystem: writing stdin, reading pipes, buffers with head and tail."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from mythjobs.process import (
    ALL,
    PIPE,
    Exited,
    MythSystem,
    NotStarted,
    Signalled,
    Stopped,
)
from tests.support.cpu_time import cpu_limit

TEN_MB = bytes(range(256)) * 40_000


def test_ten_megabytes_on_all_streams_do_not_deadlock() -> None:
    with MythSystem(["tee", "/dev/stderr"], stdin=PIPE).start() as process:
        assert process.stdin.write(TEN_MB)
    done = process.done()
    assert done.outcome == Exited(0)
    assert done.stdout.read() == done.stderr.read() == TEN_MB


def test_ten_megabytes_through_pipes_do_not_deadlock() -> None:
    system = MythSystem(["tee", "/dev/stderr"], stdin=PIPE, stdout=PIPE, stderr=PIPE)
    with system.start() as process:
        assert process.stdin.write(TEN_MB)
        process.stdin.close()
        read: list[bytes] = []
        other = threading.Thread(target=lambda: read.append(b"".join(process.stderr)))
        other.start()
        assert b"".join(process.stdout) == TEN_MB
        other.join()
        assert read == [TEN_MB]
        assert process.wait() == Exited(0)


def test_write_returns_false_when_the_child_stops_reading() -> None:
    with MythSystem(["head", "-c", "10"], stdin=PIPE).start() as process:
        assert not process.stdin.write(TEN_MB)
    assert process.done().stdout.read() == TEN_MB[:10]


def test_write_returns_false_with_the_default_sigpipe_handler() -> None:
    script = (
        "import signal; signal.signal(signal.SIGPIPE, signal.SIG_DFL)\n"
        "from mythjobs.process import MythSystem, PIPE\n"
        "process = MythSystem(['true'], stdin=PIPE).start()\n"
        "process.wait()\n"
        "print(process.stdin.write(b'x'), process.stdin.write(b'x' * 10**6))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert done.stdout == b"False False\n"


def test_input_from_a_file_and_output_appended_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "in").write_bytes(b"new\n")
    (tmp_path / "out").write_bytes(b"old\n")
    done = MythSystem(["cat"], stdin=tmp_path / "in", stdout=tmp_path / "out").run()
    assert done.outcome == Exited(0)
    assert (tmp_path / "out").read_bytes() == b"old\nnew\n"
    with pytest.raises(ValueError, match="not BUFFERED"):
        _ = done.stdout


def test_a_file_that_cannot_be_opened_is_an_outcome(tmp_path: Path) -> None:
    for more in ({"stdin": tmp_path / "no"}, {"stdout": tmp_path / "no" / "no"}):
        outcome = MythSystem(["true"], **more).run().outcome  # type: ignore[arg-type]
        assert isinstance(outcome, NotStarted)
        assert "No such file" in outcome.sentence


def test_open_files_and_descriptors_are_accepted(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    with (tmp_path / "in").open("w+b") as file:
        file.write(b"words")
        file.seek(0)
        assert MythSystem(["cat"], stdin=file, stdout=theirs).run().outcome == Exited(0)
    os.close(theirs)
    assert os.read(ours, 100) == b"words"
    os.close(ours)


def test_only_the_standard_descriptors_are_inherited() -> None:
    leak = os.open(os.devnull, os.O_RDONLY)
    os.set_inheritable(leak, True)
    done = MythSystem.shell("ls /proc/$$/fd").run()
    os.close(leak)
    assert done.stdout.text().split() == ["0", "1", "2"]


def test_our_own_streams_can_be_inherited() -> None:
    script = (
        "from mythjobs.process import *\n"
        "MythSystem(['cat'], stdin=INHERIT, stdout=INHERIT, stderr=NULL).run()\n"
        "MythSystem.shell('echo err >&2', stderr=MERGED, stdout=INHERIT).run()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], input=b"in\n", capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"in\nerr\n", b"")


def test_head_and_tail_are_kept_and_the_rest_is_counted() -> None:
    done = MythSystem(["seq", "100000"], keep=(100, 200)).run()
    whole = b"".join(b"%d\n" % i for i in range(1, 100_001))
    out = done.stdout
    assert out.written_bytes == len(whole)
    assert out.dropped_bytes == len(whole) - 300
    assert (out.head(), out.tail()) == (whole[:100], whole[-200:])
    assert out.read() == whole[:100] + whole[-200:]
    assert (out.head(5), out.tail(5)) == (whole[:5], whole[-5:])


@pytest.mark.parametrize("keep", [(0, 0), (0, 1000), (1000, 0), (70_000, 70_000), ALL])
def test_kept_bytes_are_correct_for_every_head_and_tail(keep: tuple[int, int | None]) -> None:
    data = os.urandom(300_000)
    out = MythSystem(["cat"], stdin=data, keep=keep).run().stdout
    if keep == ALL:
        assert out.read() == data
        return
    head, tail = keep[0], keep[1] or 0
    assert out.read() == data[:head] + data[len(data) - tail :]
    assert out.dropped_bytes == len(data) - head - tail


def test_several_readers_of_a_buffer_each_get_all_of_it() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    seen: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: seen.append(b"".join(process.stdout))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    process.stdin.write(TEN_MB[:500_000])
    live = iter(process.stdout)
    assert next(live)
    process.stdin.write(TEN_MB[500_000:1_000_000])
    process.stdin.close()
    for thread in threads:
        thread.join()
    assert seen == [TEN_MB[:1_000_000]] * 3


def test_lines_are_joined_across_chunks() -> None:
    with MythSystem.shell("printf 'a\\nbc'; printf 'd\\ne'", stdout=PIPE).start() as process:
        assert list(process.stdout.lines()) == [b"a\n", b"bcd\n", b"e"]


def test_closing_stdout_sends_sigpipe_to_the_child() -> None:
    process = MythSystem(["yes"], stdout=PIPE).start()
    assert process.stdout.read_some()  # type: ignore[union-attr]
    process.stdout.close()
    assert process.wait() == Signalled(13)


@pytest.mark.slow
def test_bytes_that_a_full_disk_does_not_take_are_counted_as_dropped() -> None:
    # A limit on the size of our files has the effect of a full disk.
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, before[1]))
    try:
        flood = MythSystem.shell("ulimit -f unlimited; head -c 3000000 /dev/zero").run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert flood.outcome == Exited(0)
    assert flood.stdout.written_bytes == 3_000_000
    assert flood.stdout.dropped_bytes >= 2_800_000


@pytest.mark.slow
def test_a_long_line_takes_linear_time() -> None:
    size = 24 * 2**20
    zeros = MythSystem(["head", "-c", str(size), "/dev/zero"], stdout=PIPE)
    # Quadratic: over 2 s.
    with zeros.start() as process, cpu_limit(0.5):
        assert [len(line) for line in process.stdout.lines()] == [size]


def test_kept_output_has_lines() -> None:
    done = MythSystem.shell("printf 'a\\nb'; sleep 0.01; printf 'c\\n\\nd'").run()
    assert list(done.stdout.lines()) == [b"a\n", b"bc\n", b"\n", b"d"]
    assert list(done.stderr.lines()) == []


def test_lines_end_where_bytes_were_dropped() -> None:
    done = MythSystem(["seq", "100"], keep=(4, 5)).run()
    assert list(done.stdout.lines()) == [b"1\n", b"2\n", b"\n", b"100\n"]
    done = MythSystem(["seq", "100"], keep=(5, 6)).run()
    assert list(done.stdout.lines()) == [b"1\n", b"2\n", b"3", b"9\n", b"100\n"]


def test_lines_of_a_running_program_arrive() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    lines = process.stdout.lines()
    for word in b"a\n", b"b\n":
        process.stdin.write(word)
        assert next(lines) == word
    process.stdin.close()
    assert list(lines) == []


@pytest.mark.parametrize("first", ["stdout", "stderr"])
def test_reading_one_pipe_does_not_deadlock_when_the_other_fills(first: str) -> None:
    text = "head -c 1000000 /dev/zero >&2; echo out; head -c 1000000 /dev/zero; echo err >&2"
    with MythSystem.shell(text, stdout=PIPE, stderr=PIPE).start() as process:
        pipes = {"stdout": process.stdout, "stderr": process.stderr}
        other = pipes["stderr" if first == "stdout" else "stdout"]
        read = {first: pipes[first].read(), "other": other.read()}
        assert sorted(map(len, read.values())) == [1_000_004, 1_000_004]
        assert process.wait() == Exited(0)


def test_writing_and_reading_lines_in_turns() -> None:
    text = 'while read line; do echo "$line" >&2; echo "$line"; done'
    with MythSystem.shell(text, stdin=PIPE, stdout=PIPE, stderr=PIPE).start() as process:
        lines = process.stdout.lines()
        for i in range(500):
            process.stdin.write(b"%0100d\n" % i)
            assert next(lines) == b"%0100d\n" % i
        process.stdin.close()
        assert process.stderr.read() == b"".join(b"%0100d\n" % i for i in range(500))


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 3_000_000])
def test_input_given_as_bytes_is_a_pipe(size: int) -> None:
    data = os.urandom(size)
    done = MythSystem.shell("[ -p /dev/stdin ] && cat", stdin=data).run()
    assert done.outcome == Exited(0)
    assert done.stdout.read() == data


def test_input_that_the_program_does_not_read_is_no_error() -> None:
    done = MythSystem(["head", "-c", "3"], stdin=b"x" * 3_000_000).run()
    assert (done.outcome, done.stdout.read()) == (Exited(0), b"xxx")
    process = MythSystem(["sleep", "600"], stdin=b"x" * 3_000_000).start()
    assert process.kill() == Stopped("user")


@pytest.mark.parametrize("kind", [bytearray, memoryview])
def test_input_may_be_any_bytes(kind: type[bytearray] | type[memoryview]) -> None:
    data = bytearray(b"text")
    system = MythSystem(["cat"], stdin=kind(data))
    data[:] = b"gone"
    assert system.run().stdout.read() == b"text"
