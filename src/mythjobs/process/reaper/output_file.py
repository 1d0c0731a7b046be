"""Output files of attempts: a stream's first bytes are kept in its head file, its last bytes in a
ring buffer file."""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from typing import Final

from mythjobs.model.output_window import OutputWindow

# Trailer after the ring buffer in its file: the length of the stream after the last write. The
# trailer is written before the output bytes, so that a concurrent reader can tell which bytes of
# the ring may be overwritten.
_RING_TRAILER: Final = struct.Struct("<Q")
_OPEN_FLAGS: Final = os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW


def stream_path(directory: str | os.PathLike[str], job: int, n: int, stream: int) -> str:
    """Return the path of a stream's head file, for attempt number `n` of the job (stream: 1 stdout,
    2 stderr). The path of the stream's ring buffer file is this path with the suffix `.tail`."""
    return os.path.join(directory, f"{job}.{n}.{stream}")


class OutputFile:
    """Stores the head and the tail of one stream. Files are created only when bytes are written.

    Bytes that the disk refuses are counted as dropped; no method raises OSError.
    """

    __slots__ = (
        "_head_fd", "_head_open", "_limits_bytes", "_path", "_ring_fd", "_tail_start", "head_bytes",
        "written_bytes",
    )  # fmt: skip

    def __init__(self, path: str, head_bytes: int, tail_bytes: int) -> None:
        self._path = path
        self._limits_bytes = (head_bytes, tail_bytes)
        self._head_open = head_bytes > 0
        self._head_fd = self._ring_fd = -1
        self._tail_start = 0
        self.written_bytes = self.head_bytes = 0

    @property
    def max_head_bytes(self) -> int:
        return self._limits_bytes[0]

    @property
    def window(self) -> OutputWindow:
        tail = min(self.written_bytes - self._tail_start, self._limits_bytes[1])
        return OutputWindow(self.written_bytes, self.head_bytes, 0 if self._head_open else tail)

    def write(self, data: memoryview) -> None:
        offset = self.written_bytes
        self.written_bytes += len(data)
        if self._head_open:
            part = data[: self._limits_bytes[0] - self.head_bytes]
            done = self._write_head(part)
            self.head_bytes += done
            if done == len(part) and self.head_bytes < self._limits_bytes[0]:
                return
            self._head_open = False
            self._close_head()
            # The tail follows the head, unless the disk refused bytes: then it begins after these.
            lost = done < len(part)
            self._tail_start = self.written_bytes if lost else self.head_bytes
            if lost:
                return
            data = data[done:]
            offset += done
        if data:
            self._write_ring(offset, data)

    def drop(self, size: int) -> None:
        """Count `size` bytes of the stream as lost: they follow the bytes written so far, and the
        kept tail begins after them."""
        self.written_bytes += size
        self._head_open = False
        self._close_head()
        self._tail_start = self.written_bytes

    def _write_head(self, data: memoryview) -> int:
        done = 0
        try:
            if self._head_fd < 0:
                flags = os.O_WRONLY | os.O_APPEND | os.O_TRUNC | _OPEN_FLAGS
                self._head_fd = _open_file(self._path, flags)
            while done < len(data):
                done += os.write(self._head_fd, data[done:])
        except OSError:
            pass
        return done

    def _write_ring(self, offset: int, data: memoryview) -> None:
        """Write `data`, which begins at `offset` of the stream, to the ring buffer: the byte at
        offset o of the stream is at position o modulo the ring's size."""
        size = self._limits_bytes[1]
        if not size:
            self._tail_start = self.written_bytes
            return
        offset += max(0, len(data) - size)
        data = data[-size:]
        position = offset % size
        try:
            if self._ring_fd < 0:
                flags = os.O_WRONLY | os.O_TRUNC | _OPEN_FLAGS
                self._ring_fd = _open_file(self._path + ".tail", flags)
            _write_at(self._ring_fd, memoryview(_RING_TRAILER.pack(self.written_bytes)), size)
            _write_at(self._ring_fd, data[: size - position], position)
            _write_at(self._ring_fd, data[size - position :], 0)
        except OSError:
            self._tail_start = self.written_bytes

    @property
    def is_open(self) -> bool:
        return self._head_fd >= 0 or self._ring_fd >= 0

    def _close_head(self) -> None:
        self._head_fd = _close_fd(self._head_fd)

    def close(self) -> None:
        self._close_head()
        self._ring_fd = _close_fd(self._ring_fd)


def _open_file(path: str, flags: int) -> int:
    """Create and open a file. If its directory was deleted, create that again."""
    try:
        return os.open(path, flags, 0o600)
    except FileNotFoundError:
        os.mkdir(os.path.dirname(path), 0o700)
        return os.open(path, flags, 0o600)


def _close_fd(fd: int) -> int:
    if fd >= 0:
        # Ignore an error: a network file system may report failed writes only here, but the
        # descriptor is closed in any case (close(2)).
        with suppress(OSError):
            os.close(fd)
    return -1


def read_range(path: str, window: OutputWindow, offset: int, size: int) -> tuple[int, bytes]:
    """Return (offset of the first byte returned, up to `size` bytes of a stream from `offset`).

    The returned offset is greater than `offset` if bytes there have been dropped, before or during
    the read. No bytes are returned at the end of `window`. The stream may still be growing.
    """
    if offset < window.head:
        return offset, _read_at(path, offset, min(size, window.head - offset))
    offset = max(offset, window.written - window.tail)
    size = min(size, window.written - offset)
    if size <= 0:
        return window.written, b""
    return _read_ring(path + ".tail", offset, size)


def _read_ring(path: str, offset: int, size: int) -> tuple[int, bytes]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return offset + size, b""
    try:
        ring_bytes = os.fstat(fd).st_size - _RING_TRAILER.size
        position = offset % ring_bytes
        size = min(size, ring_bytes)
        data = os.pread(fd, min(size, ring_bytes - position), position)
        if len(data) < size:
            data += os.pread(fd, size - len(data), 0)
        (written,) = _RING_TRAILER.unpack(os.pread(fd, _RING_TRAILER.size, ring_bytes))
    finally:
        os.close(fd)
    lost = min(max(0, written - ring_bytes - offset), len(data))
    return offset + lost, data[lost:]


def read_window(path: str, window: OutputWindow, offset: int, size: int) -> bytes:
    """Return up to `size` of the kept bytes of an ended attempt's stream. `offset` counts in the
    kept bytes: the head, followed directly by the tail."""
    if offset < window.head:
        return _read_at(path, offset, min(size, window.head - offset))
    begin = window.written - window.tail + offset - window.head
    return read_range(path, window, begin, size)[1]


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
