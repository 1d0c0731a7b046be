"""Detection of a leader's exit, and reaping of the leader, even if the host program reaps it first
or a debugger traces it.

A host program that ignores SIGCHLD or calls waitpid(-1) takes the exit status of every child. The
supervisor then learns of the exit from the pidfd, and since Linux 6.15 also the exit status.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from resource import struct_rusage
from typing import Final

from mythjobs.model.outcome import Lost
from mythjobs.process import procfs
from mythjobs.process.kernel import read_exit_status
from mythjobs.process.quick_calls import move_above_streams
from mythjobs.process.supervise.child import Child

# Value of `exit_status` for a child whose leader was reaped by others, with an unknown status.
UNKNOWN_STATUS = -1


# Codes of waitid(2) for a process that has exited.
_EXITS: Final = (os.CLD_EXITED, os.CLD_KILLED, os.CLD_DUMPED)


class HeldByTracer(Exception):
    """The leader is a zombie that the kernel keeps from its parent, because another process traces
    it and has not waited for it yet (ptrace(2))."""


def open_pidfd(child: Child) -> None:
    """Open a pidfd for a child's leader and set `child.pidfd`.

    It stays -1 if no descriptor is free, or if the host program has reaped the leader already.
    """
    with suppress(OSError):
        child.pidfd = move_above_streams(os.pidfd_open(child.pid))


def has_exited(child: Child) -> bool:
    """Return whether the leader of a spawned child has exited, whether it was reaped or not."""
    try:
        return _is_zombie(child)
    except ChildProcessError:
        return True


def reap(child: Child) -> struct_rusage | None:
    """Set the exit status of an exited leader, and return its resource usage.

    If the host program has reaped the leader, set `lost`, and return None. Raises
    HeldByTracer.
    """
    # ChildProcessError: the host program may reap the leader even between these two calls.
    with suppress(ChildProcessError):
        if not _is_zombie(child):
            raise HeldByTracer
        pid, child.exit_status, rusage = _wait(child.pid)
        if pid:
            return rusage
    known = read_exit_status(child.pidfd) if child.pidfd >= 0 else None
    child.exit_status = UNKNOWN_STATUS if known is None else known
    child.lost = Lost(_describe_loss(known))
    return None


def read_traced_status(child: Child) -> None:
    """Set the exit status of a leader that a tracer holds, or `lost` if it cannot be read."""
    status = procfs.read_zombie_status(child.pid)
    child.exit_status = UNKNOWN_STATUS if status is None else status
    if status is None:
        child.lost = Lost(
            "another process, such as a debugger, traces it and holds its exit status"
        )


def reap_released(pidfd: int) -> bool:
    """Reap a leader whose end has been reported, if its tracer has let go of it. Return False if
    the tracer still holds it."""
    try:
        return os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG) is not None
    except ChildProcessError:
        return True


def _wait(pid: int) -> tuple[int, int, struct_rusage | None]:
    try:
        return os.wait4(pid, os.WNOHANG)
    except ImportError:
        # The interpreter is finalizing, and wait4() cannot import what it needs.
        return *os.waitpid(pid, os.WNOHANG), None


def _is_zombie(child: Child) -> bool:
    """Return whether the leader is a zombie. Raises ChildProcessError if it has been reaped.

    Use the pidfd if there is one: after the host program has reaped the leader, the pid may belong
    to another child.
    """
    kind, number = (os.P_PID, child.pid) if child.pidfd < 0 else (os.P_PIDFD, child.pidfd)
    found = os.waitid(kind, number, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    # A program that calls ptrace(PTRACE_TRACEME) has this process as its tracer. The kernel then
    # reports its stops, too, without WSTOPPED (wait_task_stopped() in kernel/exit.c).
    return found is not None and found.si_code in _EXITS


def _describe_loss(status: int | None) -> str:
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        why = "it ignores SIGCHLD"
    else:
        why = "it calls waitpid(-1) or the like"
    text = f"another part of this program took its exit status ({why})"
    if status is None:
        return text
    if os.WIFSIGNALED(status):
        return f"{text}; the kernel reports signal {os.WTERMSIG(status)}"
    return f"{text}; the kernel reports exit code {os.WEXITSTATUS(status)}"
