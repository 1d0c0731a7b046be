"""Buffer of a child's output: keeps its head and tail, and counts the bytes dropped between."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from mythjobs.process.library.chunks import Chunks, Lines
from mythjobs.process.library.latch import Latch
from mythjobs.process.quick_calls import move_above_streams

# Output up to this size is kept in memory, larger output in an unnamed file.
_MEMORY_BYTES: Final = 64 * 1024
_CHUNK: Final = 256 * 1024
# How long the supervisor waits for a reader: several times what reading all that is kept takes.
_LOCK_TIMEOUT_S: Final = 1.0
# Bytes of a stream's head and tail that are kept by default.
DEFAULT_KEEP: Final = (4 * 2**20, 12 * 2**20)


class Buffer:
    """Output of a child, which never blocks the child: the first `head_bytes` and the last
    `tail_bytes` are kept, the bytes between are dropped and counted.

    Any number of threads may read while the child writes. Bytes that a full disk refuses are
    counted as dropped.
    """

    def __init__(self, head_bytes: int, tail_bytes: int | None) -> None:
        """Create an empty buffer. With `tail_bytes` None it keeps all output."""
        self._head_bytes = head_bytes
        self._tail_bytes = tail_bytes
        self._memory: bytearray | None = bytearray()
        # The file that replaces `_memory`; -1 if none could be created. Then `_substitute` has the
        # bytes that the file would have.
        self._fd = -1
        self._substitute = bytearray()
        self._head_size = 0
        # Offset in the stream at which the ring buffer's content may begin, as bytes before are in
        # the head or lost; None while the head is not full.
        self._tail_start: int | None = None
        self._closed = False
        # Reentrant, because a signal handler may read while it interrupts a read.
        self._lock = threading.RLock()
        # Output that arrived while a signal handler had interrupted a reader that holds the lock.
        self._pending: deque[bytes] = deque()
        # Callbacks for when output arrives or ends. The list is changed by atomic operations only.
        self._waiting: list[Callable[[], None]] = []
        self._written = 0

    # Methods of Sink, called by the supervisor.

    def write(self, data: memoryview, /) -> None:
        # Never wait for long: that could be a deadlock. The lock's holder may have been interrupted
        # by a signal handler that waits for a program which this thread supervises.
        if self._lock.acquire(timeout=_LOCK_TIMEOUT_S):
            try:
                self._write_pending()
                self._write(data)
            finally:
                self._lock.release()
        else:
            self._pending.append(bytes(data))
        if self._waiting:
            self._wake()

    def close(self) -> None:
        self._closed = True
        self._wake()

    def forget(self) -> None:
        """Mark the buffer as ended in a forked child, where no thread writes to it any more."""
        self._lock = threading.RLock()
        self._waiting.clear()
        self._closed = True

    def _wake(self) -> None:
        while self._waiting:
            self._waiting.pop()()

    def _write_pending(self) -> None:
        while self._pending:
            self._write(memoryview(self._pending.popleft()))

    def _write(self, data: memoryview) -> None:
        memory = self._memory
        end = self._written + len(data)
        if memory is not None and end <= min(_MEMORY_BYTES, self._head_bytes):
            memory += data
            self._head_size += len(data)
            self._written += len(data)
        else:
            self._write_file(data)

    def _write_file(self, data: memoryview) -> None:
        if self._memory is not None:
            self._move_to_file()
        offset = self._written
        self._written += len(data)
        if self._tail_start is None:
            part = data if self._tail_bytes is None else data[: self._head_bytes - self._head_size]
            done = self._write_at(part, self._head_size)
            self._head_size += done
            if done == len(part) and (
                self._tail_bytes is None or self._head_size < self._head_bytes
            ):
                return
            # The tail follows the head, unless the disk refused bytes: then it begins after these.
            self._tail_start = self._head_size if done == len(part) else self._written
            if done < len(part):
                return
            data = data[done:]
            offset += done
        self._write_tail(offset, data)

    def _move_to_file(self) -> None:
        memory, self._memory = self._memory, None
        assert memory is not None
        try:
            self._fd = move_above_streams(_open_unnamed_file())
        except OSError:
            # No file can be created: keep the head at its present size and a small tail in memory.
            kept = _MEMORY_BYTES if self._tail_bytes is None else self._tail_bytes
            self._tail_bytes = min(_MEMORY_BYTES, kept)
            self._head_bytes = len(memory)
            self._substitute = bytearray(self._head_bytes + self._tail_bytes)
        self._head_size = self._write_at(memoryview(memory), 0)

    def _write_tail(self, offset: int, data: memoryview) -> None:
        """Write `data`, which begins at `offset` of the stream, to the ring buffer after the head
        in the file. The byte at offset o of the stream is at position o modulo the ring's size."""
        size = self._tail_bytes
        if not data:
            return
        if not size:
            self._tail_start = self._written
            return
        offset += max(0, len(data) - size)
        data = data[-size:]
        position = offset % size
        first = data[: size - position]
        rest = data[size - position :]
        done = self._write_at(first, self._head_bytes + position)
        done += self._write_at(rest, self._head_bytes)
        if done < len(data):
            self._tail_start = self._written

    def _write_at(self, data: memoryview, position: int) -> int:
        if self._fd < 0:
            self._substitute[position : position + len(data)] = data
            return len(data)
        done = 0
        try:
            while done < len(data):
                done += os.pwrite(self._fd, data[done:], position + done)
        except OSError:
            pass
        return done

    # Methods for readers.

    @property
    def written_bytes(self) -> int:
        """Number of bytes that the child has written."""
        return self._written

    @property
    def dropped_bytes(self) -> int:
        """Number of bytes that the child has written but that are not kept."""
        with self._lock:
            self._settle()
            return self._count_dropped()

    def head(self, size: int = -1) -> bytes:
        """Return the first bytes of the output, at most `size`: of the kept head, or of the whole
        output if nothing was dropped."""
        _check_size(size)
        with self._lock:
            self._settle()
            most = self._head_size if self._count_dropped() else self._written
            return self._read_between(0, most if size < 0 else min(size, most))

    def tail(self, size: int = -1) -> bytes:
        """Return the last bytes of the output, at most `size`: of the kept tail, or of the whole
        output if nothing was dropped."""
        _check_size(size)
        with self._lock:
            self._settle()
            begin = self._written - self._tail_size() if self._count_dropped() else 0
            if size >= 0:
                begin = max(begin, self._written - size)
            return self._read_between(begin, self._written)

    def read(self) -> bytes:
        """Return all bytes kept so far: the head, directly followed by the tail."""
        with self._lock:
            self._settle()
            return self._read_between(0, self._written)

    def text(self, encoding: str = "utf-8", errors: str = "replace") -> str:
        return self.read().decode(encoding, errors)

    def __bytes__(self) -> bytes:
        return self.read()

    def __iter__(self) -> Chunks:
        """Iterate over chunks with `for` or `async for`, from the beginning until the child has
        ended. A slow reader misses bytes that are dropped before it reads them."""
        cursor = _Cursor(self)
        return Chunks(cursor.read, cursor.read_async)

    __aiter__ = __iter__

    def lines(self) -> Lines:
        """Iterate over lines with `for` or `async for`. A line includes its newline, which it lacks
        at the end of the output and before dropped bytes."""
        cursor = _Cursor(self)
        return Lines(cursor.read, cursor.read_async, lambda: cursor.follows_gap)

    def read_now(self, offset: int) -> tuple[int, bytes] | None:
        """Return (offset of the chunk, chunk) from `offset` or, if the bytes there were dropped,
        from the next kept byte. The chunk is empty at the end of the output. Return None if no
        output has arrived there yet."""
        with self._lock:
            self._settle()
            while offset < self._written:
                offset, data = self._read_part(offset, _CHUNK)
                if data:
                    return offset, data
            return (offset, b"") if self._closed else None

    def wait(self, offset: int) -> None:
        """Block until there is output beyond `offset`, or the output has ended."""
        latch = Latch()
        self._waiting.append(latch.set)
        if not self._has_more(offset):
            latch.wait()

    async def wait_async(self, offset: int) -> None:
        # Imported here because programs without asyncio do not need it.
        from asyncio import get_running_loop

        loop = get_running_loop()
        future = loop.create_future()

        def resolve() -> None:
            if not future.done():
                future.set_result(None)

        def wake() -> None:
            # RuntimeError is raised if the asyncio loop was closed meanwhile.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(resolve)

        self._waiting.append(wake)
        try:
            if not self._has_more(offset):
                await future
        finally:
            with suppress(ValueError):
                self._waiting.remove(wake)

    def _has_more(self, offset: int) -> bool:
        return offset < self._written or self._closed

    def _settle(self) -> None:
        """Add output that the supervisor could not add before the end. The lock must be held."""
        if self._closed:
            self._write_pending()

    def _count_dropped(self) -> int:
        return self._written - self._head_size - self._tail_size()

    def _tail_size(self) -> int:
        if self._tail_start is None or not self._tail_bytes:
            return 0
        return min(self._written - self._tail_start, self._tail_bytes)

    def _read_between(self, offset: int, end: int) -> bytes:
        parts = []
        while offset < end:
            offset, data = self._read_part(offset, end - offset)
            offset += len(data)
            parts.append(data)
        return b"".join(parts)

    def _read_part(self, offset: int, size: int) -> tuple[int, bytes]:
        """Return (offset of the first byte, at most `size` bytes) from `offset` or, if the bytes
        there were dropped, from the next kept byte."""
        if self._memory is not None:
            return offset, bytes(self._memory[offset : offset + size])
        if offset < self._head_size:
            return offset, self._read_at(min(size, self._head_size - offset), offset)
        offset = max(offset, self._written - self._tail_size())
        size = min(size, self._written - offset)
        if size <= 0 or not self._tail_bytes:
            return self._written, b""
        position = offset % self._tail_bytes
        size = min(size, self._tail_bytes - position)
        return offset, self._read_at(size, self._head_bytes + position)

    def _read_at(self, size: int, position: int) -> bytes:
        if self._fd < 0:
            return bytes(self._substitute[position : position + size])
        return os.pread(self._fd, size, position)

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)


def _check_size(size: int) -> None:
    if not isinstance(size, int):
        raise ValueError(f"a number of bytes must be an integer: {size!r}")


class _Cursor:
    """Position of one reader of a buffer."""

    def __init__(self, buffer: Buffer) -> None:
        self._buffer = buffer
        self._offset = 0
        # True if bytes were dropped directly before the last chunk that was read.
        self.follows_gap = False

    def read(self) -> bytes:
        while (found := self._buffer.read_now(self._offset)) is None:
            self._buffer.wait(self._offset)
        return self._move(*found)

    async def read_async(self) -> bytes:
        while (found := self._buffer.read_now(self._offset)) is None:
            await self._buffer.wait_async(self._offset)
        return self._move(*found)

    def _move(self, offset: int, data: bytes) -> bytes:
        self.follows_gap = offset != self._offset
        self._offset = offset + len(data)
        return data


def _open_unnamed_file() -> int:
    """Return the descriptor of a file in $TMPDIR or /tmp that has no name, so that it vanishes when
    closed. Raises OSError."""
    directory = os.environ.get("TMPDIR") or "/tmp"
    try:
        return os.open(directory, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC | os.O_EXCL, 0o600)
    except OSError:
        # The file system does not support O_TMPFILE: create a file and unlink its name.
        path = os.path.join(directory, f".mythsystem-{os.getpid()}-{os.urandom(8).hex()}")
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        os.unlink(path)
        return fd
