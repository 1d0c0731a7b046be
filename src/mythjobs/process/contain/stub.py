"""The exec stub from the spawner's side: what it is told, what it answers, which one works."""

from __future__ import annotations

import errno
import os
from functools import lru_cache
from typing import Final

from mythjobs.process.contain.base import Asked, StubFailed

_HERE: Final = os.path.dirname(os.path.abspath(__file__))
# linux/ioprio.h: the class stands above 13 bits of level.
_IO_CLASS_SHIFT: Final = 13
_IO_BEST_EFFORT: Final = 2
_IO_IDLE: Final = 3


def wrap(
    stub: tuple[bytes, ...], asked: Asked, argv: list[bytes], env: list[bytes], report_fd: int
) -> list[bytes]:
    """The argument list to start instead of `argv`, with an *empty* environment: `env` is in it.

    So LD_PRELOAD and the like, which may be a lesser user's, act on the program only and not
    on the stub. The first element is an absolute path. The child must keep `report_fd`, the
    writing end of a pipe, not below 3; end of file without a byte says that exec was done.
    """
    told = [b"%d" % report_fd]
    told += [b"j" + os.fsencode(path) for path in asked.joins]
    told += [b"r%d:%d:%d" % limit for limit in asked.rlimits]
    if asked.nice:
        told.append(b"n%d" % asked.nice)
    if asked.io:
        told.append(b"i%d" % io_priority(asked.io))
    if asked.umask >= 0:
        told.append(b"u%d" % asked.umask)
    if who := asked.identity:
        groups = b",".join(b"%d" % each for each in who.groups)
        told.append(b"d%d:%d:%s" % (who.uid, who.gid, groups))
    return [*stub, *told, b"-", b"%d" % len(env), *env, b"", *argv]


def answer(said: bytes) -> StubFailed | None:
    """What was read from the report pipe to its end; None: the program runs."""
    if not said:
        return None
    place, _, number = said.decode("ascii", "replace").partition(" ")
    return StubFailed(place, int(number) if number.isdigit() else errno.EPROTO)


def io_priority(io: str) -> int:
    """The number of ioprio_set(2). Raises ValueError."""
    if io == "idle":
        return _IO_IDLE << _IO_CLASS_SHIFT
    kind, _, level = io.partition(":")
    if kind != "best-effort" or level not in tuple("01234567"):
        raise ValueError(f'the I/O class "{io}" is neither idle nor best-effort:0 to 7')
    return _IO_BEST_EFFORT << _IO_CLASS_SHIFT | int(level)


@lru_cache(maxsize=1)
def chosen() -> tuple[bytes, ...]:
    """The beginning of the argument list: the compiled stub if it works here, else Python."""
    from mythjobs.process.contain import stubs  # what it tests is made by wrap()

    return stubs.first_that_works()
