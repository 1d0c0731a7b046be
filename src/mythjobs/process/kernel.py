"""What the kernel offers and Python does not (ctypes, in this file only)."""

from __future__ import annotations

import ctypes
import os
import time
from typing import Final

# prctl(2), wait(2); Python has no names for them.
_PR_SET_CHILD_SUBREAPER: Final = 36
WNOTHREAD: Final = 0x20000000


def adopt_orphans() -> None:
    """From now on a descendant whose parent dies becomes our child, not process 1's."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise _failed("PR_SET_CHILD_SUBREAPER")


class _Timespec(ctypes.Structure):
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("it_interval", _Timespec), ("it_value", _Timespec)]


_TFD_TIMER_ABSTIME: Final = 1


class BootTimer:
    """A descriptor that becomes readable at an instant of CLOCK_BOOTTIME, so the time that the
    machine sleeps counts: epoll's own timeouts stand still meanwhile (timerfd_create(2))."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        # TFD_CLOEXEC and TFD_NONBLOCK are O_CLOEXEC and O_NONBLOCK.
        flags = os.O_CLOEXEC | os.O_NONBLOCK
        self.fd: int = self._libc.timerfd_create(time.CLOCK_BOOTTIME, flags)
        if self.fd < 0:
            raise _failed("timerfd_create")

    def set(self, boot_ms: int | None) -> None:
        """Readable once it is that late, at once if it is already; None: never."""
        # Zero would disarm it, and nothing is due at the instant of the boot.
        due_ms = 0 if boot_ms is None else max(boot_ms, 1)
        value = _Timespec(due_ms // 1000, due_ms % 1000 * 1_000_000)
        new = _Itimerspec(_Timespec(0, 0), value)
        if self._libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, ctypes.byref(new), None):
            raise _failed("timerfd_settime")

    def take(self) -> None:
        """It was readable; it is so again when it is due again."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self.fd)


def _failed(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
