"""Starting one program with vfork and exec, and reading exec's result. The only spawning code."""

from __future__ import annotations

import _posixsubprocess
import errno
import mmap
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Final

from mythjobs.process.spawn.errors import CannotStart, escape_undecodable, setup_error
from mythjobs.process.spawn.program import NO_SETUP, Program, candidate_paths, exec_error
from mythjobs.process.spawn.stub import reap, spawn_via_stub

# The signature differs between versions, and typeshed has only the one that subprocess uses.
_vfork_exec: Final[Callable[..., int]] = _posixsubprocess.fork_exec
_ERROR_BYTES: Final = 4096
_PROBES: Final = 8

# Start a program and return its pid once exec has succeeded.
Spawn = Callable[[Program], int]


class Vfork:
    """Spawns from one thread; `spawn` must not run in two threads at a time.

    `_posixsubprocess` is CPython's private module; subprocess.Popen on top of it costs 50 %
    more. Other threads keep running while the kernel suspends this one until the child's exec
    (CPython gh-104372). An exec error is therefore written before fork_exec returns, and a
    memfd can carry it. A pipe, as in subprocess, takes four system calls, and at each of them
    the interpreter may switch to another of our threads.
    """

    def __init__(self) -> None:
        self._error_fd: int = os.memfd_create("exec-error", os.MFD_CLOEXEC)
        os.ftruncate(self._error_fd, _ERROR_BYTES)
        self._error = mmap.mmap(self._error_fd, _ERROR_BYTES)
        # fork_exec closes this in the child, where subprocess passes the pipe's other end.
        self._unused_fd = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

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
        os.close(self._unused_fd)


# Python 3.14 removed the last argument (gh-121381).
_ALLOW_VFORK: Final[tuple[bool, ...]] = (True,) if sys.version_info < (3, 14) else ()


def _parse_fork_exec_error(error: bytes, program: Program) -> CannotStart:
    """`error` is "exception:errno in hex:step", as fork_exec writes it in the child."""
    kind, number, step = error.split(b":", 2)
    if kind != b"OSError":
        return CannotStart(0, f"fork_exec failed: {error.decode('ascii', 'replace')}")
    return _start_error(int(number, 16), step.startswith(b"noexec"), program)


def _start_error(number: int, before_exec: bool, program: Program) -> CannotStart:
    if before_exec and number == errno.EBADF:
        return setup_error(OSError(number, ""), "standard streams or pass_fds")
    if before_exec:
        # Of the other steps before exec, only chdir(2) can fail because of the job.
        directory = escape_undecodable(os.fsdecode(program.cwd))
        return setup_error(OSError(number, ""), f"working directory {directory}")
    return exec_error(number, program)


def spawn_by_popen(program: Program) -> int:
    """Spawn through subprocess, for a Python whose private fork_exec differs from ours."""
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
        # `filename` is the directory if chdir failed, else the program.
        directory = program.directory
        before_exec = error.filename == directory and not os.access(directory or b".", os.X_OK)
        raise _start_error(number, before_exec, program) from None
    # Otherwise Popen would reap our child when the next one starts.
    process.returncode = 0
    return process.pid


def _fd_or_inherit(fd: int) -> int | None:
    return None if fd < 0 else fd


def _vfork_works() -> bool:
    """Probe fork_exec without starting a program.

    Several probes: if the kernel did not suspend us, an error would arrive in time only by chance.
    """
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    vfork = Vfork()
    try:
        return all(_reports_enotdir(vfork, null) for _ in range(_PROBES))
    finally:
        vfork.close()
        os.close(null)


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
    """Return a factory that makes the `spawn` function of each thread.

    `spawn` returns the pid after a successful exec; the child leads a session of its own and has
    default signal handling. `spawn` raises CannotStart if this program cannot be started (final),
    and OSError if the machine lacks processes, memory or descriptors.
    """
    if _vfork_works():
        return lambda: Vfork().spawn
    return lambda: spawn_by_popen


def reset_signals() -> None:
    """Undo signals that were ignored or blocked at our start (nohup), for the children."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in signal.valid_signals() - _IGNORED_BY_PYTHON:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


# Python ignores these so that write() fails instead of killing the process; fork_exec restores
# them in the child (restore_signals).
_IGNORED_BY_PYTHON: Final = {signal.SIGPIPE, signal.SIGXFSZ}
