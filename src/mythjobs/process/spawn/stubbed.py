"""Spawning through the stub, for what only the process itself can do before its program."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from mythjobs.process.spawn import errors, stub
from mythjobs.process.spawn.errors import CannotStart

if TYPE_CHECKING:
    from mythjobs.process.spawn.vfork import Program

_STEPS = {
    "j": "joining its cgroup",
    "r": "its resource limits",
    "n": "its priority",
    "i": "its I/O class",
    "m": "its umask",
    "u": "becoming its user",
}


def spawn(
    program: Program,
    plainly: Callable[[Program], int],
    refused: Callable[[int, Program], CannotStart],
) -> int:
    """`plainly` spawns the stub, which spawns nothing: it becomes the program. The answer of
    that exec comes through a pipe, `refused` makes a sentence of it."""
    ours, theirs = os.pipe2(os.O_CLOEXEC)
    try:
        command = stub.command(theirs, program.wishes, program.search, program.env, program.argv)
        command[: len(stub.program())] = _kept(os.getpid())
        pid = plainly(program._replace(argv=command, env=[], wishes=stub.PLAIN, report=theirs))
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    with open(ours, "rb") as report:
        said = report.read()
    if not said:
        return pid
    os.waitpid(pid, 0)
    number, step = stub.failure(said)
    if step == "exec":
        raise refused(number, program)
    what = _STEPS.get(step[:1], f"preparing it ({step})")
    raise errors.at_preparing(OSError(number, ""), what)


@lru_cache(maxsize=1)
def _kept(pid: int) -> tuple[bytes, ...]:
    """The stub as this process can still execute it when an upgrade has deleted its file."""
    words = stub.program()
    if len(words) == 1:
        fd = os.open(words[0], os.O_RDONLY | os.O_CLOEXEC)
        return (b"/proc/%d/fd/%d" % (pid, fd),)
    with open(words[-1], "rb") as file:
        return (*words[:-1], b"-c", file.read())


def keep() -> None:
    """Find the stub and hold on to it, now. Raises OSError."""
    _kept(os.getpid())
