"""Children started through MythSystem: specification, standard streams, and waiting threads."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from mythjobs.model.limits import Limits
from mythjobs.process.library.buffer import Buffer
from mythjobs.process.library.pipes import Reader, Writer
from mythjobs.process.spawn import files
from mythjobs.process.spawn.program import ChildSetup, Program
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.streams import Stream


class Stdio(Enum):
    """Destination (or source) of a standard stream other than a file."""

    INHERIT = "inherit"
    NULL = "null"
    PIPE = "pipe"
    BUFFERED = "buffered"
    MERGED = "merged"


# A path, or a descriptor that stays open while the child is started.
PathOrFd = str | int


class ChildSpec(NamedTuple):
    """One start, validated and encoded for the kernel."""

    argv: list[bytes]
    env: list[bytes]
    search: str
    cwd: bytes
    stdin: Stdio | bytes | PathOrFd
    stdout: Stdio | PathOrFd
    stderr: Stdio | PathOrFd
    keep: tuple[int, int | None]
    session: bool
    mark: str
    limits: Limits
    leave_daemons: bool
    at_exit: str
    setup: ChildSetup
    contain: bool
    best_effort: bool


class CallerStreams(NamedTuple):
    """The caller's side of a child's streams; None where there is none."""

    stdin: Writer | None = None
    stdout: Reader | Buffer | None = None
    stderr: Reader | Buffer | None = None


class LibraryChild(Child):
    """Holds only weak references to the caller's pipe ends: dropping an end closes it."""

    __slots__ = (
        "_close_fds", "_done_callbacks", "_ended", "_fds", "_lock", "_started", "at_exit",
        "caller_ends", "spec",
    )  # fmt: skip

    def __init__(self, spec: ChildSpec) -> None:
        super().__init__(spec.limits, spec.leave_daemons)
        self.spec = spec
        self.is_session_leader = spec.session
        self.mark = spec.mark
        self.contain = spec.contain
        self.best_effort = spec.best_effort
        self.at_exit = spec.at_exit
        # Closed in the forked child of this process.
        self.caller_ends: list[weakref.ref[Reader | Writer]] = []
        # Our descriptors that become its 0, 1 and 2; -1 inherits ours.
        self._fds: list[int] = [-1, -1, -1]
        # Opened by prepare() for the spawn only.
        self._close_fds: list[int] = []
        self._lock = threading.Lock()
        self._done_callbacks: list[Callable[[], None]] | None = []
        # Locked until the child has started, and until it has ended.
        self._started = threading.Lock()
        self._started.acquire()
        self._ended = threading.Lock()
        self._ended.acquire()

    @property
    def may_outlive_supervisor(self) -> bool:
        return self.leave_daemons or self.at_exit == "leave"

    # Before the spawn.

    def create_pipes(self) -> CallerStreams:
        """Create the pipes, in the caller's thread. Raises OSError."""
        stdout = self._create_output_pipe(1, self.spec.stdout)
        stderr = self._create_output_pipe(2, self.spec.stderr)
        if self.spec.stdin is not Stdio.PIPE:
            return CallerStreams(None, stdout, stderr)
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        self._fds[0] = theirs
        self.child_fds.append(theirs)
        stdin = Writer(ours, [each for each in (stdout, stderr) if isinstance(each, Reader)])
        self.caller_ends.append(weakref.ref(stdin))
        return CallerStreams(stdin, stdout, stderr)

    def _create_output_pipe(self, number: int, to: Stdio | PathOrFd) -> Reader | Buffer | None:
        if to is not Stdio.PIPE and to is not Stdio.BUFFERED:
            return None
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        self._fds[number] = theirs
        self.child_fds.append(theirs)
        if to is Stdio.PIPE:
            reader = Reader(ours)
            self.caller_ends.append(weakref.ref(reader))
            return reader
        buffer = Buffer(*self.spec.keep)
        self.streams.append(Stream(ours, buffer))
        os.set_blocking(ours, False)
        return buffer

    def prepare(self) -> Program:
        spec = self.spec
        fds = self._fds
        fds[0] = self._open_input(spec.stdin)
        fds[1] = self._open_output(1, spec.stdout)
        if spec.stderr is Stdio.MERGED:
            fds[2] = 1 if fds[1] < 0 else fds[1]
        else:
            fds[2] = self._open_output(2, spec.stderr)
        return Program(
            spec.argv, spec.env, spec.search, spec.cwd, fds[0], fds[1], fds[2],
            spec.session, spec.setup,
        )  # fmt: skip

    def _open_input(self, source: Stdio | bytes | PathOrFd) -> int:
        match source:
            case Stdio.PIPE:
                return self._fds[0]
            case Stdio.INHERIT:
                return -1
            case int():
                return source
            case bytes():
                fd = files.create_input(source)
            case str():
                fd = files.open_input(source)
            case _:
                return files.dev_null(os.getpid())
        self._close_fds.append(fd)
        return fd

    def _open_output(self, number: int, to: Stdio | PathOrFd) -> int:
        match to:
            case Stdio.PIPE | Stdio.BUFFERED:
                return self._fds[number]
            case Stdio.INHERIT:
                return -1
            case int():
                return to
            case str():
                fd = files.open_output(to)
            case _:
                return files.dev_null(os.getpid())
        self._close_fds.append(fd)
        return fd

    def release_resources(self) -> None:
        for fd in self._close_fds:
            os.close(fd)

    # Waiting threads.

    def mark_started(self) -> None:
        self._started.release()

    def mark_ended(self) -> None:
        """Outcome, usage and output are final: wake waiting threads and call the callbacks."""
        for stream in self.streams:
            stream.sink.close()
        with self._lock:
            callbacks, self._done_callbacks = self._done_callbacks, None
        if not self.spawned_at:
            self._started.release()
        self._ended.release()
        for callback in callbacks or ():
            callback()

    @property
    def is_done(self) -> bool:
        return self._done_callbacks is None

    def wait_started(self) -> None:
        with self._started:
            pass

    def wait_ended(self, timeout_s: float | None) -> bool:
        if self._done_callbacks is None:
            return True
        if not self._ended.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0)):
            return False
        self._ended.release()
        return True

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` in the supervisor's thread at the end, or here if it has ended."""
        with self._lock:
            if self._done_callbacks is not None:
                self._done_callbacks.append(callback)
                return
        callback()

    def remove_done_callback(self, callback: Callable[[], None]) -> None:
        with self._lock:
            if self._done_callbacks and callback in self._done_callbacks:
                self._done_callbacks.remove(callback)

    def close_after_fork(self) -> None:
        """In a forked copy of this process: close the pipes, which keep the real ones open."""
        for stream in self.streams:
            if stream in self.open_streams or not self.has_spawned:
                os.close(stream.fd)
        for reference in self.caller_ends:
            if end := reference():
                end.close()
