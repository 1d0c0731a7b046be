"""Search for the descendants of a child: its process tree while the leader runs, and the survivors
after the leader's exit; the latter in the reaper."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from resource import struct_rusage
from typing import Final, Protocol

from mythjobs.process import procfs
from mythjobs.process.kernel import WNOTHREAD
from mythjobs.process.procfs import AttemptKey, ProcessInfo, ProcessTrees
from mythjobs.process.supervise.child import Child

# Options of waitid(2) to find dead orphans. The kernel makes an orphan a child of the first thread
# of its new parent (find_new_reaper() in kernel/exit.c), here the event loop's; processes that the
# spawn pool starts are children of its threads. So the loop's children are exactly the orphans.
_ORPHANS: Final = os.WEXITED | os.WNOHANG | os.WNOWAIT | WNOTHREAD


class Descendants(Protocol):
    """Interface to find and reap descendants that outlive their leader. One object per supervisor.

    is_host_subreaper: the program that uses the library is a subreaper, so that orphans become
    its children. The library gets no signal when one dies.
    counts_orphans: reap_orphans() yields the usage of all that the leader did not wait for.
    """

    is_host_subreaper: bool
    counts_orphans: bool

    def may_have_orphans(self) -> bool:
        """Return whether there are orphans that reap_orphans() would reap, or may be soon."""
        ...

    def find_survivors(self, child: Child) -> list[ProcessInfo]:
        """Return the living descendants of a child whose leader is a zombie."""
        ...

    def find_daemons(self, child: Child) -> Iterable[ProcessInfo]:
        """Return the daemons of a child: descendants of its leader, which runs, that have left its
        session and lost their parent. May return other processes of its tree, too."""
        ...

    def release(self, child: Child, survivors: list[ProcessInfo]) -> None:
        """Treat `survivors`, and processes that they start, as belonging to no child from now on:
        they are daemons that may stay, or cannot be killed.
        """
        ...

    def reap_orphans(self) -> Iterator[tuple[Child | None, struct_rusage]]:
        """Reap dead orphans; yield for each the child that it belonged to, and its usage."""
        ...


def find_members(child: Child, processes: ProcessTrees | None = None) -> list[ProcessInfo]:
    """Return the process tree of a child whose leader is not reaped yet, the leader first.

    With a cgroup, the tree is all processes in it. Otherwise it is the processes in the leader's
    session and their descendants; these are recorded in `seen_members`. `processes`: those of the
    machine, possibly from a recent snapshot.
    """
    if child.cgroup:
        return sorted(find_in_cgroup(child), key=lambda each: each.pid != child.pid)
    found = (processes or ProcessTrees(procfs.list_processes())).find_tree(child.pid)
    for each in found:
        child.seen_members[each.pid] = each
    return found


def find_tree(
    child: Child, descendants: Descendants, processes: ProcessTrees | None = None
) -> list[ProcessInfo]:
    """Return the tree with its daemons. `processes`: all processes of the machine, if known."""
    if child.cgroup:
        return find_members(child)
    found = {each.pid: each for each in find_members(child, processes)}
    for each in descendants.find_daemons(child):
        found.setdefault(each.pid, each)
    return list(found.values())


def find_in_cgroup(child: Child) -> list[ProcessInfo]:
    if child.cgroup is None or child.cgroup.is_empty():
        return []
    found = (procfs.read_process(pid) for pid in child.cgroup.list_pids())
    return [each for each in found if each and not each.is_dead]


def _has_orphans() -> bool:
    """Return whether there are orphans, dead or alive. Takes a microsecond, much less than reading
    /proc."""
    try:
        os.waitid(os.P_ALL, 0, _ORPHANS)
    except ChildProcessError:
        return False
    return True


def _list_orphans() -> list[ProcessInfo]:
    """Return the living orphans: processes whose parent has died, now children of this process."""
    if not _has_orphans():
        return []
    pids = procfs.list_thread_children(os.getpid(), os.getpid())
    found = (procfs.read_process(pid) for pid in pids)
    return [process for process in found if process and not process.is_dead]


class SubreaperDescendants:
    """Descendants in the reaper process, which is a subreaper: all orphans descend from its jobs.

    Requires that the event loop runs in the main thread and that this thread spawns nothing.
    """

    is_host_subreaper = False
    counts_orphans = True

    def __init__(self, leaders: Mapping[int, Child], live: Mapping[AttemptKey, Child]) -> None:
        """`leaders` has the children by their leader's pid; `live` has them by the attempt that the
        environment of their processes names, also those that are being started: they may have
        processes already."""
        self._leaders = leaders
        self._live = live
        # Session ids and environment marks of released processes, to recognize them and processes
        # that they start. The ids include their pids: the ids of sessions that they may create.
        self._released_sessions: set[int] = set()
        self._released_marks: set[AttemptKey] = set()

    def may_have_orphans(self) -> bool:
        return bool(self._leaders) or _has_orphans()

    def find_survivors(self, child: Child) -> list[ProcessInfo]:
        if child.cgroup:
            return find_in_cgroup(child)
        # Search the orphans: a survivor, or an ancestor of it, has lost its parent.
        return self._find_orphans_of(child)

    def find_daemons(self, child: Child) -> Iterable[ProcessInfo]:
        # Search the orphans: a daemon has become a child of this process, a subreaper.
        return self._find_orphans_of(child)

    def release(self, child: Child, survivors: list[ProcessInfo]) -> None:
        orphans = _list_orphans()
        if not any(map(self._is_released, orphans)):
            self._released_marks.clear()
        # Forget the ids of sessions that have ended: the kernel may reuse them.
        self._released_sessions &= _session_ids(orphans)
        self._released_sessions |= _session_ids(survivors)
        marks = (procfs.read_attempt_mark(each.pid) for each in survivors)
        self._released_marks.update(mark for mark in marks if mark)

    def reap_orphans(self) -> Iterator[tuple[Child | None, struct_rusage]]:
        while True:
            try:
                found = os.waitid(os.P_ALL, 0, _ORPHANS)
            except ChildProcessError:
                return
            if found is None:
                return
            # Read the session id first: it is lost when the zombie is reaped.
            process = procfs.read_process(found.si_pid)
            if process and self._has_released_session(process):
                self._release_children()
            _, _, rusage = os.wait4(found.si_pid, 0)
            owner = self._leaders.get(process.session_id) if process else None
            if owner is None:
                # A zombie has no environment, so its owner is unknown. It may be any of these.
                for each in self._live.values():
                    if each.cgroup is None:
                        each.usage = replace(each.usage, exact=False)
            yield owner, rusage

    def _find_orphans_of(self, child: Child) -> list[ProcessInfo]:
        orphans = _list_orphans()
        suspect = self._find_suspect(orphans)
        return [each for each in orphans if self._find_owner(each, suspect) is child]

    def _find_owner(self, process: ProcessInfo, suspect: Child | None) -> Child | None:
        """Return the child that an orphan belongs to, according to its session or, failing that,
        its environment mark. An orphan with neither belongs to `suspect`, unless it is older.
        """
        if self._has_released_session(process):
            return None
        if owner := self._leaders.get(process.session_id):
            return owner
        mark = procfs.read_attempt_mark(process.pid)
        if mark in self._released_marks:
            return None
        if mark and (owner := self._live.get(mark)):
            return owner
        if suspect and process.start_time_ms >= suspect.spawn_ms - procfs.TICK_MS:
            return suspect
        return None

    def _find_suspect(self, orphans: list[ProcessInfo]) -> Child | None:
        """Return the child that orphans without session or mark of a child must belong to: the only
        one. None if there are several children, or a released process, which may have started such
        orphans.
        """
        if len(self._live) != 1 or any(map(self._is_released, orphans)):
            return None
        return next(iter(self._leaders.values()), None)

    def _has_released_session(self, process: ProcessInfo) -> bool:
        return not self._released_sessions.isdisjoint((process.session_id, process.pid))

    def _is_released(self, process: ProcessInfo) -> bool:
        return self._has_released_session(process) or (
            bool(self._released_marks)
            and procfs.read_attempt_mark(process.pid) in self._released_marks
        )

    def _release_children(self) -> None:
        """Release the orphans without session or mark of a child: a released process has just died,
        and they may be its children."""
        self._released_sessions |= _session_ids(
            each
            for each in _list_orphans()
            if each.session_id not in self._leaders
            and procfs.read_attempt_mark(each.pid) not in self._live
        )


def _session_ids(processes: Iterable[ProcessInfo]) -> set[int]:
    return {number for each in processes for number in (each.session_id, each.pid)}
