"""System calls that Python does not provide: prctl(2), timerfd_create(2), ioctls of pidfds."""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
import time
from typing import Final

# Constants of prctl(2) and wait(2), where WNOTHREAD is called __WNOTHREAD.
_PR_SET_CHILD_SUBREAPER: Final = 36
WNOTHREAD: Final = 0x20000000


def become_subreaper() -> None:
    """Make this process, instead of process 1, the new parent of descendants whose parent dies."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise _last_error("PR_SET_CHILD_SUBREAPER")


# Constants from linux/pidfd.h, and the layout of its struct pidfd_info: 64 bytes that begin with
# the mask and end with the exit status.
_PIDFD_GET_INFO: Final = 0xC040FF0B
_PIDFD_INFO_EXIT: Final = 1 << 3
_PIDFD_INFO: Final = struct.Struct("=Q52xi")


def read_exit_status(pidfd: int) -> int | None:
    """Return the wait status of a process that has been reaped already. None if the kernel cannot
    tell: before Linux 6.15."""
    info = bytearray(_PIDFD_INFO.pack(_PIDFD_INFO_EXIT, 0))
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return None
    mask, status = _PIDFD_INFO.unpack(info)
    return status if mask & _PIDFD_INFO_EXIT else None


class _Timespec(ctypes.Structure):
    _fields_ = [("tv_sec", ctypes.c_long), ("tv_nsec", ctypes.c_long)]


class _Itimerspec(ctypes.Structure):
    _fields_ = [("it_interval", _Timespec), ("it_value", _Timespec)]


_TFD_TIMER_ABSTIME: Final = 1


class BootTimer:
    """Timer descriptor that becomes readable at an instant of CLOCK_BOOTTIME.

    CLOCK_BOOTTIME counts the time that the machine is suspended; epoll's timeouts do not
    (timerfd_create(2)).
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        # TFD_CLOEXEC and TFD_NONBLOCK have the same values as O_CLOEXEC and O_NONBLOCK.
        flags = os.O_CLOEXEC | os.O_NONBLOCK
        self.fd: int = self._libc.timerfd_create(time.CLOCK_BOOTTIME, flags)
        if self.fd < 0:
            raise _last_error("timerfd_create")

    def arm(self, boot_ms: int | None) -> None:
        """Let the timer expire at `boot_ms`, which may be in the past. None disarms the timer."""
        # A value of zero disarms a timerfd, so the earliest instant is 1 ms.
        due_ms = 0 if boot_ms is None else max(boot_ms, 1)
        value = _Timespec(due_ms // 1000, due_ms % 1000 * 1_000_000)
        new = _Itimerspec(_Timespec(0, 0), value)
        if self._libc.timerfd_settime(self.fd, _TFD_TIMER_ABSTIME, ctypes.byref(new), None):
            raise _last_error("timerfd_settime")

    def acknowledge(self) -> None:
        """Make the descriptor unreadable until the timer expires again."""
        try:
            os.read(self.fd, 8)
        except BlockingIOError:
            pass

    def close(self) -> None:
        os.close(self.fd)


def _last_error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
