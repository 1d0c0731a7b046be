"""Status pipe of a job: a FIFO into which the job writes status lines ($MYTHJOBS_STATUS)."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from mythjobs.process.spawn import errors

_MAX_LINE_BYTES: Final = 4096
_MAX_LINES: Final = 64
_READ_BYTES: Final = 65536


class StatusPipe:
    """The reaper's end of the FIFO. The reaper opens the FIFO for reading and writing, so that
    open() blocks neither reaper nor job, and a writer that closes it causes no end of file."""

    __slots__ = ("_lines", "_partial", "fd", "path")

    def __init__(self, path: str) -> None:
        """Create the FIFO, replacing an existing file. Raises OSError."""
        with suppress(FileNotFoundError):
            os.unlink(path)
        os.mkfifo(path, 0o600)
        self.path = path
        self._lines: list[str] = []
        self._partial = b""
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            os.unlink(path)
            raise

    def read(self) -> None:
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return
        *lines, rest = (self._partial + data).split(b"\n")
        self._partial = rest[:_MAX_LINE_BYTES]
        self._lines += [line[:_MAX_LINE_BYTES].decode("utf-8", "replace") for line in lines if line]
        # Keep only the latest lines: a status line replaces earlier lines of its kind.
        del self._lines[:-_MAX_LINES]

    def take_lines(self) -> list[str]:
        lines, self._lines = self._lines, []
        return lines

    def close(self) -> None:
        """Close the FIFO. The caller must remove its file."""
        os.close(self.fd)


def create_status_pipe(name: str, runtime: str, scratch: str) -> StatusPipe:
    """Create the FIFO `name` in the runtime directory or, if that is missing, in the directory for
    scratch directories. Raises CannotStart.
    """
    try:
        try:
            return StatusPipe(os.path.join(runtime, name))
        except FileNotFoundError:
            # The runtime directory is gone: systemd removes $XDG_RUNTIME_DIR when the user's last
            # session ends, but the reaper lives on.
            return StatusPipe(os.path.join(scratch, name))
    except OSError as error:
        raise errors.setup_error(error, f"status pipe {name}") from None
