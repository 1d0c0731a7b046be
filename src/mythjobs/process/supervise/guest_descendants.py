"""Search for the descendants of children in a host program, which may have other children."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from resource import struct_rusage
from typing import Final

from mythjobs.clock import Now, machine_now
from mythjobs.process import procfs
from mythjobs.process.event_loop import EventLoop
from mythjobs.process.procfs import ProcessInfo
from mythjobs.process.quick_calls import move_above_streams
from mythjobs.process.supervise import tree_mark
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.descendants import find_in_cgroup

# Largest range of pids that is probed pid by pid; for a larger one /proc is listed.
_MAX_PID_PROBES: Final = 256
# Longest life of a leader for which its descendants must have pids between its own and the last
# one: later, pids may have wrapped around (pid_max can be as low as 32,768).
_PID_RANGE_TRUSTED_MS: Final = 1000
TREE_VARIABLE: Final = "MYTHSYSTEM_TREE"


class _Search:
    """Processes that may be descendants of children in a host program, by session and by marks: one
    look through /proc for all children that are stopped, or have exited, together.

    last_pid: a pid that the kernel had allocated before the search began.
    """

    def __init__(self, last_pid: int, leaders: Mapping[int, Child]) -> None:
        """Raises OSError if descriptors or memory are lacking."""
        self.last_pid = last_pid
        self._by_session: dict[int, list[int]] = {}
        self._by_mark: dict[int | str, list[int]] = {}
        # A process that is older than all children cannot be a descendant of one.
        oldest_ms = min((each.spawn_ms for each in leaders.values()), default=0) - procfs.TICK_MS
        for name in procfs.list_directory("/proc"):
            if not name.isdigit() or (pid := int(name)) in leaders:
                continue
            try:
                session_id = os.getsid(pid)
            except OSError:
                continue
            if session_id in leaders:
                self._by_session.setdefault(session_id, []).append(pid)
                continue
            process = procfs.read_process(pid)
            if process and process.start_time_ms >= oldest_ms:
                marks: set[int | str] = {*procfs.read_marks(pid, TREE_VARIABLE)}
                for mark in marks | {tree_mark.read_mark(pid)}:
                    self._by_mark.setdefault(mark, []).append(pid)

    def find(self, child: Child) -> set[int]:
        """Return the pids of processes with the session, or a mark, of a child."""
        found = set(self._by_session.get(child.pid, ()))
        for mark in (child.rlimit_mark, child.mark):
            if mark:
                found.update(self._by_mark.get(mark, ()))
        return found


class GuestDescendants:
    """Descendants in a host program, which uses the library and may have other children.

    Orphans become children of process 1. A descendant is recognized by its session, by the marks
    in a resource limit and in its environment, or because an earlier search found it.

    The pids of descendants lie between the leader's pid and the last pid that the kernel has
    allocated. For a short-lived child this range is small, and probing one pid takes 1 µs.
    """

    counts_orphans = False

    def may_have_orphans(self) -> bool:
        return self.is_host_subreaper

    def __init__(self, loop: EventLoop, leaders: Mapping[int, Child]) -> None:
        self._loop = loop
        self._leaders = leaders
        self._search: _Search | None = None
        self._searched_at: Now | None = None
        # Process 1, as in a container without an init, gets all orphans.
        self.is_host_subreaper = os.getpid() == 1
        # Survivors of their leader that were found alive. If the host program is a subreaper, they
        # become its children and must be reaped.
        self._found: dict[int, ProcessInfo] = {}
        fd = os.open("/proc/loadavg", os.O_RDONLY | os.O_CLOEXEC)
        self._loadavg_fd = move_above_streams(fd)

    def find_survivors(self, child: Child) -> list[ProcessInfo]:
        found = find_in_cgroup(child) if child.cgroup else self._search_proc(child)
        if self.is_host_subreaper:
            self._found.update((each.pid, each) for each in found)
        return found

    def find_daemons(self, child: Child) -> Iterable[ProcessInfo]:
        found = map(procfs.read_process, self._read_search().find(child))
        return [each for each in found if each and not each.is_dead]

    def release(self, child: Child, survivors: list[ProcessInfo]) -> None:
        """Do nothing: a process with the session or mark of a child is never attributed to another
        child."""

    def _search_proc(self, child: Child) -> list[ProcessInfo]:
        found = {each.pid: each for each in map(_reread, child.seen_members.values()) if each}
        found.pop(child.pid, None)
        assert child.spawned_at
        last = self._read_last_pid()
        is_recent = machine_now().run_ms - child.spawned_at.run_ms < _PID_RANGE_TRUSTED_MS
        pids: Iterable[int] = range(child.pid + 1, last + 1)
        if not is_recent or not 0 <= last - child.pid < _MAX_PID_PROBES:
            search = self._read_search()
            pids, last = search.find(child), search.last_pid
        while True:
            found.update(self._filter_members(pids, child))
            # Search the pids allocated meanwhile: a process that forked and exited during the
            # search has left a child with a higher pid.
            before, last = last, self._read_last_pid()
            if not 0 < last - before < _MAX_PID_PROBES:
                break
            pids = range(before + 1, last + 1)
        return list(found.values())

    def _filter_members(
        self, pids: Iterable[int], child: Child
    ) -> Iterator[tuple[int, ProcessInfo]]:
        for pid in pids:
            if pid in self._leaders or not self._belongs_to(pid, child):
                continue
            process = procfs.read_process(pid)
            if process and not process.is_dead:
                yield pid, process

    def _read_search(self) -> _Search:
        """Return a search of this iteration of the event loop, which has received the exits of all
        children that it handles. `now` is a new object in each iteration."""
        last = self._read_last_pid()
        search = self._search
        is_recent = search and 0 <= last - search.last_pid < _MAX_PID_PROBES
        if search is None or self._searched_at is not self._loop.now or not is_recent:
            self._searched_at = self._loop.now
            search = self._search = _Search(last, self._leaders)
        return search

    def _belongs_to(self, pid: int, child: Child) -> bool:
        try:
            session_id = os.getsid(pid)
        except OSError:
            return False
        if session_id == child.pid:
            return True
        if session_id in self._leaders:
            return False
        if child.rlimit_mark and tree_mark.has_mark(pid, child.rlimit_mark):
            return True
        return bool(child.mark) and procfs.has_mark(pid, TREE_VARIABLE, child.mark)

    def _read_last_pid(self) -> int:
        return int(os.pread(self._loadavg_fd, 128, 0).rsplit(None, 1)[1])

    def reap_orphans(self) -> Iterator[tuple[Child | None, struct_rusage]]:
        """Reap orphans if the host is a subreaper. Never reap a child that the host may have
        started itself: one that leads a session or is in the host's own."""
        if not self.is_host_subreaper:
            return
        own_session_id = os.getsid(0)
        for pid in procfs.list_thread_children(os.getpid(), os.getpid()):
            process = procfs.read_process(pid)
            if process is None or not process.is_dead:
                continue
            known = self._found.pop(pid, None)
            if process.session_id not in (own_session_id, pid) or (
                known and known.start_time_ms == process.start_time_ms
            ):
                try:
                    reaped, _, rusage = os.wait4(pid, os.WNOHANG)
                except ChildProcessError:
                    continue  # the host program has reaped it meanwhile
                if reaped:
                    yield self._leaders.get(process.session_id), rusage

    def close(self) -> None:
        os.close(self._loadavg_fd)


def _reread(process: ProcessInfo) -> ProcessInfo | None:
    """Return the current state of a process that was read before, or None if it is dead or gone."""
    now = procfs.read_process(process.pid)
    return now if now and not now.is_dead and now.start_time_ms == process.start_time_ms else None
