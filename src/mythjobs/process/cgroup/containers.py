"""Which children of a keeper are held in a container, and what of their limits that enforces."""

from __future__ import annotations

import threading

from mythjobs.model.limits import Limits
from mythjobs.process.cgroup import Containment, Groups, best_here
from mythjobs.process.spawn.errors import CannotStart
from mythjobs.process.supervise.child import Child


class Containers:
    """Looked for when the first child asks, in a spawner's thread: that takes its time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked = False
        self._groups: Groups | None = None

    def hold(self, child: Child) -> None:
        """Give it a container if it is to have one and there is one. Raises CannotStart with
        what cannot be enforced, unless the child takes the best effort."""
        limits = child.limits
        if not child.contain and not needs_tree(limits):
            return
        # Whoever comes after us ends what is in the containers of the dead.
        child.tree = None if child.outlives else self._take()
        if child.tree is None:
            why = "it may outlive us" if child.outlives else "there is no cgroup to write to"
            child.unenforced = without_container(limits, why)
        else:
            child.unenforced = child.tree.set_limits(limits)
        if child.unenforced and not child.best_effort:
            raise CannotStart(0, "; ".join(child.shortcomings))

    def _take(self) -> Containment | None:
        with self._lock:
            if not self._looked:
                self._groups = best_here()
                self._looked = True
        try:
            return self._groups.take() if self._groups else None
        except OSError:
            return None

    def close(self) -> None:
        if self._groups:
            self._groups.close()


def needs_tree(limits: Limits) -> bool:
    """Whether a limit is about all processes of it together."""
    return not (
        limits.cpu_s is None
        and limits.idle_s is None
        and limits.memory_bytes is None
        and limits.processes is None
    )


def without_container(limits: Limits, why: str) -> dict[str, str]:
    """Those of these limits that only a container enforces, each with this reason."""
    asked = {"memory": limits.memory_bytes, "processes": limits.processes}
    return {name: why for name, value in asked.items() if value is not None}
