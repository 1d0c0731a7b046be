"""Pipe ends that a caller holds: writing to a child's stdin, and reading its output."""

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


class _PipeEnd:
    """Non-blocking pipe end that is closed when it is garbage-collected."""

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._lock = threading.Lock()

    def fileno(self) -> int:
        """Return the descriptor, for an event loop; -1 after close()."""
        return self._fd

    def close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def __del__(self) -> None:
        self.close()


class Reader(_PipeEnd):
    """Reads a child's output in chunks as they arrive. A slow reader blocks the child.

    Several threads may read; each chunk goes to one of them. After close(), the child gets
    SIGPIPE when it writes.
    """

    def __init__(self, fd: int) -> None:
        super().__init__(fd)
        # Chunks that Writer read so that the child could continue to read its stdin.
        self._read_ahead: deque[bytes] = deque()

    def read_some(self) -> bytes:
        """Return the next chunk, waiting for it; empty at the end of the output."""
        with self._lock:
            if self._read_ahead:
                return self._read_ahead.popleft()
            while self._fd >= 0:
                try:
                    return os.read(self._fd, _CHUNK)
                except BlockingIOError:
                    _wait_for(self._fd, select.POLLIN)
            return b""

    def read(self) -> bytes:
        """Return all output up to its end."""
        return b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read_some():
            yield data

    def lines(self) -> Iterator[bytes]:
        """Yield lines with their newline; the last one may lack it."""
        rest = b""
        for data in self:
            *whole, rest = (rest + data).split(b"\n")
            for line in whole:
                yield line + b"\n"
        if rest:
            yield rest

    def read_ahead(self) -> None:
        """Move one available chunk into memory, unless another thread is reading."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            if self._fd >= 0 and (data := os.read(self._fd, _CHUNK)):
                self._read_ahead.append(data)
        except BlockingIOError:
            pass
        finally:
            self._lock.release()


class Writer(_PipeEnd):
    """Writes to a child's stdin.

    `write` blocks while the child reads slowly, and reads the child's output pipes meanwhile,
    so that the two cannot deadlock. After close() the child reads up to the end of file.
    """

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
                if self._fd < 0:
                    return False
                try:
                    done += _write_without_sigpipe(self._fd, left[done : done + _CHUNK])
                except BlockingIOError:
                    self._wait_while_reading()
                except BrokenPipeError:
                    return False
            return self._fd >= 0

    def _wait_while_reading(self) -> None:
        poll = select.poll()
        poll.register(self._fd, select.POLLOUT)
        readers = {reader.fileno(): reader for reader in self._readers if reader.fileno() >= 0}
        for fd in readers:
            poll.register(fd, select.POLLIN)
        for fd, event in poll.poll():
            if fd in readers and event & select.POLLIN:
                readers[fd].read_ahead()
            elif fd in readers:
                # End of output: polling this descriptor again would return at once, forever.
                self._readers = [each for each in self._readers if each.fileno() != fd]


def _wait_for(fd: int, events: int) -> None:
    poll = select.poll()
    poll.register(fd, events)
    poll.poll()


def _write_without_sigpipe(fd: int, data: memoryview) -> int:
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
