"""Stopping a tree where it stands, and letting it go on."""

from __future__ import annotations

import signal

from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import members
from mythjobs.process.supervise.signals import send_all


def freeze(child: Child, run_ms: int) -> None:
    child.frozen_since_ms = run_ms
    if child.tree:
        child.tree.freeze()
        return
    stopped: set[int] = set()
    # Who forks between our look and our signal has a child that we see the next time.
    while new := [each for each in members(child) if each.pid not in stopped]:
        send_all(child, new, signal.SIGSTOP)
        stopped.update(each.pid for each in new)


def thaw(child: Child, run_ms: int) -> int:
    """For how many milliseconds it was frozen; they do not count for its limits."""
    since_ms, child.frozen_since_ms = child.frozen_since_ms, None
    frozen_ms = 0 if since_ms is None else run_ms - since_ms
    child.frozen_ms += frozen_ms
    if child.tree:
        child.tree.thaw()
    else:
        send_all(child, members(child), signal.SIGCONT)
    return frozen_ms
