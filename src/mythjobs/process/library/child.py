"""A child of the library: what its caller asked for, its ends of pipes, and who waits for it."""

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
from mythjobs.process.spawn.stub import Wishes
from mythjobs.process.spawn.vfork import Program
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.streams import Stream


class To(Enum):
    """Where a stream goes, if not to a file."""

    INHERIT = "inherit"
    NULL = "null"
    PIPE = "pipe"
    BUFFERED = "buffered"
    MERGED = "merged"


# A path, or the number of a descriptor that is open while the child is started.
File = str | int


class Wanted(NamedTuple):
    """One start, all checked and turned into what the kernel takes."""

    argv: list[bytes]
    env: list[bytes]
    search: str
    cwd: bytes
    stdin: To | bytes | File
    stdout: To | File
    stderr: To | File
    keep: tuple[int, int | None]
    session: bool
    mark: str
    limits: Limits
    leave_daemons: bool
    at_exit: str
    wishes: Wishes
    contain: bool
    best_effort: bool


class Ends(NamedTuple):
    """The caller's side of a child's streams, where there is one."""

    stdin: Writer | None = None
    stdout: Reader | Buffer | None = None
    stderr: Reader | Buffer | None = None


class Held(Child):
    """What the caller holds of its pipes is not here: whoever drops them closes them."""

    __slots__ = (
        "_close_fds", "_ended", "_fds", "_lock", "_started", "_then", "at_exit", "ours",
        "wanted",
    )  # fmt: skip

    def __init__(self, wanted: Wanted) -> None:
        super().__init__(wanted.limits, wanted.leave_daemons)
        self.wanted = wanted
        self.session = wanted.session
        self.mark = wanted.mark
        self.contain = wanted.contain
        self.best_effort = wanted.best_effort
        self.at_exit = wanted.at_exit
        # The caller's ends, to be closed in a fork of us.
        self.ours: list[weakref.ref[Reader | Writer]] = []
        # What its descriptors 0, 1 and 2 will be, -1 for ours.
        self._fds: list[int] = [-1, -1, -1]
        # Opened by the spawner for it.
        self._close_fds: list[int] = []
        self._lock = threading.Lock()
        self._then: list[Callable[[], None]] | None = []
        # Locks that are free once it has: waiting for one takes no more than acquiring it.
        self._started = threading.Lock()
        self._started.acquire()
        self._ended = threading.Lock()
        self._ended.acquire()

    @property
    def outlives(self) -> bool:
        return self.leave_daemons or self.at_exit == "leave"

    # Before its spawn.

    def make_ends(self) -> Ends:
        """The pipes, in the caller's thread. Raises OSError."""
        stdout = self._make_output(1, self.wanted.stdout)
        stderr = self._make_output(2, self.wanted.stderr)
        if self.wanted.stdin is not To.PIPE:
            return Ends(None, stdout, stderr)
        theirs, ours = os.pipe2(os.O_CLOEXEC)
        self._fds[0] = theirs
        self.ends.append(theirs)
        stdin = Writer(ours, [each for each in (stdout, stderr) if isinstance(each, Reader)])
        self.ours.append(weakref.ref(stdin))
        return Ends(stdin, stdout, stderr)

    def _make_output(self, number: int, to: To | File) -> Reader | Buffer | None:
        if to is not To.PIPE and to is not To.BUFFERED:
            return None
        ours, theirs = os.pipe2(os.O_CLOEXEC)
        self._fds[number] = theirs
        self.ends.append(theirs)
        if to is To.PIPE:
            reader = Reader(ours)
            self.ours.append(weakref.ref(reader))
            return reader
        buffer = Buffer(*self.wanted.keep)
        self.streams.append(Stream(ours, buffer))
        os.set_blocking(ours, False)
        return buffer

    def prepare(self) -> Program:
        wanted = self.wanted
        fds = self._fds
        fds[0] = self._input(wanted.stdin)
        fds[1] = self._output(1, wanted.stdout)
        if wanted.stderr is To.MERGED:
            fds[2] = 1 if fds[1] < 0 else fds[1]
        else:
            fds[2] = self._output(2, wanted.stderr)
        return Program(
            wanted.argv, wanted.env, wanted.search, wanted.cwd, fds[0], fds[1], fds[2],
            wanted.session, wanted.wishes,
        )  # fmt: skip

    def _input(self, source: To | bytes | File) -> int:
        match source:
            case To.PIPE:
                return self._fds[0]
            case To.INHERIT:
                return -1
            case int():
                return source
            case bytes():
                fd = files.input_of(source)
            case str():
                fd = files.open_input(source)
            case _:
                return files.null(os.getpid())
        self._close_fds.append(fd)
        return fd

    def _output(self, number: int, to: To | File) -> int:
        match to:
            case To.PIPE | To.BUFFERED:
                return self._fds[number]
            case To.INHERIT:
                return -1
            case int():
                return to
            case str():
                fd = files.open_output(to)
            case _:
                return files.null(os.getpid())
        self._close_fds.append(fd)
        return fd

    def prepared(self) -> None:
        for fd in self._close_fds:
            os.close(fd)

    # Who waits.

    def has_started(self) -> None:
        self._started.release()

    def has_ended(self) -> None:
        """All of it is known; nothing changes any more."""
        for stream in self.streams:
            stream.sink.close()
        with self._lock:
            then, self._then = self._then, None
        if not self.born:
            self._started.release()
        self._ended.release()
        for each in then or ():
            each()

    @property
    def is_over(self) -> bool:
        return self._then is None

    def wait_started(self) -> None:
        with self._started:
            pass

    def wait_ended(self, timeout_s: float | None) -> bool:
        if self._then is None:
            return True
        if not self._ended.acquire(timeout=-1 if timeout_s is None else max(timeout_s, 0)):
            return False
        self._ended.release()
        return True

    def when_ended(self, then: Callable[[], None]) -> None:
        """Called in the keeper's thread once it has, or at once in this one."""
        with self._lock:
            if self._then is not None:
                self._then.append(then)
                return
        then()

    def forget(self, then: Callable[[], None]) -> None:
        with self._lock:
            if self._then and then in self._then:
                self._then.remove(then)

    def close_in_fork(self) -> None:
        """We are a forked child of whoever started it: its pipes must not depend on us."""
        for stream in self.streams:
            if stream in self.open or not self.known:
                os.close(stream.fd)
        for end in self.ours:
            if held := end():
                held.close()
