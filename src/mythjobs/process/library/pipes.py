"""The ends of pipes that a caller holds himself: feeding a child, and reading it as it comes."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

_CHUNK: Final = 256 * 1024
_PIPE_ONLY: Final = {signal.SIGPIPE}


class _End:
    """One end of a pipe, which is not waited for and closed with its owner."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """For an event loop. -1 once it is closed."""
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class Reader(_End):
    """What a child writes, chunk by chunk as it comes. A child whose reader is slow waits.

    Several threads may read; each chunk goes to one of them. It is readable, for an event
    loop, when there is something. Once it is closed, whoever writes into it gets SIGPIPE.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        # Read ahead so that the child could go on reading what it is fed (Writer).
        self._ahead: deque[bytes] = deque()

    def read_some(self) -> bytes:
        """What is there, or comes next; empty at the end, when nobody holds the pipe any more."""
        with self._lock:
            if self._ahead:
                return self._ahead.popleft()
            while self._fd >= 0:
                try:
                    return os.read(self._fd, _CHUNK)
                except BlockingIOError:
                    _wait(self._fd, select.POLLIN)
            return b""

    def read(self) -> bytes:
        """All that comes, up to the end."""
        return b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read_some():
            yield data

    def lines(self) -> Iterator[bytes]:
        """Line by line, each with its newline; the last one perhaps without."""
        rest = b""
        for data in self:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest

    def read_ahead(self) -> None:
        """Take what is there into memory, unless somebody is reading it this moment."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._fd >= 0 and (data := os.read(self._fd, _CHUNK)):
                self._ahead.append(data)
        except BlockingIOError:
            pass
        finally:
            self._lock.release()


class Writer(_End):
    """Feeds a child while it runs.

    `write` waits for a child that reads slowly. Meanwhile it takes what that child writes into
    pipes of ours, so that the two cannot wait for each other for ever. After `close` the child
    reads to the end of what was written.
    """

    def __init__(self, fd: int, readers: Sequence[Reader]) -> None:
        super().__init__(fd)
        self._readers = readers

    def write(self, data: bytes | bytearray | memoryview) -> bool:
        """All of it; False if the child does not read any more, or it was closed. Never a
        SIGPIPE, whatever this program does with that signal."""
        with self._lock, memoryview(data).cast("B") as left:
            done = 0
            while done < len(left):
                if self._fd < 0:
                    return False
                try:
                    done += _write(self._fd, left[done : done + _CHUNK])
                except BlockingIOError:
                    self._wait()
                except BrokenPipeError:
                    return False
            return self._fd >= 0

    def _wait(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        readers = {reader.fileno(): reader for reader in self._readers if reader.fileno() >= 0}
        for fd in readers:
            poll.register(fd, select.POLLIN)
        for fd, event in poll.poll():
            if fd in readers and event & select.POLLIN:
                readers[fd].read_ahead()
            elif fd in readers:
                # It is at its end; asking again and again would keep a core busy.
                self._readers = [each for each in self._readers if each.fileno() != fd]


def _wait(fd: int, events: int) -> None:
    poll = select.poll()
    poll.register(fd, events)
    poll.poll()


def _write(fd: int, data: memoryview) -> int:
    """Python ignores SIGPIPE, but a program may have given it its default back. Blocked, it is
    pending in this thread, and taken back if it came from us."""
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
