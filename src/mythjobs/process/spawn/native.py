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
from collections.abc import Callable
from resource import struct_rusage
from typing import Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.process.event_loop import EventLoop, log_exception
from mythjobs.process.quick_calls import create_pipe
from mythjobs.process.spawn.errors import CannotStart, setup_error
from mythjobs.process.spawn.native_request import (
    NO_PIPES,
    REQUEST_BYTES,
    OutputPipes,
    StartRecord,
    StartRequest,
)
from mythjobs.process.spawn.program import Program, directory_error, exec_error
from mythjobs.process.spawn.stub import STEPS

LIBRARY: Final = os.path.join(os.path.dirname(__file__), "mythjobs-spawner.so")
# Layout of struct reply in child.h.
_REPLY: Final = struct.Struct("=11q12i")
_REPLIES_BYTES: Final = 64 * _REPLY.size
# The standard streams of a program must have higher numbers in this process.
_FIRST_FD: Final = 3


class NativeStart(NamedTuple):
    """A program that was started. `pidfd` is -1 if no descriptor was free for it; with
    `is_watched`, the event loop's epoll reports its exit. `spawn_ms` is the time on CLOCK_BOOTTIME
    just before. `pipes` are the read ends of the pipes that the spawner created, -1 for one that it
    has read to its end. `end` is set if the program has ended."""

    pid: int
    pidfd: int
    is_watched: bool
    spawn_ms: int
    spawned_at: Now
    pipes: tuple[int, ...] = ()
    end: NativeEnd | None = None


class NativeEnd(NamedTuple):
    """End of a program that the spawner has reaped: status and usage of wait4(2), and what was read
    from each pipe."""

    status: int
    rusage: struct_rusage
    output: list[bytes]


Result = NativeStart | Exception | None
Report = Callable[[Result], None]


class NativeSpawner:
    """Starts programs in native threads, and reports each result in the event loop's thread."""

    def __init__(
        self, loop: EventLoop, threads: int, max_threads: int, *, embedded: bool = False
    ) -> None:
        """threads: how many to start now; more are started when all are busy.
        embedded: the threads are in a host program, so they also block SIGCHLD, and never wait for
        the end of a program, whose orphans become children of another process.

        Raises OSError if the library is missing or of another version, or if threads or descriptors
        are lacking.
        """
        # PyDLL keeps the interpreter's lock: the functions never wait long.
        library = ctypes.PyDLL(LIBRARY)
        check_layout(library, "spawner_sizes", (REQUEST_BYTES, _REPLY.size))
        library.spawner_create.restype = ctypes.c_void_p
        self._submit = library.spawner_submit
        self._submit.argtypes = (ctypes.c_void_p, ctypes.c_void_p)
        self._submit.restype = None
        self._reply_fd, self._write_fd = create_pipe()
        self._loop = loop
        self._numbers = itertools.count(1)
        self._requests: dict[int, tuple[StartRequest, Report]] = {}
        self._orphans_fd = -1 if embedded else _open_orphans()
        try:
            self._spawner = library.spawner_create(
                threads, max_threads, embedded, loop.epoll_fd, self._write_fd, self._orphans_fd
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
        if self._orphans_fd >= 0:
            os.close(self._orphans_fd)

    def submit(
        self,
        program: Program,
        cgroup_fd: int,
        record: StartRecord | None,
        report: Report,
        pipes: OutputPipes = NO_PIPES,
    ) -> StartRequest:
        """Start `program`, once `record` is written, and call `report` with the result: None if the
        start was cancelled, CannotStart, or OSError if the machine lacks something. Thread-safe.

        `cgroup_fd` is the directory of the first of the setup's cgroups, or -1.
        """
        number = next(self._numbers)
        request = StartRequest(number, program, cgroup_fd, record, pipes)
        self._requests[number] = request, report
        self._submit(self._spawner, request.address)
        return request

    def _read_replies(self) -> None:
        for reply in _REPLY.iter_unpack(os.read(self._reply_fd, _REPLIES_BYTES)):
            request, report = self._requests.pop(reply[0])
            try:
                report(_parse_reply(reply, request))
            except Exception:
                # A bug that concerns one program must not affect the others.
                log_exception()


def _parse_reply(reply: tuple[int, ...], request: StartRequest) -> Result:
    (
        _, spawn_ms, boot_ms, run_ms, wall_ms,
        user_us, system_us, max_rss_kib, read_blocks, written_blocks, switches,
        pid, pidfd, is_watched, error, step, pipe, second_pipe, is_ended, status, size, second_size,
        _,
    ) = reply  # fmt: skip
    if pid < 0:
        return _make_error(chr(step), error, request.program)
    born = Now(wall_ms, boot_ms, run_ms)
    pipes = (pipe, second_pipe)
    if not is_ended:
        return NativeStart(pid, pidfd, bool(is_watched), spawn_ms, born, pipes)
    output = request.take_output((size, second_size)) if size or second_size else []
    rusage = struct_rusage((
        user_us / 1e6, system_us / 1e6, max_rss_kib, 0, 0, 0, 0, 0, 0, read_blocks, written_blocks,
        0, 0, 0, switches, 0,
    ))  # fmt: skip
    end = NativeEnd(status, rusage, output)
    return NativeStart(pid, -1, False, spawn_ms, born, pipes, end)


def check_layout(library: ctypes.CDLL, name: str, sizes: tuple[int, ...]) -> None:
    """Compare the sizes of structs with those in the library's variable `name`. Raises OSError if
    the library was compiled from other sources, as after an update of a source tree that is not
    installed again."""
    try:
        found = tuple((ctypes.c_int32 * len(sizes)).in_dll(library, name))
    except ValueError:
        found = ()
    if found != sizes:
        raise OSError(
            errno.ELIBBAD, "compiled from another version; install mythjobs again", LIBRARY
        )


def _open_orphans() -> int:
    """Open the list of this thread's children: it runs the event loop, so that its children are the
    orphans of all programs (supervise/descendants.py). Return -1 if this kernel has no such file
    (CONFIG_PROC_CHILDREN) or no descriptor is free."""
    try:
        return os.open("/proc/thread-self/children", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return -1


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
            return CannotStart(
                0,
                "starting the program: its process was killed before exec, as happens if the limit "
                "on memory is too small",
            )
        case "p":
            return setup_error(error, "creating an output pipe")
        case "s":
            return setup_error(error, "standard streams or pass_fds")
        case "d":
            return directory_error(number, program)
        case "e":
            return exec_error(number, program)
        case _:
            return setup_error(error, STEPS.get(step, f"child setup ({step})"))
