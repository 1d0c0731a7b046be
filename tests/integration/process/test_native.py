"""The spawner in C: settings, records and results of starts (test_vfork.py has its errors)."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

from mythjobs.process.event_loop import EventLoop
from mythjobs.process.procfs import list_thread_children
from mythjobs.process.spawn import native
from mythjobs.process.spawn.errors import CannotStart
from mythjobs.process.spawn.native import NativeSpawner, NativeStart, Result
from mythjobs.process.spawn.native_request import StartRecord, StartRequest
from mythjobs.process.spawn.program import ChildSetup, Program, make_program

_PATH = {"PATH": "/usr/bin:/bin"}


@cache
def create_spawner() -> tuple[EventLoop, NativeSpawner]:
    if not Path(native.LIBRARY).exists():
        pytest.skip("the spawner is not compiled here")
    loop = EventLoop()
    return loop, NativeSpawner(loop, 1, 2)


def spawn(
    program: Program,
    record: StartRecord | None = None,
    cgroup_fd: int = -1,
    before_result: Callable[[StartRequest], None] = lambda _: None,
) -> NativeStart | None:
    """Return the result of a start. Raises its exception."""
    loop, spawner = create_spawner()
    results: list[Result] = []
    before_result(spawner.submit(program, cgroup_fd, record, results.append))
    while not results:
        loop.run_once()
    [result] = results
    if isinstance(result, Exception):
        raise result
    return result


def spawn_pid(program: Program) -> int:
    """Return the pid of a started program, of which nothing else is left to close."""
    started = spawn(program)
    assert started
    assert started.is_watched
    loop, _ = create_spawner()
    loop.watch_added(started.pidfd, lambda: None)
    loop.unwatch(started.pidfd)
    os.close(started.pidfd)
    return started.pid


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    os.close(ends[0])
    with suppress(OSError):
        os.close(ends[1])


def test_the_working_directory_may_be_a_descriptor(pipe: tuple[int, int], tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    program = sh("pwd -P", pipe[1])._replace(cwd=b"", cwd_fd=directory)
    assert read_output(spawn_pid(program), pipe) == os.fsencode(tmp_path) + b"\n"
    os.close(directory)


def test_a_removed_working_directory_may_be_a_descriptor(
    pipe: tuple[int, int], tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    directory = os.open(gone, os.O_PATH | os.O_DIRECTORY)
    gone.rmdir()
    program = sh("echo ran", pipe[1])._replace(cwd=b"", cwd_fd=directory)
    # The shell complains about its directory.
    assert read_output(spawn_pid(program), pipe).endswith(b"ran\n")
    os.close(directory)


def test_a_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "LIBRARY", "libm.so.6")
    with pytest.raises(OSError, match="compiled from another version; install mythjobs again"):
        NativeSpawner(EventLoop(), 1, 1)


def test_functions_of_a_host_program_cannot_replace_those_of_the_library() -> None:
    # The dynamic linker prefers those of the program to exported ones of the same name.
    create_spawner()
    library = ctypes.CDLL(native.LIBRARY)
    assert hasattr(library, "spawner_submit")
    for name in ("spawn_child", "create_pipes", "close_pipes", "await_end"):
        assert not hasattr(library, name), name


def test_starts_use_more_threads_while_all_are_busy(tmp_path: Path) -> None:
    """Each start record goes into a pipe that nobody reads, so its thread waits."""
    loop = EventLoop()
    before = len(os.listdir("/proc/self/task"))
    spawner = NativeSpawner(loop, 1, 3)
    null = os.open("/dev/null", os.O_RDWR)
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with suppress(BlockingIOError):
        while True:
            os.write(write_end, bytes(4096))
    os.set_blocking(write_end, True)
    results: list[Result] = []
    program = make_program(["true"], _PATH, "/", null, null, null)
    for _ in range(5):
        spawner.submit(program, -1, StartRecord(write_end, b"record"), results.append)
    assert len(os.listdir("/proc/self/task")) == before + 3
    os.set_blocking(read_end, False)
    while len(results) < 5:
        with suppress(BlockingIOError):
            os.read(read_end, 2**20)
        loop.run_once()
    for each in results:
        assert isinstance(each, NativeStart)
        os.waitpid(each.pid, 0)
        os.close(each.pidfd)
    for fd in (null, read_end, write_end):
        os.close(fd)


def sh(text: str, fd: int) -> Program:
    return make_program(["sh", "-c", text], _PATH, "/", fd, fd, fd)


def read_output(pid: int, pipe: tuple[int, int]) -> bytes:
    os.close(pipe[1])
    with open(os.dup(pipe[0]), "rb") as file:
        output = file.read()
    assert os.waitpid(pid, 0)[1] == 0
    return output


def test_settings_hold_from_the_first_instruction(pipe: tuple[int, int]) -> None:
    limits = {resource.RLIMIT_NOFILE: (100, 200), resource.RLIMIT_CORE: (0, -1)}
    setup = ChildSetup(rlimits=limits, nice=7, io="idle", umask=0o027)
    text = "ulimit -Sn; ulimit -Hn; nice; umask; grep core /proc/$$/limits; ls /proc/$$/fd"
    pid = spawn_pid(sh(text, pipe[1])._replace(setup=setup))
    lines = read_output(pid, pipe).split(b"\n")
    assert lines[:4] == [b"100", b"200", b"7", b"0027"]
    assert lines[4].split()[4:6] == [b"0", b"unlimited"]
    assert lines[5:] == [b"0", b"1", b"2", b""]


def test_no_signal_is_blocked_or_ignored(pipe: tuple[int, int]) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
    try:
        pid = spawn_pid(sh("grep -E '^Sig(Blk|Ign)' /proc/self/status", pipe[1]))
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGUSR2])
        signal.signal(signal.SIGUSR1, before)
    masks = [int(line.split()[1], 16) for line in read_output(pid, pipe).splitlines()]
    # Signals 32 and 33 are glibc's own: posix_spawn(3), with which make starts programs, ignores
    # them, and sigaction(3) refuses them.
    assert [mask & ~(3 << 31) for mask in masks] == [0, 0]


def test_the_record_is_written_before_the_start(tmp_path: Path, pipe: tuple[int, int]) -> None:
    path = tmp_path / "journal"
    fd = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    started = spawn(sh(f"cat {path}", pipe[1]), StartRecord(fd, b"start\n"))
    os.close(fd)
    assert started
    os.close(started.pidfd)
    assert read_output(started.pid, pipe) == b"start\n"


def test_nothing_starts_without_its_record(tmp_path: Path, pipe: tuple[int, int]) -> None:
    fd = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(CannotStart, match="writing the reaper's journal: No space left") as refused:
        spawn(sh(f"touch {tmp_path}/ran", pipe[1]), StartRecord(fd, b"start\n"))
    os.close(fd)
    assert refused.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_start_that_waits_can_be_cancelled(tmp_path: Path, pipe: tuple[int, int]) -> None:
    ours, theirs = os.pipe()
    fill(theirs)

    def cancel(request: StartRequest) -> None:
        # The thread waits until the pipe, in place of a journal, has space.
        request.cancel()
        os.read(ours, 65536)

    program = sh(f"touch {tmp_path}/ran", pipe[1])
    assert spawn(program, StartRecord(theirs, b"start\n"), before_result=cancel) is None
    assert list(tmp_path.iterdir()) == []
    os.close(ours)
    os.close(theirs)


def fill(fd: int) -> None:
    os.set_blocking(fd, False)
    with suppress(BlockingIOError):
        while True:
            os.write(fd, bytes(4096))
    os.set_blocking(fd, True)


def test_programs_belong_to_no_thread_of_python(pipe: tuple[int, int]) -> None:
    # The children of the main thread count as orphans (descendants.py).
    pid = spawn_pid(sh("read line", pipe[0]))
    assert pid not in list_thread_children(os.getpid(), threading.get_native_id())
    os.write(pipe[1], b"\n")
    assert os.waitpid(pid, 0)[1] == 0


def test_many_starts_at_once(pipe: tuple[int, int]) -> None:
    loop, spawner = create_spawner()
    results: list[Result] = []
    for _ in range(200):
        spawner.submit(sh("exit 3", pipe[0]), -1, None, results.append)
    while len(results) < 200:
        loop.run_once()
    for each in results:
        assert isinstance(each, NativeStart)
        loop.watch_added(each.pidfd, lambda: None)
        loop.unwatch(each.pidfd)
        os.close(each.pidfd)
        assert os.waitstatus_to_exitcode(os.waitpid(each.pid, 0)[1]) == 3
