"""Mark of a process tree: a unique value of a resource limit, by which descendants are recognized
even if a program changes their environment.

RLIMIT_RTTIME limits the CPU time of real-time processes between two blocking system calls, in
microseconds (getrlimit(2)). Normally it is unlimited. A value near 2^62, which is 146,000 years,
has the same effect, and processes keep it over fork, exec and setsid. Reading the limit of another
process takes a microsecond.

The spawner in C sets the mark before exec. In a start by the spawn pool it is set right after exec,
because only the stub could set it before, which halves the number of programs started per second.
Processes that the program has started between exec and mark are then marked 10 ms later, except for
a daemon that has lost its parent by then.
"""

from __future__ import annotations

import itertools
import os
import resource
from functools import lru_cache
from typing import Final

from mythjobs.process.spawn.program import ChildSetup

_LIMIT: Final = resource.RLIMIT_RTTIME
_FIRST: Final = 2**62
# A mark holds random bits of this process above a number that counts its children.
_RANDOM_BYTES: Final = 4
_NUMBER_BITS: Final = 29
_numbers: Final = itertools.count()


def choose_mark() -> int:
    """Return a mark, a limit value that no other process tree has."""
    number = next(_numbers) % (1 << _NUMBER_BITS)
    return _FIRST + (_random_bits(os.getpid()) << _NUMBER_BITS) + number


@lru_cache(maxsize=1)
def _random_bits(_pid: int) -> int:
    """Return the random bits in all marks of this process. A fork of this process gets others."""
    return int.from_bytes(os.urandom(_RANDOM_BYTES), "big")


def set_mark(pid: int, mark: int) -> bool:
    """Mark a process. Return False if the process has exited or has a limit already, such as the
    mark of the tree that this process itself runs in.
    """
    try:
        soft, hard = resource.prlimit(pid, _LIMIT)
        if soft != resource.RLIM_INFINITY:
            return False
        resource.prlimit(pid, _LIMIT, (mark, hard))
    except (OSError, ValueError):
        # prlimit(2) failed: the process has exited or changed its user.
        return False
    return True


def add_mark(setup: ChildSetup, mark: int) -> tuple[ChildSetup, int]:
    """Return `setup` with the limit that marks the program before exec, and the mark. If programs
    inherit such a limit already, as the mark of the tree that this process itself runs in, return
    `setup` as it is, and 0."""
    rlimits = dict(setup.rlimits or {})
    soft, hard = rlimits.get(_LIMIT) or resource.getrlimit(_LIMIT)
    if soft != resource.RLIM_INFINITY:
        return setup, 0
    rlimits[_LIMIT] = (mark, hard)
    return setup._replace(rlimits=rlimits), mark


def has_mark(pid: int, mark: int) -> bool:
    return read_mark(pid) == mark


def read_mark(pid: int) -> int:
    """Return the limit of a process, which may be the mark of a tree; 0 if it cannot be read."""
    try:
        return resource.prlimit(pid, _LIMIT)[0]
    except (OSError, ValueError):
        return 0
