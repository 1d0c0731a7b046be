"""Requests to the spawner in C (spawner.c), encoded as struct request of child.h."""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

from mythjobs.process.spawn.program import Program, candidate_paths, parse_io_class

_REQUEST: Final = struct.Struct("=2q22i")
REQUEST_BYTES: Final = _REQUEST.size
_IS_CANCELLED_AT: Final = 16
_RLIMIT: Final = struct.Struct("=qqq")


class StartRecord(NamedTuple):
    """Bytes to append to the file `fd` before the program is started."""

    fd: int
    data: bytes


class OutputPipes(NamedTuple):
    """Pipes that the spawner creates for a program's output, in place of Program.stdout and stderr.

    pipe_count: 1 for stdout and stderr together, or 2.
    wait_ms: how long the spawner waits for the program's end, 0 for none. If the program has ended
    by then, and nothing is left of what it started, the spawner reaps it and reads its output.
    events_fd: cgroup.events of the program's cgroup, or -1.
    output_bytes: how many bytes of output the spawner reads.
    """

    pipe_count: int
    wait_ms: int = 0
    events_fd: int = -1
    output_bytes: int = 0


NO_PIPES: Final = OutputPipes(0)


class StartRequest:
    """A start that has been submitted. Its memory must live until the reply."""

    __slots__ = ("_data", "_output_at", "_pin", "address", "program")

    def __init__(
        self,
        number: int,
        program: Program,
        cgroup_fd: int,
        record: StartRecord | None,
        pipes: OutputPipes,
    ) -> None:
        self._data = _encode(number, program, cgroup_fd, record, pipes)
        self._output_at = len(self._data) - pipes.output_bytes
        self._pin = ctypes.c_char.from_buffer(self._data)
        self.address = ctypes.addressof(self._pin)
        self.program = program

    def cancel(self) -> None:
        """Do not start the program, unless its process exists already."""
        self._data[_IS_CANCELLED_AT] = 1

    def take_output(self, sizes: Sequence[int]) -> list[bytes]:
        """Return the output that the spawner has read, by pipe."""
        at = self._output_at
        parts = []
        for size in sizes:
            parts.append(bytes(self._data[at : at + size]))
            at += size
        return parts


def _encode(
    number: int,
    program: Program,
    cgroup_fd: int,
    record: StartRecord | None,
    pipes: OutputPipes,
) -> bytearray:
    setup = program.setup
    files: Sequence[bytes] = candidate_paths(program)
    joins = [os.fsencode(each) for each in setup.cgroup_files]
    rlimits = setup.rlimits or {}
    ioprio = -1
    if setup.io:
        io_class, level = parse_io_class(setup.io)
        ioprio = io_class << 13 | level
    umask = program.umask if setup.umask < 0 else setup.umask
    rest = b"".join(_RLIMIT.pack(which, soft, hard) for which, (soft, hard) in rlimits.items())
    if record:
        rest += record.data
    rest += b"\0".join([program.cwd, *joins, *files, *program.argv, *program.env, b""])
    output_at = _REQUEST.size + len(rest)
    data = bytearray(output_at + pipes.output_bytes)
    _REQUEST.pack_into(
        data, 0,
        number, 0, 0, record.fd if record else -1, len(record.data) if record else 0,
        program.stdin, program.stdout, program.stderr, pipes.pipe_count,
        umask, setup.nice, ioprio, cgroup_fd,
        len(joins), len(rlimits), len(files), len(program.argv), len(program.env), program.cwd_fd,
        pipes.wait_ms, pipes.events_fd, output_at, pipes.output_bytes, 0,
    )  # fmt: skip
    data[_REQUEST.size : output_at] = rest
    return data
