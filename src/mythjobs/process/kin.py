"""Who belongs to a child: what its tree is while it lives, and what its leader left behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from resource import struct_rusage
from typing import Protocol

from mythjobs.process import orphans, tree
from mythjobs.process.child import Child
from mythjobs.process.tree import Process


class Kin(Protocol):
    """One of these serves one keeper; its loop's thread calls it."""

    def left(self, child: Child) -> list[Process]:
        """What lives on of a child whose leader is dead and not yet reaped."""
        ...

    def reap(self) -> Iterator[tuple[Child | None, struct_rusage]]:
        """Every process that became ours by its parent's death and has died, with what it
        used; it is gone once the next is asked for."""
        ...


def members(child: Child) -> list[Process]:
    """Its tree while its leader lives: its session, and who descends from one of those. The
    leader comes first. What was found is remembered."""
    found = tree.family(child.pid)
    for each in found:
        child.family[each.pid] = each
    return found


class Adopted:
    """For a process whose every orphan is a child's (the reaper: a subreaper, whose loop runs
    in its main thread and spawns nothing there)."""

    def __init__(
        self, leaders: Mapping[int, Child], by_mark: Callable[[int], Child | None]
    ) -> None:
        """`leaders` by their pid; `by_mark` says whose mark a process carries."""
        self._leaders = leaders
        self._by_mark = by_mark

    def left(self, child: Child) -> list[Process]:
        # Whoever lives on of it has lost a parent, or somebody above it has.
        if not orphans.any_left():
            return []
        return [each for each in orphans.living() if self._is_of(each, child)]

    def reap(self) -> Iterator[tuple[Child | None, struct_rusage]]:
        for process, used in orphans.reap():
            yield self._leaders.get(process.session) if process else None, used

    def _is_of(self, process: Process, child: Child) -> bool:
        """By its session, else by its mark. One that has shed both is known by nothing; it is
        ended with the last child that is here, as it cannot be of any that lives."""
        owner = self._leaders.get(process.session) or self._by_mark(process.pid)
        if owner is None:
            return len(self._leaders) == 1
        return owner is child


def is_dead(pid: int) -> bool:
    """Whether this child of ours is over, reaped or not."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
