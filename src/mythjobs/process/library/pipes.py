"""The caller's ends of a child's pipes: Writer for its stdin, Reader for its output."""

from __future__ import annotations

import os
import select
import signal
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from mythjobs.process import descriptors, quick_calls
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
        """Take ownership of the descriptor `fd`; -1 creates an end that is closed already."""
        self._fd = fd
        # True once another program uses this side of the pipe as a standard stream.
        self._is_lent = False
        # Reentrant, because a signal handler may use the end while it interrupts another use.
        self._lock = threading.RLock()
        # By asyncio loop: the descriptor that the loop watches for this end, and the futures of the
        # tasks that wait.
        self._waiting: dict[AbstractEventLoop, tuple[int, set[Future[None]]]] = {}
        if fd >= 0:
            quick_calls.set_nonblocking(fd)
            descriptors.register(fd, self)

    def fileno(self) -> int:
        """Return the file descriptor; -1 after close()."""
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            for loop in list(self._waiting):
                _call_in_loop(loop, self._wake_tasks, loop)
            descriptors.close(fd)

    def open_for_program(self) -> int:
        """Open this side of the pipe for another program; return the descriptor. Raises OSError.

        A duplicate of this end's descriptor would share its flag O_NONBLOCK.
        """
        flags = os.O_RDONLY if self._EVENT == select.POLLIN else os.O_WRONLY
        fd = os.open(f"/proc/self/fd/{self._fd}", flags | os.O_CLOEXEC)
        self._is_lent = True
        return quick_calls.move_above_streams(fd)

    def forget(self) -> None:
        """Mark the end as closed in a forked child, which has closed the descriptor and in which no
        other thread of this process exists."""
        self._fd = -1
        self._lock = threading.RLock()
        self._waiting.clear()

    def __del__(self) -> None:
        self.close()

    # Methods with which asyncio tasks wait until this end can be read or written.

    def add_task(self, loop: AbstractEventLoop, future: Future[None]) -> None:
        """Set the result of `future` as soon as this end is ready for I/O or is closed."""
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
        """Stop an asyncio loop from watching this end of the pipe, and wake the loop's tasks that
        wait for this end. Call it in the loop's thread."""
        fd, futures = self._waiting.pop(loop, (-1, set()))
        if fd >= 0:
            (loop.remove_reader if self._EVENT == select.POLLIN else loop.remove_writer)(fd)
        for future in futures:
            if not future.done():
                future.set_result(None)


class Reader(_PipeEnd):
    """Reads a child's output in chunks as they arrive. A slow reader blocks the child.

    While a thread or task waits for stdout, it also reads stderr into memory, and the reverse, so
    that the child does not block on the other pipe. Several threads may read; each chunk goes to
    one of them. After close(), the child gets SIGPIPE when it writes.
    """

    _EVENT = select.POLLIN

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        # Chunks that were read into memory while a thread or task waited for the other pipe.
        self._ahead: deque[bytes] = deque()
        self._is_at_end = fd < 0
        # The reader of the child's other output pipe. A weak reference, so that this reader does
        # not keep the other pipe open.
        self._other: weakref.ref[Reader] | None = None

    def read_ahead_of(self, other: Reader) -> None:
        """Link the readers of a child's two pipes: while one waits for output, it reads the other
        pipe into memory."""
        self._other, other._other = weakref.ref(other), weakref.ref(self)

    def read_some(self) -> bytes:
        """Wait for the next chunk and return it; b"" at the end of the output."""
        with self._lock:
            while (data := self._read_now()) is None:
                wait_ready(self, self._others())
            return data

    def read(self) -> bytes:
        """Return all output, waiting for its end."""
        return b"".join(self)

    async def read_some_async(self) -> bytes:
        """Wait in asyncio for the next chunk and return it; b"" at the end of the output.

        If the waiting task is cancelled, no output is lost.
        """
        while (data := self._read_now()) is None:
            await wait_ready_async(self, self._others())
        return data

    async def read_async(self) -> bytes:
        """Return all output, waiting in asyncio for its end."""
        return b"".join([chunk async for chunk in self])

    def __iter__(self) -> Chunks:
        """Iterate over chunks, with `for` or `async for`."""
        return Chunks(self.read_some, self.read_some_async)

    __aiter__ = __iter__

    def lines(self) -> Lines:
        """Iterate over lines with `for` or `async for`. A line includes its newline, which the last
        line may lack."""
        return Lines(self.read_some, self.read_some_async)

    def _others(self) -> Sequence[Reader]:
        other = self._other and self._other()
        return [other] if other else []

    def _read_now(self) -> bytes | None:
        """Return the next chunk without waiting: b"" at the end, None if none has arrived."""
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
        # Output that belongs to another program is only read at the caller's request.
        return self._fd >= 0 and not self._is_at_end and not self._is_lent

    def read_ahead(self) -> None:
        """Read an available chunk into memory, unless another thread uses this reader."""
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
        """Return the output that was read ahead into memory, without consuming it."""
        with self._lock:
            return b"".join(self._ahead)


class Writer(_PipeEnd):
    """Writes to a child's stdin.

    `write` blocks while the child does not read. Meanwhile it reads the child's output pipes into
    memory, so that caller and child cannot deadlock. After close() the child gets end of file.
    """

    _EVENT = select.POLLOUT

    def __init__(self, fd: int, readers: Sequence[Reader]) -> None:
        super().__init__(fd)
        self._readers = readers

    def write(self, data: bytes | bytearray | memoryview) -> bool:
        """Write all of `data`. Return False if the child has closed its end, or this end is closed.

        This process gets no SIGPIPE, even if the host program has restored its default action.
        """
        with self._lock, _view_bytes(data) as left:
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
        """Like `write`, but wait in asyncio. Only one task may write at a time.

        If the task is cancelled, an unknown part of `data` has been written.
        """
        with _view_bytes(data) as left:
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
        """Write as much as the pipe takes without blocking. Return the number of bytes, or None if
        the child has closed its end or this end is closed."""
        if self._fd < 0:
            return None
        try:
            return write_without_sigpipe(self._fd, data[:_CHUNK])
        except BlockingIOError:
            return 0
        except BrokenPipeError:
            return None


def _view_bytes(data: bytes | bytearray | memoryview) -> memoryview:
    """Return `data` as single bytes. Raises ValueError if it is not contiguous bytes."""
    try:
        return memoryview(data).cast("B")
    except TypeError as error:
        raise ValueError(f"data to write must be bytes: {error}") from None


def wait_ready(end: _PipeEnd, readers: Sequence[Reader]) -> None:
    """Wait until `end` is ready for I/O or one of `readers` has output, and read such output into
    memory."""
    fd = end.fileno()
    if fd < 0:
        return
    poll = select.poll()
    poll.register(fd, end._EVENT)
    others = {each.fileno(): each for each in readers if each.can_read_ahead}
    for fd in others:
        poll.register(fd, select.POLLIN)
    for fd, _ in poll.poll():
        if fd in others:
            others[fd].read_ahead()


async def wait_ready_async(end: _PipeEnd, readers: Sequence[Reader]) -> None:
    """Wait in asyncio until `end` is ready for I/O or one of `readers` has output, and read such
    output into memory."""
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


def _call_in_loop(loop: AbstractEventLoop, function: Callable[..., object], *args: object) -> None:
    from asyncio import _get_running_loop

    if loop is _get_running_loop():
        function(*args)
        return
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:
        # The asyncio loop was closed meanwhile, so no task waits any more.
        pass


def write_without_sigpipe(fd: int, data: memoryview) -> int:
    """Write to a pipe without getting SIGPIPE if it has no reader. Raises BrokenPipeError then.

    Python ignores SIGPIPE, but the host program may have restored the default action. In that
    case the signal is blocked during the write, and consumed if the write has made it pending.
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
