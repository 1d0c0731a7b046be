"""Specification of one start of a program, and the caller's ends of its streams."""

from __future__ import annotations

from enum import Enum
from typing import IO, NamedTuple

from mythjobs.model.limits import Limits
from mythjobs.process.library.buffer import Buffer
from mythjobs.process.library.pipes import Reader, Writer
from mythjobs.process.spawn.program import ChildSetup


class Stdio(Enum):
    """Source or destination of a standard stream that is not a file."""

    INHERIT = "inherit"
    NULL = "null"
    PIPE = "pipe"
    BUFFERED = "buffered"
    MERGED = "merged"


# A file for a standard stream: its path, a descriptor, an open file object, or another program's
# pipe.
File = str | int | IO[bytes] | Reader | Writer


class ChildSpec(NamedTuple):
    """Arguments of MythSystem for one start, validated and encoded for the kernel.

    `cwd` None inherits the working directory. If `executable` is not empty, this file is executed
    in place of argv[0].
    """

    argv: list[bytes]
    env: list[bytes]
    search: str
    cwd: bytes | None
    stdin: Stdio | bytes | File
    stdout: Stdio | File
    stderr: Stdio | File
    keep: tuple[int, int | None]
    session: bool
    mark: str
    limits: Limits
    leave_daemons: bool
    at_exit: str
    setup: ChildSetup
    contain: bool
    best_effort: bool
    executable: bytes
    pass_fds: tuple[int, ...]


class CallerStreams(NamedTuple):
    """The caller's ends of a child's streams. None for a stream that is neither a PIPE nor
    BUFFERED."""

    stdin: Writer | None = None
    stdout: Reader | Buffer | None = None
    stderr: Reader | Buffer | None = None


def closed_streams(spec: ChildSpec) -> CallerStreams:
    """Return the caller's streams for a child that was not started: closed, and without output."""
    stdin = Writer(-1, ()) if spec.stdin is Stdio.PIPE else None
    return CallerStreams(stdin, _closed_output(spec.stdout), _closed_output(spec.stderr))


def _closed_output(to: Stdio | File) -> Reader | Buffer | None:
    if to is Stdio.PIPE:
        return Reader(-1)
    if to is not Stdio.BUFFERED:
        return None
    buffer = Buffer(0, 0)
    buffer.close()
    return buffer
