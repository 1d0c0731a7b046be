"""Input given as bytes: written to the child's stdin by the supervisor's thread."""

from __future__ import annotations

import os

from mythjobs.process import descriptors
from mythjobs.process.library.pipes import write_without_sigpipe


class InputFeed:
    """Writes bytes into a pipe as the child reads them, then closes it."""

    def __init__(self, fd: int, data: bytes) -> None:
        self.fd = descriptors.register(fd, self)
        self._left = memoryview(data)
        os.set_blocking(fd, False)
        # Most input fits into the pipe, and nothing more is to be done.
        if self.write():
            self.close()

    def write(self) -> bool:
        """Write what the pipe takes; return whether all is written or the child reads no more."""
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
