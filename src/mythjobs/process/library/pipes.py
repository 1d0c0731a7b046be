"""Pipe ends that a caller holds: writing to a child's stdin, and reading its output."""

from __future__ import annotations

import os
import select
import signal
import threading
import weakref
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from mythjobs.process import descriptors
from mythjobs.process.library.chunks import Chunks, Lines

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

_CHUNK: Final = 256 * 1024
_PIPE_ONLY: Final = {signal.SIGPIPE}


class _PipeEnd:
    """Non-blocking pipe end that is closed when it is garbage-collected."""

    # Condition for poll(2) under which this end can be used.
    _EVENT: int

    def __init__(self, fd: int) -> None:
        """`fd` -1 is an end that is closed already."""
        self._fd = fd
        # Reentrant: a signal handler may use the end that it interrupted.
        self._lock = threading.RLock()
        # Tasks that wait for this end, by event loop, with the descriptor that the loop watches.
        self._waiting: dict[AbstractEventLoop, tuple[int, set[Future[None]]]] = {}
        if fd >= 0:
            os.set_blocking(fd, False)
            descriptors.register(fd, self)

    def fileno(self) -> int:
        """Return the descriptor, for an event loop; -1 after close()."""
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            for loop in list(self._waiting):
                _call_in_loop(loop, self._wake_tasks, loop)
            descriptors.close(fd)

    def forget(self) -> None:
        """In a fork of this process: the descriptor was closed, and other threads are gone."""
        self._fd = -1
        self._lock = threading.RLock()
        self._waiting.clear()

    def __del__(self) -> None:
        self.close()

    # Waiting in asyncio.

    def add_task(self, loop: AbstractEventLoop, future: Future[None]) -> None:
        """Resolve `future` as soon as this end can be used or is closed."""
        if self._fd < 0:
            if not future.done():
                future.set_result(None)
            return
        if loop not in self._waiting:
            add = loop.add_reader if self._EVENT == select.POLLIN else loop.add_writer
            add(self._fd, self._wake_tasks, loop)
            self._waiting[loop] = self._fd, set()
        self._waiting[loop][1].add(future)

    def remove_task(self, loop: AbstractEventLoop, future: Future[None]) -> None:
        if loop in self._waiting:
            self._waiting[loop][1].discard(future)
            if not self._waiting[loop][1]:
                self._wake_tasks(loop)

    def _wake_tasks(self, loop: AbstractEventLoop) -> None:
        """Stop watching in this event loop, in whose thread this runs, and wake its tasks."""
        fd, futures = self._waiting.pop(loop, (-1, set()))
        if fd >= 0:
            (loop.remove_reader if self._EVENT == select.POLLIN else loop.remove_writer)(fd)
        for future in futures:
            if not future.done():
                future.set_result(None)


class Reader(_PipeEnd):
    """Reads a child's output in chunks as they arrive. A slow reader blocks the child.

    While a thread or task waits for one of two pipes of a child, it reads the other one ahead,
    so that the child does not block there. Several threads may read; each chunk goes to one of
    them. After close(), the child gets SIGPIPE when it writes.
    """

    _EVENT = select.POLLIN

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        # Chunks that were read so that the child could continue.
        self._ahead: deque[bytes] = deque()
        self._is_at_end = fd < 0
        # The child's other output pipe. Weak: dropping an end closes it.
        self._other: weakref.ref[Reader] | None = None

    def read_ahead_of(self, other: Reader) -> None:
        """Let each of two readers read the other ahead while it waits."""
        self._other, other._other = weakref.ref(other), weakref.ref(self)

    def read_some(self) -> bytes:
        """Return the next chunk, waiting for it; empty at the end of the output."""
        with self._lock:
            while (data := self._read_now()) is None:
                wait_ready(self, self._others())
            return data

    def read(self) -> bytes:
        """Return all output up to its end."""
        return b"".join(self)

    async def read_some_async(self) -> bytes:
        """Return the next chunk, waiting in asyncio; empty at the end of the output.

        Cancelling loses no output.
        """
        while (data := self._read_now()) is None:
            await wait_ready_async(self, self._others())
        return data

    async def read_async(self) -> bytes:
        """Return all output up to its end, waiting in asyncio."""
        return b"".join([chunk async for chunk in self])

    def __iter__(self) -> Chunks:
        """Iterate over chunks, with `for` or `async for`."""
        return Chunks(self.read_some, self.read_some_async)

    __aiter__ = __iter__

    def lines(self) -> Lines:
        """Iterate over lines with their newline, with `for` or `async for`; the last one may
        lack it."""
        return Lines(self.read_some, self.read_some_async)

    def _others(self) -> Sequence[Reader]:
        other = self._other and self._other()
        return [other] if other else []

    def _read_now(self) -> bytes | None:
        """Return the next chunk; empty at the end; None if it has not arrived."""
        with self._lock:
            if self._ahead:
                return self._ahead.popleft()
            if self._fd < 0 or self._is_at_end:
                return b""
            try:
                data = os.read(self._fd, _CHUNK)
            except BlockingIOError:
                return None
            self._is_at_end = not data
            return data

    @property
    def can_read_ahead(self) -> bool:
        return self._fd >= 0 and not self._is_at_end

    def read_ahead(self) -> None:
        """Move one available chunk into memory, unless another thread is reading."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self.can_read_ahead:
                if data := os.read(self._fd, _CHUNK):
                    self._ahead.append(data)
                else:
                    self._is_at_end = True
        except BlockingIOError:
            pass
        finally:
            self._lock.release()

    def peek(self) -> bytes:
        """Return what was read ahead, and keep it for the next read."""
        with self._lock:
            return b"".join(self._ahead)


class Writer(_PipeEnd):
    """Writes to a child's stdin.

    `write` blocks while the child reads slowly, and reads the child's output pipes meanwhile,
    so that the two cannot deadlock. After close() the child reads up to the end of file.
    """

    _EVENT = select.POLLOUT

    def __init__(self, fd: int, readers: Sequence[Reader]) -> None:
        super().__init__(fd)
        self._readers = readers

    def write(self, data: bytes | bytearray | memoryview) -> bool:
        """Write all of `data`; return False if the child closed its end, or this end is closed.

        Raises no SIGPIPE, whatever this program's handling of that signal is.
        """
        with self._lock, memoryview(data).cast("B") as left:
            done = 0
            while done < len(left):
                count = self.write_now(left[done:])
                if count is None:
                    return False
                done += count
                if not count:
                    wait_ready(self, self._readers)
            return self._fd >= 0

    async def write_async(self, data: bytes | bytearray | memoryview) -> bool:
        """Like `write`, waiting in asyncio. Only one task may write at a time.

        After cancelling, an unknown part of `data` is written.
        """
        with memoryview(data).cast("B") as left:
            done = 0
            while done < len(left):
                count = self.write_now(left[done:])
                if count is None:
                    return False
                done += count
                if not count:
                    await wait_ready_async(self, self._readers)
            return self._fd >= 0

    def write_now(self, data: memoryview) -> int | None:
        """Write what the pipe takes; return how much, or None if nobody can read it."""
        if self._fd < 0:
            return None
        try:
            return write_without_sigpipe(self._fd, data[:_CHUNK])
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return None


def wait_ready(end: _PipeEnd, readers: Sequence[Reader], timeout_s: float | None = None) -> bool:
    """Wait for one pipe end, and read the readers ahead meanwhile; return False on timeout."""
    fd = end.fileno()
    if fd < 0:
        return True
    poll = select.poll()
    poll.register(fd, end._EVENT)
    others = {each.fileno(): each for each in readers if each.can_read_ahead}
    for fd in others:
        poll.register(fd, select.POLLIN)
    ready = poll.poll(None if timeout_s is None else max(timeout_s, 0) * 1000)
    for fd, _ in ready:
        if fd in others:
            others[fd].read_ahead()
    return bool(ready)


async def wait_ready_async(end: _PipeEnd, readers: Sequence[Reader]) -> None:
    """Wait for one pipe end in asyncio, and read the readers ahead meanwhile."""
    # Imported here because programs without asyncio do not need it.
    from asyncio import get_running_loop

    loop = get_running_loop()
    future = loop.create_future()
    others = [each for each in readers if each.can_read_ahead]
    ends: list[_PipeEnd] = [end, *others]
    try:
        for each in ends:
            each.add_task(loop, future)
        await future
    finally:
        for each in ends:
            each.remove_task(loop, future)
    for other in others:
        other.read_ahead()


def _call_in_loop(loop: AbstractEventLoop, function: object, *args: object) -> None:
    from asyncio import _get_running_loop

    if loop is _get_running_loop():
        function(*args)  # type: ignore[operator]
        return
    try:
        loop.call_soon_threadsafe(function, *args)  # type: ignore[arg-type]
    except RuntimeError:
        # The event loop was closed meanwhile.
        pass


def write_without_sigpipe(fd: int, data: memoryview) -> int:
    """Write, and suppress SIGPIPE.

    Python ignores SIGPIPE, but the host program may have restored its default. Then the signal
    is blocked for the write, and consumed if this write made it pending.
    """
    if signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN:
        return os.write(fd, data)
    pending = signal.SIGPIPE in signal.sigpending()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PIPE_ONLY)
    try:
        return os.write(fd, data)
    except BrokenPipeError:
        if not pending:
            signal.sigtimedwait(_PIPE_ONLY, 0)
        raise
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
