"""Output that is kept for whoever asks: its head, its tail, and how much was dropped between."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from typing import Final

# What is larger goes into a file that has no name.
_IN_MEMORY: Final = 64 * 1024
_CHUNK: Final = 256 * 1024
# So much is kept of each stream if nobody asks for more: its beginning and its end.
KEEP: Final = (4 * 2**20, 12 * 2**20)


class Buffer:
    """Takes all that a child writes, at once, and never makes it wait.

    `head_bytes` from the beginning and `tail_bytes` of the end are kept; what lies between is
    dropped and counted. Any number of threads may read meanwhile, each at its own pace. A disk
    that is full costs bytes, which are counted as dropped, and nothing else.
    """

    def __init__(self, head_bytes: int, tail_bytes: int | None) -> None:
        """Without `tail_bytes` all is kept."""
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._small: bytearray | None = bytearray()
        self._fd = -1
        self._head = 0
        # Where the ring of the tail begins to hold what was written; None: still in the head.
        self._tail_from: int | None = None
        self._over = False
        self._lock = threading.Lock()
        self._grown: threading.Condition | None = None
        self._written = 0

    # The keeper's side (Sink).

    @property
    def written(self) -> int:
        return self._written

    def write(self, data: memoryview, /) -> None:
        with self._lock:
            small = self._small
            if small is not None and self._written + len(data) <= min(_IN_MEMORY, self._head_bytes):
                small += data
                self._head += len(data)
                self._written += len(data)
            else:
                self._write_file(data)
            if self._grown:
                self._grown.notify_all()

    def close(self) -> None:
        """No more will come."""
        with self._lock:
            self._over = True
            if self._grown:
                self._grown.notify_all()

    def _write_file(self, data: memoryview) -> None:
        if self._small is not None:
            self._spill()
        offset = self._written
        self._written += len(data)
        if self._tail_from is None:
            part = data if self._tail_bytes is None else data[: self._head_bytes - self._head]
            done = self._put(part, self._head)
            self._head += done
            if done == len(part) and (self._tail_bytes is None or self._head < self._head_bytes):
                return
            # What the disk did not take is lost, and the tail can only begin behind it.
            self._tail_from = self._head if done == len(part) else self._written
            if done < len(part):
                return
            data = data[done:]
            offset += done
        self._turn(offset, data)

    def _spill(self) -> None:
        small, self._small = self._small, None
        assert small is not None
        try:
            self._fd = _nameless_file()
        except OSError:
            # Nowhere to put it: what is there already is all that can be kept.
            self._small_only(small)
            return
        self._head = self._put(memoryview(small), 0)

    def _small_only(self, small: bytearray) -> None:
        self._fd = os.memfd_create("output", os.MFD_CLOEXEC)
        self._head = self._put(memoryview(small), 0)
        self._head_bytes = self._head
        self._tail_bytes = min(_IN_MEMORY, self._tail_bytes or _IN_MEMORY)

    def _turn(self, offset: int, data: memoryview) -> None:
        """The byte at offset o of the stream stands at o modulo the size of the ring, which
        begins where the head may end."""
        size = self._tail_bytes
        if not data:
            return
        if not size:
            self._tail_from = self._written
            return
        offset += max(0, len(data) - size)
        data = data[-size:]
        position = offset % size
        first = data[: size - position]
        rest = data[size - position :]
        done = self._put(first, self._head_bytes + position) + self._put(rest, self._head_bytes)
        if done < len(data):
            self._tail_from = self._written

    def _put(self, data: memoryview, position: int) -> int:
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], position + done)
        except OSError:
            pass
        return done

    # The readers' side.

    @property
    def written_bytes(self) -> int:
        """How much the child has written."""
        return self._written

    @property
    def dropped_bytes(self) -> int:
        """How much of that is not kept."""
        with self._lock:
            return self._dropped()

    def head(self, size: int = -1) -> bytes:
        """The beginning, at most `size` bytes of it; all there is if nothing was dropped."""
        with self._lock:
            most = self._head if self._dropped() else self._written
            return self._span(0, most if size < 0 else min(size, most))

    def tail(self, size: int = -1) -> bytes:
        """The end, at most `size` bytes of it; all there is if nothing was dropped."""
        with self._lock:
            begin = self._written - self._tail_size() if self._dropped() else 0
            if size >= 0:
                begin = max(begin, self._written - size)
            return self._span(begin, self._written)

    def read(self) -> bytes:
        """All that is kept so far: head and tail with nothing between them."""
        with self._lock:
            return self._span(0, self._written)

    def text(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        """The same as text."""
        return self.read().decode(encoding, errors)

    def __bytes__(self) -> bytes:
        return self.read()

    def __iter__(self) -> Iterator[bytes]:
        """What is there and then what comes, until the child has ended. A reader that is too
        slow misses what was dropped before it came to it."""
        offset = 0
        while True:
            with self._lock:
                while offset >= self._written and not self._over:
                    if self._grown is None:
                        self._grown = threading.Condition(self._lock)
                    self._grown.wait()
                if offset >= self._written:
                    return
                offset, data = self._range(offset, _CHUNK)
            offset += len(data)
            if data:
                yield data

    def _dropped(self) -> int:
        return self._written - self._head - self._tail_size()

    def _tail_size(self) -> int:
        if self._tail_from is None or not self._tail_bytes:
            return 0
        return min(self._written - self._tail_from, self._tail_bytes)

    def _span(self, offset: int, end: int) -> bytes:
        parts = []
        while offset < end:
            offset, data = self._range(offset, end - offset)
            offset += len(data)
            parts.append(data)
        return b"".join(parts)

    def _range(self, offset: int, size: int) -> tuple[int, bytes]:
        """At most `size` bytes from `offset` on, and where they really begin."""
        if self._small is not None:
            return offset, bytes(self._small[offset : offset + size])
        if offset < self._head:
            return offset, os.pread(self._fd, min(size, self._head - offset), offset)
        offset = max(offset, self._written - self._tail_size())
        size = min(size, self._written - offset)
        if size <= 0 or not self._tail_bytes:
            return self._written, b""
        position = offset % self._tail_bytes
        size = min(size, self._tail_bytes - position)
        return offset, os.pread(self._fd, size, self._head_bytes + position)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _nameless_file() -> int:
    """In $TMPDIR or /tmp; it is gone when it is closed. Raises OSError."""
    directory = os.environ.get("TMPDIR") or "/tmp"
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC | os.O_EXCL, 0o600)
    except OSError:
        # A file system that does not know nameless files: make one and take its name away.
        path = os.path.join(directory, f".mythsystem-{os.getpid()}-{os.urandom(8).hex()}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return fd
