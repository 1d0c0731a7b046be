"""Start of one program with vfork and exec, and report of exec's result. All programs are started
by the functions in this module."""

from __future__ import annotations

import _posixsubprocess
import errno
import mmap
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from mythjobs.process.quick_calls import FIRST_FD, move_above_streams
from mythjobs.process.spawn.errors import CannotStart, setup_error
from mythjobs.process.spawn.program import (
    NO_SETUP,
    Program,
    candidate_paths,
    directory_error,
    exec_error,
)
from mythjobs.process.spawn.stub import reap, spawn_via_stub

# Typed loosely, because the signature differs between versions of Python.
_vfork_exec: Final[Callable[..., int]] = _posixsubprocess.fork_exec
_ERROR_BYTES: Final = 4096
_PROBES: Final = 8

# Function that starts a program and returns its pid once exec has succeeded.
Spawn = Callable[[Program], int]


class Vfork:
    """Spawns programs with `_posixsubprocess.fork_exec`, CPython's private function under
    subprocess.Popen, which costs 50 % more. `spawn` must not run in two threads at a time.

    vfork suspends the calling thread, but not others, until the child's exec (CPython gh-104372).
    So the child has written an exec error before fork_exec returns, and a memfd can hold it. A
    pipe, as in subprocess, takes four system calls, and at each of them the interpreter may switch
    to another thread.
    """

    def __init__(self) -> None:
        """Create the memfd for exec errors. Raises OSError if descriptors or memory are lacking."""
        self._unused_fd = -1
        fd: int = os.memfd_create("exec-error", os.MFD_CLOEXEC)
        self._error_fd = move_above_streams(fd)
        try:
            os.ftruncate(self._error_fd, _ERROR_BYTES)
            self._error = _map_file(self._error_fd)
        except OSError:
            os.close(self._error_fd)
            raise
        try:
            self._open_unused_fd()
        except OSError:
            self.close()
            raise

    def _open_unused_fd(self) -> None:
        # Argument for the read end of the error pipe, which fork_exec closes in the child. There is
        # no pipe here, so a descriptor of /dev/null takes its place.
        self._unused_fd = move_above_streams(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def spawn(self, program: Program) -> int:
        if program.setup is not NO_SETUP:
            return spawn_via_stub(program, self.spawn)
        keep_fds: tuple[int, ...] = (self._error_fd,)
        if program.pass_fds:
            keep_fds = tuple(sorted((self._error_fd, *program.pass_fds)))
        pid = _vfork_exec(
            program.argv, candidate_paths(program), True, keep_fds, program.directory, program.env,
            program.stdin, -1, -1, program.stdout, -1, program.stderr, self._unused_fd,
            self._error_fd, True, program.session, -1, None, None, None, program.umask, None,
            *_ALLOW_VFORK,
        )  # fmt: skip
        if not self._error[0]:
            return pid
        reap(pid)
        error = bytes(self._error[: os.lseek(self._error_fd, 0, os.SEEK_CUR)])
        self._error[:] = bytes(_ERROR_BYTES)
        os.lseek(self._error_fd, 0, os.SEEK_SET)
        raise _parse_fork_exec_error(error, program)

    def close(self) -> None:
        self._error.close()
        os.close(self._error_fd)
        if self._unused_fd >= 0:
            os.close(self._unused_fd)


def _map_file(fd: int) -> mmap.mmap:
    """Map a memfd into memory. Raises OSError."""
    held = []
    try:
        # mmap() keeps a copy of the descriptor, with the lowest number that is free. Occupy those
        # of closed standard streams (move_above_streams()) meanwhile.
        while (copy := os.dup(fd)) < FIRST_FD:
            held.append(copy)
        os.close(copy)
        return mmap.mmap(fd, _ERROR_BYTES)
    finally:
        for each in held:
            os.close(each)


# Last argument of fork_exec, `allow_vfork`. Python 3.14 removed it (CPython gh-121381).
_ALLOW_VFORK: Final[tuple[bool, ...]] = (True,) if sys.version_info < (3, 14) else ()


def _parse_fork_exec_error(error: bytes, program: Program) -> CannotStart:
    """Return the exception for `error`, which fork_exec wrote in the child in the form
    "exception:errno in hex:step"."""
    kind, number, step = error.split(b":", 2)
    if kind != b"OSError":
        return CannotStart(0, f"fork_exec failed: {error.decode('ascii', 'replace')}")
    return _start_error(int(number, 16), step.startswith(b"noexec"), program)


def _start_error(number: int, before_exec: bool, program: Program) -> CannotStart:
    if before_exec and number == errno.EBADF:
        return setup_error(OSError(number, ""), "standard streams or pass_fds")
    if before_exec:
        # The failed step is chdir(2): no other step before exec can fail because of the job.
        return directory_error(number, program)
    return exec_error(number, program)


def spawn_by_popen(program: Program) -> int:
    """Start a program with subprocess.Popen, for versions of Python in which fork_exec does not
    work as Vfork expects."""
    # Imported for these versions only: it would stay in the memory of each reaper.
    import subprocess

    if program.setup is not NO_SETUP:
        return spawn_via_stub(program, spawn_by_popen)
    try:
        process = subprocess.Popen(
            program.argv,
            executable=program.executable or None,
            env=dict(pair.split(b"=", 1) for pair in program.env),
            cwd=program.directory,
            stdin=_fd_or_inherit(program.stdin),
            stdout=_fd_or_inherit(program.stdout),
            stderr=_fd_or_inherit(program.stderr),
            start_new_session=program.session,
            umask=program.umask,
            pass_fds=program.pass_fds,
        )
    except OSError as error:
        number = error.errno or 0
        # Popen sets `filename` to the directory if chdir failed, else to the program.
        directory = program.directory
        before_exec = error.filename == directory and not os.access(directory or b".", os.X_OK)
        raise _start_error(number, before_exec, program) from None
    # Mark the Popen object as finished, so that subprocess does not reap this child later.
    process.returncode = 0
    return process.pid


def _fd_or_inherit(fd: int) -> int | None:
    return None if fd < 0 else fd


def _vfork_works() -> bool:
    """Return whether fork_exec works as Vfork expects: it must report the error for a path that
    cannot exist.

    It is tried _PROBES times: if vfork does not suspend the thread, the error arrives in time only
    by chance.
    """
    vfork = Vfork()
    try:
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            return all(_reports_enotdir(vfork, null) for _ in range(_PROBES))
        finally:
            os.close(null)
    finally:
        vfork.close()


def _reports_enotdir(vfork: Vfork, null: int) -> bool:
    try:
        pid = vfork.spawn(Program([b"/dev/null/none"], [], "", b"/", null, null, null))
    except CannotStart as error:
        return error.errno == errno.ENOTDIR
    except (TypeError, ValueError):
        return False
    reap(pid)
    return False


def choose_spawn() -> Callable[[], Spawn]:
    """Return a factory that makes one `spawn` function per thread.

    `spawn` returns the pid after a successful exec, of a child with default signal handling. It
    raises CannotStart if the program can never be started, and OSError if the machine lacks
    processes, memory or descriptors now.
    """
    if _vfork_works():
        return lambda: Vfork().spawn
    return lambda: spawn_by_popen


def reset_signals() -> None:
    """Unblock all signals, and reset those that were ignored when this process was started (as by
    nohup), so that children do not inherit this."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - _IGNORED_BY_PYTHON:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


# Signals that Python itself ignores, so that write() fails instead of killing the process. They
# need no reset in this process: fork_exec resets them in the child (restore_signals).
_IGNORED_BY_PYTHON: Final = {signal.SIGPIPE, signal.SIGXFSZ}
