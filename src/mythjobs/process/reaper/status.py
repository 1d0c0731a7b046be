"""The FIFO into which a job writes lines about itself ($MYTHJOBS_STATUS)."""

from __future__ import annotations

import os
from typing import Final

_LONGEST_LINE: Final = 4096
_MOST_LINES: Final = 64
_CHUNK: Final = 65536


class StatusPipe:
    """Held open for reading and writing, so that neither side ever waits to open it, and
    no end of file comes when one writer has closed it."""

    __slots__ = ("_lines", "_rest", "fd", "path")

    def __init__(self, path: str) -> None:
        os.mkfifo(path, 0o600)
        self.path = path
        self._lines: list[str] = []
        self._rest = b""
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            os.unlink(path)
            raise

    def read(self) -> None:
        try:
            data = os.read(self.fd, _CHUNK)
        except BlockingIOError:
            return
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:_LONGEST_LINE]
        self._lines += [line[:_LONGEST_LINE].decode("utf-8", "replace") for line in lines if line]
        # Each line stands for what it says until the next of its kind; the latest matter.
        del self._lines[:-_MOST_LINES]

    def take(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        os.close(self.fd)
        try:
            os.unlink(self.path)
        except OSError:
            pass
