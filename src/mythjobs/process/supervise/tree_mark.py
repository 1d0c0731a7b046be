"""Mark of a process tree: a unique value of a resource limit, by which descendants are recognized
even if a program changes their environment.

RLIMIT_RTTIME limits the CPU time of real-time processes between two blocking system calls, in
microseconds (getrlimit(2)). Normally it is unlimited. A value near 2^62, 146,000 years, has the
same effect, and processes keep it over fork, exec and setsid. Reading the limit of another process
takes a microsecond.

The mark is set right after exec. The stub could set it before, but halves the number of programs
started per second. Processes that the program has started meanwhile are marked, too, except for
a daemon that has lost its parent within these microseconds.
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
    """Return a mark, a limit value that no other process tree has."""
    return _FIRST + int.from_bytes(os.urandom(_RANDOM_BYTES), "big")


def set_mark(pid: int, mark: int) -> bool:
    """Mark a process and its descendants. Return False if the process has exited or has a limit
    already, such as the mark of the tree that this process itself runs in.
    """
    try:
        soft, hard = resource.prlimit(pid, _LIMIT)
        if soft != resource.RLIM_INFINITY:
            return False
        resource.prlimit(pid, _LIMIT, (mark, hard))
    except (OSError, ValueError):
        # The process has exited or changed its user.
        return False
    # Mark its children, too. Those of one thread are all, as a program that has just started has
    # no other thread.
    for child in procfs.list_thread_children(pid, pid):
        set_mark(child, mark)
    return True


def has_mark(pid: int, mark: int) -> bool:
    try:
        return resource.prlimit(pid, _LIMIT)[0] == mark
    except (OSError, ValueError):
        return False
