"""Process.communicate(): writes all input and reads all output of a program without deadlock."""

from __future__ import annotations

import select
import time
from typing import Final, NamedTuple

from mythjobs.process.library.buffer import Buffer
from mythjobs.process.library.pipes import Reader
from mythjobs.process.library.spec import CallerStreams

# Longest wait of one poll(2), whose timeout is a C int: a deadline may be months away.
_MAX_POLL_MS: Final = 86_400_000


class Output(NamedTuple):
    """Output of a program. A stream that is neither BUFFERED nor a PIPE is None."""

    stdout: bytes | None
    stderr: bytes | None


class Communication:
    """State of communicate() for one program, so that a call after a timeout continues where the
    previous one stopped."""

    def __init__(self, streams: CallerStreams) -> None:
        self._streams = streams
        self._left: memoryview | None = None
        self._output: Output | None = None

    def give(self, data: bytes | bytearray | memoryview) -> None:
        """Set the input. Raises ValueError if there is no PIPE, other input was given, or it is not
        bytes."""
        if self._streams.stdin is None:
            raise ValueError("stdin is not a PIPE; start the program with stdin=PIPE")
        if self._left is not None:
            raise ValueError("communicate() was already called; its input cannot be changed")
        if not isinstance(data, bytes | bytearray | memoryview):
            raise ValueError(f"input must be bytes, not {type(data).__name__}")
        self._left = memoryview(bytes(data))

    def exchange(self, deadline_s: float | None) -> bool:
        """Write the input and read the output until both are at their end. Return False if the
        deadline, a time of time.monotonic(), passes first."""
        while True:
            self._write()
            by_fd = {each.fileno(): each for each in self._readers() if each.can_read_ahead}
            if not by_fd and not self._left:
                return True
            poll = select.poll()
            for fd in by_fd:
                poll.register(fd, select.POLLIN)
            writer = self._streams.stdin
            if self._left and writer is not None and writer.fileno() >= 0:
                poll.register(writer.fileno(), select.POLLOUT)
            left_ms = None
            if deadline_s is not None:
                left_ms = (deadline_s - time.monotonic()) * 1000
                if left_ms <= 0:
                    return False
            for fd, _ in poll.poll(None if left_ms is None else min(left_ms, _MAX_POLL_MS)):
                if fd in by_fd:
                    by_fd[fd].read_ahead()

    def collect(self) -> Output:
        """Return the whole output. Further calls return the same object."""
        if self._output is None:
            self._output = Output(_take(self._streams.stdout), _take(self._streams.stderr))
        return self._output

    def _readers(self) -> list[Reader]:
        streams = (self._streams.stdout, self._streams.stderr)
        return [each for each in streams if isinstance(each, Reader)]

    def _write(self) -> None:
        """Write as much input as the pipe takes, and close the pipe after the last byte."""
        writer = self._streams.stdin
        if writer is None:
            return
        while self._left:
            count = writer.write_now(self._left)
            if count == 0:
                return
            # Remove the bytes that were written. `count` is None if the program has closed its
            # stdin: drop all input, as a program may need only the beginning.
            self._left = self._left[len(self._left) if count is None else count :]
        writer.close()


def _take(stream: Reader | Buffer | None) -> bytes | None:
    return None if stream is None else stream.read()
