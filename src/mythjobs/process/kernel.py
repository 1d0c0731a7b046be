"""What the kernel offers and Python does not: adopting orphans (ctypes, in this file only)."""

from __future__ import annotations

import ctypes
import os
from typing import Final

# prctl(2), wait(2); Python has no names for them.
_PR_SET_CHILD_SUBREAPER: Final = 36
WNOTHREAD: Final = 0x20000000


def adopt_orphans() -> None:
    """From now on a descendant whose parent dies becomes our child, not process 1's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, f"PR_SET_CHILD_SUBREAPER: {os.strerror(number)}")
