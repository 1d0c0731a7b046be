"""What a keeper may ask of a container; it need not know which kind of cgroup is behind it."""

from __future__ import annotations

from typing import Protocol

from mythjobs.model.limits import Limits, Usage


class Containment(Protocol):
    """One tree of processes that cannot leave it. Methods raise nothing: what is gone is gone.

    It is made empty, joined by the stub before the program's first instruction, and closed
    once it is empty again.
    """

    def joins(self) -> list[str]:
        """Files into which a process writes "0" to be inside, and all that it starts with it."""
        ...

    def pids(self) -> list[int]:
        """Every process inside, zombies not."""
        ...

    def signal(self, number: int) -> int:
        """To every process inside; how many got it."""
        ...

    def kill(self) -> None:
        """SIGKILL to all of it at once, so that none can fork its way out, frozen or not."""
        ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def empty(self) -> bool: ...

    def events(self) -> dict[int, int]:
        """Descriptors, and what epoll is to watch them for: the last process has left, or a
        limit was met. They stay ours; who was woken calls `heard`, then `empty` and `breach`."""
        ...

    def heard(self) -> None:
        """Takes away what was told so far."""
        ...

    def usage(self) -> Usage:
        """CPU of all that ever ran in it, exact; the rest as far as its controllers count it.
        `wall_s` is not known here."""
        ...

    def set_limits(self, limits: Limits) -> dict[str, str]:
        """Memory and processes, by the kernel; may be called again. Answers which of them
        cannot be enforced here ("memory", "processes"), and why."""
        ...

    def breach(self) -> str | None:
        """Which limit the kernel met since the last `set_limits`: "memory", "processes"."""
        ...

    def close(self) -> None:
        """Back to the pool if it is empty; removed if not, as soon as it can be."""
        ...


class Groups(Protocol):
    """The containers of one process (a reaper, or a library user's), which go with it."""

    def take(self) -> Containment:
        """An empty one. Raises OSError if there is none to be had."""
        ...

    def enforces(self) -> frozenset[str]:
        """Limits that a container here holds to: of "memory", "processes"."""
        ...

    def close(self) -> None: ...
