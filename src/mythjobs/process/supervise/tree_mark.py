"""Mark of a process tree in a resource limit, for programs that get an environment of their own.

RLIMIT_RTTIME bounds the CPU time of real-time processes between two blocking system calls, in
microseconds (getrlimit(2)). It is unlimited normally. Any value near 2^62, 146,000 years, has
the same effect, and fork, exec and setsid keep it, so it tells the trees apart. Reading that of
another process takes a microsecond.

The mark is set right after exec, since the stub, which could set it before, halves the number of
programs started per second. What the program has started until then is marked with it. Only a
daemon that has lost its parent within these microseconds has no mark.
"""

from __future__ import annotations

import os
import resource
from typing import Final

from mythjobs.process import procfs

_LIMIT: Final = resource.RLIMIT_RTTIME
_FIRST: Final = 2**62
_RANDOM_BYTES: Final = 7


def choose_mark() -> int:
    """Return a value that no other tree has."""
    return _FIRST + int.from_bytes(os.urandom(_RANDOM_BYTES), "big")


def set_mark(pid: int, mark: int) -> bool:
    """Mark a process and its descendants; return False if it has such a limit already.

    A program that runs in the tree of another library has the mark of that tree.
    """
    try:
        soft, hard = resource.prlimit(pid, _LIMIT)
        if soft != resource.RLIM_INFINITY:
            return False
        resource.prlimit(pid, _LIMIT, (mark, hard))
    except (OSError, ValueError):
        # The process has exited or changed its user.
        return False
    # A program that has just started has one thread.
    for child in procfs.list_thread_children(pid, pid):
        set_mark(child, mark)
    return True


def has_mark(pid: int, mark: int) -> bool:
    try:
        return resource.prlimit(pid, _LIMIT)[0] == mark
    except (OSError, ValueError):
        return False
