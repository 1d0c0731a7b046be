"""Spawner in C (spawner.c): its threads start programs without the interpreter's lock.

A thread in Python needs the lock before, between and after its system calls, and the event loop
needs it too: the hand-over of one start cost 70 µs more than the start itself. The child applies
all settings itself, so no stub is needed.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
import struct
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.process.event_loop import EventLoop
from mythjobs.process.spawn.errors import CannotStart, setup_error
from mythjobs.process.spawn.program import (
    Program,
    candidate_paths,
    directory_error,
    exec_error,
    parse_io_class,
)
from mythjobs.process.spawn.stub import STEPS

LIBRARY: Final = os.path.join(os.path.dirname(__file__), "mythjobs-spawner.so")
# Layouts of struct request and struct reply in child.h.
_REQUEST: Final = struct.Struct("=2q16i")
_IS_CANCELLED_AT: Final = 16
_REPLY: Final = struct.Struct("=5q6i")
_RLIMIT: Final = struct.Struct("=qqq")
_REPLIES_BYTES: Final = 64 * _REPLY.size
# The standard streams of a program must have higher numbers in this process.
_FIRST_FD: Final = 3


class StartRecord(NamedTuple):
    """Bytes to append to the file `fd` before the program is started."""

    fd: int
    data: bytes


class NativeStart(NamedTuple):
    """A program that runs. `pidfd` is -1 if no descriptor was free for it; with `is_watched`, the
    event loop's epoll reports its exit. `spawn_ms` is the time on CLOCK_BOOTTIME just before."""

    pid: int
    pidfd: int
    is_watched: bool
    spawn_ms: int
    spawned_at: Now


Report = Callable[[NativeStart | Exception | None], None]


class StartRequest:
    """A start that has been submitted. Its memory must live until the reply."""

    __slots__ = ("_data", "_pin", "address", "program", "report")

    def __init__(self, data: bytearray, program: Program, report: Report) -> None:
        self._data = data
        self._pin = ctypes.c_char.from_buffer(data)
        self.address = ctypes.addressof(self._pin)
        self.program = program
        self.report = report

    def cancel(self) -> None:
        """Do not start the program, unless its process exists already."""
        self._data[_IS_CANCELLED_AT] = 1


class NativeSpawner:
    """Starts programs in native threads, and reports each result in the event loop's thread."""

    def __init__(
        self, loop: EventLoop, threads: int, max_threads: int, *, embedded: bool = False
    ) -> None:
        """threads: how many to start now; more are started when all are busy.
        embedded: the threads are in a host program, so they also block SIGCHLD.

        Raises OSError if the library is missing, or if threads or descriptors are lacking.
        """
        # PyDLL keeps the interpreter's lock: the functions never wait long.
        library = ctypes.PyDLL(LIBRARY)
        library.spawner_create.restype = ctypes.c_void_p
        self._submit = library.spawner_submit
        self._submit.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        self._submit.restype = None
        self._reply_fd, self._write_fd = os.pipe2(os.O_CLOEXEC)
        self._loop = loop
        self._numbers = itertools.count(1)
        self._requests: dict[int, StartRequest] = {}
        try:
            self._spawner = library.spawner_create(
                threads, max_threads, embedded, loop.epoll_fd, self._write_fd
            )
            if self._spawner is None:
                raise OSError(errno.EAGAIN, "threads of the spawner")
            loop.watch(self._reply_fd, self._read_replies)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the descriptors, in a forked child, which has none of the threads. The spawner must
        not be used afterwards."""
        os.close(self._reply_fd)
        os.close(self._write_fd)

    def submit(
        self,
        program: Program,
        cgroup_fd: int,
        record: StartRecord | None,
        report: Report,
    ) -> StartRequest:
        """Start `program`, once `record` is written, and call `report` with the result: None if the
        start was cancelled, CannotStart, or OSError if the machine lacks something. Thread-safe.

        `cgroup_fd` is the directory of the first of the setup's cgroups, or -1.
        """
        number = next(self._numbers)
        request = StartRequest(_encode(number, program, cgroup_fd, record), program, report)
        self._requests[number] = request
        self._submit(self._spawner, request.address)
        return request

    def _read_replies(self) -> None:
        replies = os.read(self._reply_fd, _REPLIES_BYTES)
        for reply in _REPLY.iter_unpack(replies):
            number, spawn_ms, boot_ms, run_ms, wall_ms, pid, pidfd, is_watched, error, step, _ = (
                reply
            )
            request = self._requests.pop(number)
            if pid >= 0:
                born = Now(wall_ms, boot_ms, run_ms)
                request.report(NativeStart(pid, pidfd, bool(is_watched), spawn_ms, born))
            else:
                request.report(_make_error(chr(step), error, request.program))


def _encode(number: int, program: Program, cgroup_fd: int, record: StartRecord | None) -> bytearray:
    setup = program.setup
    files: Sequence[bytes] = candidate_paths(program)
    joins = [os.fsencode(each) for each in setup.cgroup_files]
    rlimits = setup.rlimits or {}
    ioprio = -1
    if setup.io:
        io_class, level = parse_io_class(setup.io)
        ioprio = io_class << 13 | level
    umask = program.umask if setup.umask < 0 else setup.umask
    data = bytearray(
        _REQUEST.pack(
            number, 0, 0, record.fd if record else -1, len(record.data) if record else 0,
            program.stdin, program.stdout, program.stderr, umask, setup.nice, ioprio, cgroup_fd,
            len(joins), len(rlimits), len(files), len(program.argv), len(program.env),
            program.cwd_fd,
        )
    )  # fmt: skip
    for which, (soft, hard) in rlimits.items():
        data += _RLIMIT.pack(which, soft, hard)
    if record:
        data += record.data
    data += b"\0".join([program.cwd, *joins, *files, *program.argv, *program.env, b""])
    return data


def can_start(program: Program) -> bool:
    """Return whether the spawner supports the program's settings."""
    return (
        program.setup.user is None
        and not program.pass_fds
        and program.session
        and min(program.stdin, program.stdout, program.stderr) >= _FIRST_FD
    )


def _make_error(step: str, number: int, program: Program) -> Exception | None:
    """Return the exception for a failed step of child.c; None for a cancelled start."""
    error = OSError(number, os.strerror(number))
    match step:
        case "c":
            return None
        case "f":
            return error
        case "w":
            return setup_error(error, "writing the reaper's journal")
        case "k":
            return CannotStart(0, "starting the program: its process was killed before exec")
        case "s":
            return setup_error(error, "standard streams or pass_fds")
        case "d":
            return directory_error(number, program)
        case "e":
            return exec_error(number, program)
        case _:
            return setup_error(error, STEPS.get(step, f"child setup ({step})"))
