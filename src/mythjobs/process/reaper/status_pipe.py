"""Status pipe of a job: a FIFO into which the job writes status lines ($MYTHJOBS_STATUS)."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from mythjobs.process.spawn import errors

_MAX_LINE_BYTES: Final = 4096
# Maximum number of lines that are kept until they are sent, each with another first word.
_MAX_LINES: Final = 64
_READ_BYTES: Final = 65536
# Number of reads at the end of the attempt: the largest FIFO that F_SETPIPE_SZ allows by default
# (pipe(7), pipe-max-size) has 1 MiB.
_MAX_LAST_READS: Final = 16


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
        # The last line with each first word (`progress`, `comment`): it replaces earlier ones.
        self._lines: dict[bytes, bytes] = {}
        self._partial = b""
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:
            os.unlink(path)
            raise

    def read(self) -> bool:
        """Read what the FIFO has, at most 64 KiB. Return whether there was anything."""
        try:
            data = os.read(self.fd, _READ_BYTES)
        except BlockingIOError:
            return False
        *lines, rest = (self._partial + data).split(b"\n")
        self._partial = rest[:_MAX_LINE_BYTES]
        self._keep(lines)
        return True

    def read_all(self) -> None:
        """Read the rest at the end of the attempt, with a last line that lacks its line break."""
        for _ in range(_MAX_LAST_READS):
            if not self.read():
                break
        line, self._partial = self._partial, b""
        self._keep([line])

    def _keep(self, lines: list[bytes]) -> None:
        latest: dict[bytes, bytes] = {}
        for line in reversed(lines):
            first = line[:_MAX_LINE_BYTES].split(maxsplit=1)[:1]
            if first and first[0] not in latest:
                latest[first[0]] = line[:_MAX_LINE_BYTES]
                if len(latest) == _MAX_LINES:
                    break
        kept = self._lines
        for word, line in reversed(latest.items()):
            kept.pop(word, None)
            kept[word] = line
        while len(kept) > _MAX_LINES:
            del kept[next(iter(kept))]

    def take_lines(self) -> list[str]:
        """Return the lines to send, in the order in which they were written."""
        lines, self._lines = self._lines, {}
        return [line.decode("utf-8", "replace") for line in lines.values()]

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
