"""Interfaces of a child's cgroup and of the provider of cgroups, independent of the version."""

from __future__ import annotations

from typing import Protocol

from mythjobs.model.limits import Limits, Usage


class ChildCgroup(Protocol):
    """A cgroup that holds the process tree of one child; its processes cannot leave it.

    The child's stub joins it before the program starts. Methods ignore processes and files that
    are already gone, and raise nothing.
    """

    def list_join_files(self) -> list[str]:
        """Return the cgroup.procs files to which a process writes "0" to join."""
        ...

    def list_pids(self) -> list[int]:
        """Return the pids of all processes, without zombies."""
        ...

    def kill(self) -> None:
        """Send SIGKILL to all processes at once, frozen or not, so that no fork escapes."""
        ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def is_empty(self) -> bool: ...

    def open_events(self) -> dict[int, int]:
        """Return descriptors and their epoll masks; events: the cgroup is empty, a limit was hit.

        The cgroup owns the descriptors. On an event call `clear_events`, then `is_empty` and
        `find_breach`.
        """
        ...

    def clear_events(self) -> None: ...

    def read_usage(self) -> Usage:
        """Return the exact CPU time of all processes that ever ran in it, and the memory peak.

        `wall_s` is not set.
        """
        ...

    def set_limits(self, limits: Limits) -> dict[str, str]:
        """Set the limits "memory" and "processes"; return those that cannot be set, and why."""
        ...

    def find_breach(self) -> str | None:
        """Return the limit ("memory" or "processes") that was hit since the last `set_limits`."""
        ...

    def close(self) -> None:
        """Return the cgroup to the pool, or remove it, at the latest once it is empty."""
        ...


class CgroupProvider(Protocol):
    """The cgroups of one process: a reaper, or a program that uses the library."""

    def take(self) -> ChildCgroup:
        """Return an empty cgroup. Raises OSError."""
        ...

    def enforced_limits(self) -> frozenset[str]:
        """Return which of "memory" and "processes" its cgroups can enforce."""
        ...

    def close(self) -> None: ...
