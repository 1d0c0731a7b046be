"""What is kept of one output stream: its head in one file, its tail in a ring in another."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Final

from mythjobs.model.output_window import Kept

# Behind the ring stands how much had been written when it was last turned. It is
# renewed before the bytes are, so who reads the ring meanwhile can tell what was lost.
_MARK: Final = struct.Struct("<Q")
_FLAGS: Final = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def stream_path(directory: str | os.PathLike[str], job: int, n: int, stream: int) -> str:
    """Where a stream (1 stdout, 2 stderr) of an attempt is kept; its ring is in `….tail`."""
    return os.path.join(directory, f"{job}.{n}.{stream}")


class Spool:
    """Takes a stream and keeps its two ends. Makes no file before the first byte.

    A disk that is full, or fails, costs bytes and nothing else: they are counted as dropped.
    """

    __slots__ = ("_head_fd", "_head_open", "_path", "_ring_fd", "_sizes", "_tail_from", "head",
                 "written")  # fmt: skip

    def __init__(self, path: str, head_bytes: int, tail_bytes: int) -> None:
        self._path = path
        self._sizes = (head_bytes, tail_bytes)
        self._head_open = head_bytes > 0
        self._head_fd = self._ring_fd = -1
        self._tail_from = 0
        self.written = self.head = 0

    @property
    def kept(self) -> Kept:
        tail = 0 if self._head_open else min(self.written - self._tail_from, self._sizes[1])
        return Kept(self.written, self.head, tail)

    def write(self, data: memoryview) -> None:
        offset = self.written
        self.written += len(data)
        if self._head_open:
            part = data[: self._sizes[0] - self.head]
            done = self._append(part)
            self.head += done
            if done == len(part) and self.head < self._sizes[0]:
                return
            self._head_open = False
            self._close_head()
            # What the disk did not take is lost, and the tail can only begin behind it.
            lost = done < len(part)
            self._tail_from = self.written if lost else self.head
            if lost:
                return
            data = data[done:]
            offset += done
        if data:
            self._turn(offset, data)

    def lose(self, size: int) -> None:
        """So many bytes came that cannot be kept: what follows them is a new tail."""
        self.written += size
        self._head_open = False
        self._close_head()
        self._tail_from = self.written

    def _append(self, data: memoryview) -> int:
        done = 0
        try:
            if self._head_fd < 0:
                flags = os.O_WRONLY | os.O_APPEND | os.O_TRUNC | _FLAGS
                self._head_fd = os.open(self._path, flags, 0o600)
            while done < len(data):
                done += os.write(self._head_fd, data[done:])
        except OSError:
            pass
        return done

    def _turn(self, offset: int, data: memoryview) -> None:
        """The byte at offset o of the stream stands at o modulo the size of the ring."""
        size = self._sizes[1]
        if not size:
            self._tail_from = self.written
            return
        offset += max(0, len(data) - size)
        data = data[-size:]
        position = offset % size
        try:
            if self._ring_fd < 0:
                flags = os.O_WRONLY | os.O_TRUNC | _FLAGS
                self._ring_fd = os.open(self._path + ".tail", flags, 0o600)
            _write_at(self._ring_fd, memoryview(_MARK.pack(self.written)), size)
            _write_at(self._ring_fd, data[: size - position], position)
            _write_at(self._ring_fd, data[size - position :], 0)
        except OSError:
            self._tail_from = self.written

    def _close_head(self) -> None:
        self._head_fd = _closed(self._head_fd)

    def close(self) -> None:
        self._close_head()
        self._ring_fd = _closed(self._ring_fd)


def _closed(fd: int) -> int:
    """A network disk may tell only now that it did not take all (close(2)); the number is free
    all the same."""
    if fd >= 0:
        with suppress(OSError):
            os.close(fd)
    return -1


def read_range(path: str, kept: Kept, offset: int, size: int) -> tuple[int, bytes]:
    """At most `size` bytes of a stream from `offset` on, and where they really begin.

    They begin later if what is asked for was dropped, also while this reads; there are none
    at or behind the end of what `kept` says. The stream may still be growing.
    """
    if offset < kept.head:
        return offset, _read_at(path, offset, min(size, kept.head - offset))
    offset = max(offset, kept.written - kept.tail)
    size = min(size, kept.written - offset)
    if size <= 0:
        return kept.written, b""
    return _read_ring(path + ".tail", offset, size)


def _read_ring(path: str, offset: int, size: int) -> tuple[int, bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return offset + size, b""
    try:
        ring = os.fstat(fd).st_size - _MARK.size
        position = offset % ring
        size = min(size, ring)
        data = os.pread(fd, min(size, ring - position), position)
        if len(data) < size:
            data += os.pread(fd, size - len(data), 0)
        (turned,) = _MARK.unpack(os.pread(fd, _MARK.size, ring))
    finally:
        os.close(fd)
    lost = min(max(0, turned - ring - offset), len(data))
    return offset + lost, data[lost:]


def read_kept(path: str, kept: Kept, offset: int, size: int) -> bytes:
    """At most `size` of the bytes that are kept, head then tail, of a stream that is over."""
    if offset < kept.head:
        return _read_at(path, offset, min(size, kept.head - offset))
    begin = kept.written - kept.tail + offset - kept.head
    return read_range(path, kept, begin, size)[1]


def _read_at(path: str, offset: int, size: int) -> bytes:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def _write_at(fd: int, data: memoryview, position: int) -> None:
    while data:
        done = os.pwrite(fd, data, position)
        data = data[done:]
        position += done
