"""Termination of all descendants of the demo, also of those in sessions of their own."""

import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def become_subreaper() -> None:
    """Become a child subreaper: orphaned descendants become our children."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all(grace_s: float = 2.0, timeout_s: float = 10.0) -> None:
    """Wait until no descendant is left, and kill those left after the grace period."""
    start_s = time.monotonic()
    while pids := _reap_and_list():
        waited_s = time.monotonic() - start_s
        if waited_s > timeout_s:  # a process hangs in the kernel, for example on a dead NFS server
            return
        if waited_s > grace_s:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        time.sleep(0.02)


def _reap_and_list() -> list[int]:
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        return []
    parents = {int(each.name): _parent(each) for each in Path("/proc").glob("[0-9]*")}
    found = {os.getpid()}
    while children := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= children
    return sorted(found - {os.getpid()})


def _parent(process: Path) -> int:
    try:
        # The parent's pid follows the name, which may contain brackets, and the state.
        return int((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0
