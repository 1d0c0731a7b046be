"""Resources that the start of a program needs: its streams, working directory and umask.

They are opened in the thread that calls start(). So the host program may afterwards close its
descriptors or change its working directory or umask, without effect on the started program.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import IO, Final

from mythjobs.process import descriptors, quick_calls
from mythjobs.process.library.buffer import Buffer
from mythjobs.process.library.feed import InputFeed
from mythjobs.process.library.pipes import Reader, Writer
from mythjobs.process.library.spec import CallerStreams, ChildSpec, File, Stdio
from mythjobs.process.reserve import is_shortage
from mythjobs.process.spawn import files
from mythjobs.process.spawn.errors import (
    CannotStart,
    escape_undecodable,
    setup_error,
)
from mythjobs.process.spawn.program import Program
from mythjobs.process.supervise.streams import Stream

_NAMES: Final = ("stdin", "stdout", "stderr")


class StartResources:
    """Open descriptors for one start: those needed until the program is spawned, and the streams
    that the supervisor reads and writes."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.feed: InputFeed | None = None
        self._fds = [-1, -1, -1]
        self._cwd_fd = self._umask = -1
        self._opened: list[int] = []

    def open(self, spec: ChildSpec, umask: int) -> CallerStreams:
        """Open the streams and the working directory. Return the caller's ends of the streams.
        Raises CannotStart, and OSError if no pipe can be created."""
        self._umask = umask
        # Check the caller's descriptors before opening any: a new descriptor may get the number of
        # one that the caller has closed.
        for name, fd in _list_descriptors(spec):
            _check_open(fd, name)
        self._open_directory(spec.cwd)
        stdout = self._open_output(1, spec)
        stderr = self._open_output(2, spec)
        readers = [each for each in (stdout, stderr) if isinstance(each, Reader)]
        if len(readers) == 2:
            readers[0].read_ahead_of(readers[1])
        return CallerStreams(self._open_input(spec.stdin, readers), stdout, stderr)

    def make_program(self, spec: ChildSpec) -> Program:
        stdin, stdout, stderr = self._fds
        return Program(
            spec.argv, spec.env, spec.search, spec.cwd or b"", stdin, stdout, stderr,
            session=spec.session, setup=spec.setup, pass_fds=spec.pass_fds, umask=self._umask,
            cwd_fd=self._cwd_fd, executable=spec.executable,
        )  # fmt: skip

    def close(self) -> None:
        """Close the descriptors that were needed until the program was spawned."""
        while self._opened:
            descriptors.close(self._opened.pop())

    def forget(self) -> None:
        self._opened.clear()

    def __del__(self) -> None:
        # Close descriptors that are still open if an exception in the caller's thread, such as
        # KeyboardInterrupt, prevented the spawn.
        self.close()

    def _keep(self, fd: int) -> int:
        self._opened.append(descriptors.register(fd, self))
        return fd

    def _open_directory(self, cwd: bytes | None) -> None:
        try:
            if cwd is None:
                fd = quick_calls.open_working_directory()
            else:
                flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
                fd = quick_calls.move_above_streams(os.open(cwd, flags))
            self._cwd_fd = self._keep(fd)
        except OSError as error:
            # Only an inherited working directory (`cwd` None) need not be opened: the program can
            # use it even if this process may not open it.
            if cwd is not None or is_shortage(error):
                name = escape_undecodable(os.fsdecode(cwd or b"."))
                raise setup_error(error, f"working directory {name}") from None

    def _open_input(self, source: Stdio | bytes | File, readers: list[Reader]) -> Writer | None:
        if source is Stdio.PIPE or isinstance(source, bytes):
            theirs, ours = descriptors.create_pipe()
            self._fds[0] = self._keep(theirs)
            if not isinstance(source, bytes):
                return Writer(ours, readers)
            self.feed = InputFeed(ours, source)
        elif isinstance(source, str):
            self._fds[0] = self._keep(files.open_input(source))
        else:
            self._fds[0] = self._open_file(0, source)
        return None

    def _open_output(self, number: int, spec: ChildSpec) -> Reader | Buffer | None:
        to = spec.stderr if number == 2 else spec.stdout
        if to is Stdio.PIPE or to is Stdio.BUFFERED:
            ours, theirs = descriptors.create_pipe()
            self._fds[number] = self._keep(theirs)
            if to is Stdio.PIPE:
                return Reader(ours)
            buffer = Buffer(*spec.keep)
            self.streams.append(Stream(ours, buffer))
            quick_calls.set_nonblocking(ours)
            return buffer
        if to is Stdio.MERGED:
            self._fds[2] = self._fds[1] if self._fds[1] >= 0 else 1
        elif isinstance(to, str):
            self._fds[number] = self._keep(files.open_output(to))
        else:
            self._fds[number] = self._open_file(number, to)
        return None

    def _open_file(self, number: int, given: Stdio | int | IO[bytes] | Reader | Writer) -> int:
        """Return a copy of the descriptor of a file that the caller gave."""
        if given is Stdio.NULL:
            return files.dev_null(os.getpid())
        if given is Stdio.INHERIT:
            try:
                return self._keep(_duplicate(number))
            except OSError as error:
                if error.errno == errno.EBADF:
                    # The stream is closed in this process; -1 leaves it closed in the program too.
                    return -1
                raise
        assert not isinstance(given, Stdio)
        if isinstance(given, Reader | Writer):
            return self._keep(given.open_for_program())
        return self._keep(_duplicate(given if isinstance(given, int) else given.fileno()))


def _list_descriptors(spec: ChildSpec) -> list[tuple[str, int]]:
    """Return (name of the argument, descriptor) for each descriptor that the caller passed."""
    found = [("pass_fds", fd) for fd in spec.pass_fds]
    for name, given in zip(_NAMES, (spec.stdin, spec.stdout, spec.stderr), strict=True):
        if isinstance(given, int):
            found.append((name, given))
    return found


def _duplicate(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, quick_calls.FIRST_FD)


def _check_open(fd: int, name: str) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_GETFD)
    except OSError as error:
        number = error.errno or 0
        raise CannotStart(number, f"{name}: descriptor {fd} is not open") from None
