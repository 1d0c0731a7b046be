"""Who belongs to a child: what its tree is while it lives, and what its leader left behind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from resource import struct_rusage
from typing import Final, Protocol

from mythjobs.clock import machine_now
from mythjobs.process import procfs
from mythjobs.process.kernel import WNOTHREAD
from mythjobs.process.procfs import Process
from mythjobs.process.supervise.child import Child


class Kin(Protocol):
    """One of these serves one keeper; its loop's thread calls it. `adopting`: orphans become
    ours, and nobody tells when one has died."""

    adopting: bool

    def left(self, child: Child) -> list[Process]:
        """What lives on of a child whose leader is dead and not yet reaped."""
        ...

    def spare(self, child: Child) -> None:
        """The same of a child whose daemons may stay: they are nobody's from now on."""
        ...

    def reap(self) -> Iterator[tuple[Child | None, struct_rusage]]:
        """Every process that became ours by its parent's death and has died, with what it
        used; it is gone once the next is asked for."""
        ...


def members(
    child: Child, everyone: Callable[[], Iterable[Process]] = procfs.processes
) -> list[Process]:
    """Its tree while its leader lives: what is in its container, else its session and who
    descends from one of those. The leader comes first. What was found is remembered.
    `everyone` tells of all processes of the machine, as they are now or were a moment ago."""
    if child.tree:
        return sorted(inside(child), key=lambda each: each.pid != child.pid)
    found = procfs.family(child.pid, everyone())
    for each in found:
        child.family[each.pid] = each
    return found


def inside(child: Child) -> list[Process]:
    """What lives in its container."""
    if child.tree is None or child.tree.empty():
        return []
    found = (procfs.read_process(pid) for pid in child.tree.pids())
    return [each for each in found if each and not each.dead]


class Adopted:
    """For a process whose every orphan is a child's (the reaper: a subreaper, whose loop runs
    in its main thread and spawns nothing there). SIGCHLD tells of each."""

    adopting = False

    def __init__(
        self, leaders: Mapping[int, Child], by_mark: Callable[[int], Child | None]
    ) -> None:
        """`leaders` by their pid; `by_mark` says whose mark a process carries."""
        self._leaders = leaders
        self._by_mark = by_mark
        # Sessions of daemons that may stay: those that they are in, and those that they may yet
        # begin, which have their own number.
        self._spared: set[int] = set()

    def left(self, child: Child) -> list[Process]:
        if child.tree:
            return inside(child)
        # Whoever lives on of it has lost a parent, or somebody above it has.
        if not has_orphans():
            return []
        return [each for each in list_orphans() if self._is_of(each, child)]

    def spare(self, child: Child) -> None:
        living = list_orphans() if has_orphans() else []
        # Of a session that has ended the number may be given to another.
        self._spared &= _sessions(living)
        self._spared |= _sessions(each for each in living if self._is_of(each, child))

    def reap(self) -> Iterator[tuple[Child | None, struct_rusage]]:
        for process, used in reap_orphans():
            yield self._leaders.get(process.session) if process else None, used

    def _is_of(self, process: Process, child: Child) -> bool:
        """By its session, else by its mark. One that has shed both is known by nothing; it is
        ended with the last child that is here, as it cannot be of any that lives."""
        if process.session in self._spared:
            return False
        owner = self._leaders.get(process.session) or self._by_mark(process.pid)
        if owner is None:
            return len(self._leaders) == 1
        return owner is child


def _sessions(found: Iterable[Process]) -> set[int]:
    return {number for each in found for number in (each.session, each.pid)}


def is_dead(pid: int) -> bool:
    """Whether this child of ours is over, reaped or not."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


# So many numbers are asked for one by one; with more of them all of /proc is looked through.
_FEW: Final = 256
# An older one may have seen the numbers go round, of which there may be 32,768.
_YOUNG_MS: Final = 1000
MARK: Final = "MYTHSYSTEM_TREE"


class Guests:
    """For a thread in somebody's program, whose orphans go to process 1 and whose other
    children are not ours: a process is known by its session, by the mark in its environment,
    or because it was seen below the leader.

    What a leader started has a higher number than its own, up to the last one given out; for
    a child that ends soon these are few, and asking each for its session costs a microsecond.
    """

    def __init__(self, leaders: Mapping[int, Child]) -> None:
        self._leaders = leaders
        self.adopting = False
        # Found to be of a child of ours when they lived.
        self._known: dict[int, Process] = {}
        self._load = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)

    def left(self, child: Child) -> list[Process]:
        found = inside(child) if child.tree else self._look_for(child)
        if self.adopting:
            self._known.update((each.pid, each) for each in found)
        return found

    def spare(self, child: Child) -> None:
        """They go to process 1, and no other child is taken for theirs."""

    def _look_for(self, child: Child) -> list[Process]:
        found = {each.pid: each for each in map(_again, child.family.values()) if each}
        found.pop(child.pid, None)
        assert child.born
        last = self._last_pid()
        young = machine_now().run_ms - child.born.run_ms < _YOUNG_MS
        pids: Iterable[int] = range(child.pid + 1, last + 1)
        if not young or not 0 <= last - child.pid < _FEW:
            pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        while True:
            found.update(self._among(pids, child))
            # Who forked while we looked, and died, has left a child with a higher number.
            before, last = last, self._last_pid()
            if not 0 < last - before < _FEW:
                break
            pids = range(before + 1, last + 1)
        return list(found.values())

    def _among(self, pids: Iterable[int], child: Child) -> Iterator[tuple[int, Process]]:
        for pid in pids:
            if pid in self._leaders or not self._is_of(pid, child):
                continue
            process = procfs.read_process(pid)
            if process and not process.dead:
                yield pid, process

    def _is_of(self, pid: int, child: Child) -> bool:
        try:
            session = os.getsid(pid)
        except OSError:
            return False
        if session == child.pid:
            return True
        return (
            bool(child.mark)
            and session not in self._leaders
            and procfs.has_mark(pid, MARK, child.mark)
        )

    def _last_pid(self) -> int:
        return int(os.pread(self._load, 128, 0).rsplit(None, 1)[1])

    def reap(self) -> Iterator[tuple[Child | None, struct_rusage]]:
        """Only if we adopt, and only what nobody else here can have started: a child of this
        process that leads no session and is not in our own was somebody's grandchild."""
        if not self.adopting:
            return
        ours = os.getsid(0)
        for pid in procfs.children(os.getpid(), os.getpid()):
            process = procfs.read_process(pid)
            if process is None or not process.dead:
                continue
            known = self._known.pop(pid, None)
            if process.session not in (ours, pid) or (known and known.born_ms == process.born_ms):
                reaped, _, used = os.wait4(pid, os.WNOHANG)
                if reaped:
                    yield self._leaders.get(process.session), used

    def close(self) -> None:
        os.close(self._load)


def _again(process: Process) -> Process | None:
    """The same process as it is now, or None if it is dead or gone."""
    now = procfs.read_process(process.pid)
    return now if now and not now.dead and now.born_ms == process.born_ms else None


# The kernel hands an orphan to the first thread of its new parent (find_new_reaper() in
# kernel/exit.c), which is the loop's; what the spawners start are children of theirs. So
# "children of this thread" is "orphans", in one call and without a list of all children.
_ORPHANS: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT | WNOTHREAD


def has_orphans() -> bool:
    """Whether there is an orphan at all, alive or to be reaped. Costs a microsecond."""
    try:
        os.waitid(os.P_ALL, 0, _ORPHANS)
    except ChildProcessError:
        return False
    return True


def has_dead_orphans() -> bool:
    """Whether there is an orphan to be reaped."""
    try:
        return os.waitid(os.P_ALL, 0, _ORPHANS) is not None
    except ChildProcessError:
        return False


def reap_orphans() -> Iterator[tuple[Process | None, struct_rusage]]:
    """Every orphan that has died, with what it used, and gone once the next is asked for."""
    while True:
        try:
            found = os.waitid(os.P_ALL, 0, _ORPHANS)
        except ChildProcessError:
            return
        if found is None:
            return
        # A zombie has its session still; once reaped, nothing tells whose it was.
        process = procfs.read_process(found.si_pid)
        _, _, usage = os.wait4(found.si_pid, 0)
        yield process, usage


def list_orphans() -> list[Process]:
    pids = procfs.children(os.getpid(), os.getpid())
    found = (procfs.read_process(pid) for pid in pids)
    return [process for process in found if process and not process.dead]
