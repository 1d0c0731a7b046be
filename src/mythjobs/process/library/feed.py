"""Input that the caller passes as bytes; the supervisor's thread writes it to the child's stdin."""

from __future__ import annotations

import fcntl
from contextlib import suppress
from typing import Final

from mythjobs.process import descriptors, quick_calls
from mythjobs.process.library.pipes import write_without_sigpipe

# Default and unprivileged maximum capacity of a pipe (pipe(7)).
_DEFAULT_PIPE_BYTES: Final = 64 * 1024
_LARGE_PIPE_BYTES: Final = 1024 * 1024


class InputFeed:
    """Writes bytes into the child's stdin pipe as the child reads them, then closes the pipe."""

    def __init__(self, fd: int, data: bytes) -> None:
        self.fd = descriptors.register(fd, self)
        self._left = memoryview(data)
        quick_calls.set_nonblocking(fd)
        if len(data) > _DEFAULT_PIPE_BYTES:
            # Enlarge the pipe, for fewer wake-ups. Ignore OSError: the pipes of this user already
            # have all the memory that the kernel grants (pipe(7)).
            with suppress(OSError):
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, min(len(data), _LARGE_PIPE_BYTES))
        # Write in the caller's thread first: most input fits into the pipe, and then the
        # supervisor's thread has nothing to write.
        if self.write():
            self.close()

    def write(self) -> bool:
        """Write as much input as the pipe takes. Return True if no input is left, or if the child
        has closed its end of the pipe."""
        try:
            while self._left:
                self._left = self._left[write_without_sigpipe(self.fd, self._left) :]
        except BlockingIOError:
            return False
        except BrokenPipeError:
            pass
        return True

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            descriptors.close(fd)

    def forget(self) -> None:
        self.fd = -1

    def __del__(self) -> None:
        self.close()
