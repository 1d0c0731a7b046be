"""Nothing that the demo started outlives it, also what made itself a session of its own."""

import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


def adopt_orphans() -> None:
    """From now on a descendant whose parent ends becomes our child, not that of process 1."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_all(grace_s: float = 2.0, longest_s: float = 10.0) -> None:
    """Returns when no descendant is left: they may end by themselves for a while, then KILL."""
    began = time.monotonic()
    while living := _reap_and_list():
        waited_s = time.monotonic() - began
        if waited_s > longest_s:  # one that hangs in the kernel, say on a dead NFS server
            return
        if waited_s > grace_s:
            for pid in living:
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
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return sorted(found - {os.getpid()})


def _parent(process: Path) -> int:
    try:
        # The name in brackets may hold anything, brackets too; the parent is behind the state.
        return int((process / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0
