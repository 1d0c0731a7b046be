"""Recovery from a reaper's death: kills the processes of its attempts, which are found by cgroup,
session or environment mark."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from signal import SIGKILL
from typing import Final, Protocol

from mythjobs.process import procfs
from mythjobs.process.cgroup import mounts, pool
from mythjobs.process.procfs import AttemptKey, ProcessInfo
from mythjobs.process.reaper.journal import Leader
from mythjobs.process.supervise.signals import signal_process

# Number of consecutive scans of /proc that must find nothing: one scan can miss a process that is
# forking, three cannot.
_EMPTY_SCANS: Final = 3
_PAUSE_S: Final = 0.01
# Time after which processes that still exist are only reported: they hang in the kernel, for
# example on a dead network disk.
_TIMEOUT_S: Final = 10.0
_REAPER_MODULE: Final = b"mythjobs.process.reaper.main"


class ProcessTable(Protocol):
    """Where processes are looked up: the module procfs, or a simulated machine."""

    def list_processes(self) -> Iterable[ProcessInfo]: ...
    def read_attempt_mark(self, pid: int, /) -> AttemptKey | None: ...
    def read_command_line(self, pid: int, /) -> bytes: ...


_PROC: Final[ProcessTable] = procfs


def kill_leftovers(
    attempts: Mapping[AttemptKey, Leader | None],
    cgroup_parents: Iterable[str] = (),
    hung_pid: int = 0,
) -> dict[AttemptKey, str]:
    """Kill every process of a dead reaper's attempts; return for each attempt a sentence that says
    how the end of its processes is known.

    The caller holds the dead reaper's lock, or has sent SIGKILL to the hung reaper `hung_pid`,
    whose process may still exist; the machine has not restarted since. Blocks until three
    consecutive scans find nothing: 30 ms if nothing is left, 10 s at most. `cgroup_parents` are
    the directories of the reaper's cgroups, from its journal.
    """
    # First kill all processes in the cgroups of dead reapers; no process can leave its cgroup.
    pool.remove_stale_cgroups(mounts.read_cgroup_mounts(), cgroup_parents, hung_pid)
    killed: Counter[AttemptKey] = Counter()
    left: set[tuple[AttemptKey, int]] = set()
    empty_scans = 0
    deadline_s = time.monotonic() + _TIMEOUT_S
    while empty_scans < _EMPTY_SCANS and time.monotonic() < deadline_s:
        found = {(key, process.pid): process for key, process in find_leftovers(attempts, hung_pid)}
        killed.update(key for (key, _), each in found.items() if signal_process(each, SIGKILL))
        left = set(found)
        empty_scans = 0 if found else empty_scans + 1
        time.sleep(_PAUSE_S)
    return {key: _describe(attempts[key], killed[key], _list_pids(left, key)) for key in attempts}


def _list_pids(left: set[tuple[AttemptKey, int]], key: AttemptKey) -> list[int]:
    return sorted(pid for each, pid in left if each == key)


def _describe(leader: Leader | None, killed: int, left: list[int]) -> str:
    searched = f"session {leader.pid} and environment mark" if leader else "environment mark"
    if left:
        return f"{searched}: cannot kill pid {', '.join(map(str, left))}"
    return f"{searched}: killed {killed}, then none found in {_EMPTY_SCANS} scans"


def find_leftovers(
    attempts: Mapping[AttemptKey, Leader | None], hung_pid: int, table: ProcessTable = _PROC
) -> Iterator[tuple[AttemptKey, ProcessInfo]]:
    """Yield the processes of a dead reaper's attempts, each with its attempt."""
    seen = {each.pid: each for each in table.list_processes()}
    sessions = {
        leader.pid: key
        for key, leader in attempts.items()
        if leader and _leader_exists(leader, seen)
    }
    for process in seen.values():
        if process.is_dead:
            continue
        key = sessions.get(process.session_id) or table.read_attempt_mark(process.pid)
        if key not in attempts or key is None:
            continue
        if process.session_id in sessions or not _belongs_to_other_reaper(
            process, seen, hung_pid, table
        ):
            yield key, process


def _leader_exists(leader: Leader, seen: Mapping[int, ProcessInfo]) -> bool:
    """Return whether the leader still exists, perhaps as a zombie. Its session id then identifies
    processes of the attempt.

    Without the leader, the kernel may have reused the id. Processes of the attempt can then be
    identified only by their environment mark.
    """
    process = seen.get(leader.pid)
    if process is None:
        return False
    return leader.born_after_ms - procfs.TICK_MS <= process.start_time_ms <= leader.born_before_ms


def _belongs_to_other_reaper(
    process: ProcessInfo, seen: Mapping[int, ProcessInfo], hung_pid: int, table: ProcessTable
) -> bool:
    """Return whether a process belongs to a living reaper: another installation of mythjobs on this
    machine may use the same job ids. Reapers above this agent and `hung_pid` do not count."""
    excluded = {each.pid for each in _ancestors(os.getpid(), seen)} | {hung_pid}
    return any(
        each.pid not in excluded and _REAPER_MODULE in table.read_command_line(each.pid)
        for each in _ancestors(process.pid, seen)
    )


def _ancestors(pid: int, seen: Mapping[int, ProcessInfo]) -> Iterator[ProcessInfo]:
    process = seen.get(pid)
    visited = {pid}
    while process and (process := seen.get(process.parent_pid)) and process.pid not in visited:
        visited.add(process.pid)
        yield process
