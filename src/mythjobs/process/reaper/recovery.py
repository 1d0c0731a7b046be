"""Kills processes left by a dead reaper, found by cgroup, session or environment mark."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from signal import SIGKILL
from typing import Final

from mythjobs.process import procfs
from mythjobs.process.cgroup import mounts, pool
from mythjobs.process.procfs import AttemptKey, ProcessInfo
from mythjobs.process.reaper.journal import Leader
from mythjobs.process.supervise.signals import signal_process

# One scan of /proc can miss a process that is forking; three consecutive empty scans cannot.
_EMPTY_SCANS: Final = 3
_PAUSE_S: Final = 0.01
# A process that is still there hangs in the kernel (a dead network disk) and is only reported.
_TIMEOUT_S: Final = 10.0
_REAPER_MODULE: Final = b"mythjobs.process.reaper.main"


def kill_leftovers(
    attempts: Mapping[AttemptKey, Leader | None],
    cgroup_parents: Iterable[str] = (),
    hung_pid: int = 0,
) -> dict[AttemptKey, str]:
    """Kill every process of these attempts; return evidence of their end, one sentence each.

    The caller holds the dead reaper's lock, or has killed the reaper `hung_pid`, which may be
    unable to exit; the machine has not restarted since. Blocks until three consecutive scans find
    nothing: 30 ms if nothing is left, 10 s at most. `cgroup_parents` are from its journal.
    """
    # Kills everything in the cgroups of dead reapers; no process can leave its cgroup.
    pool.remove_stale_cgroups(mounts.read_cgroup_mounts(), cgroup_parents, hung_pid)
    killed: Counter[AttemptKey] = Counter()
    left: set[tuple[AttemptKey, int]] = set()
    empty_scans = 0
    deadline_s = time.monotonic() + _TIMEOUT_S
    while empty_scans < _EMPTY_SCANS and time.monotonic() < deadline_s:
        found = {
            (key, process.pid): process for key, process in _find_leftovers(attempts, hung_pid)
        }
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


def _find_leftovers(
    attempts: Mapping[AttemptKey, Leader | None], hung_pid: int
) -> Iterator[tuple[AttemptKey, ProcessInfo]]:
    seen = {each.pid: each for each in procfs.list_processes()}
    sessions = {
        leader.pid: key
        for key, leader in attempts.items()
        if leader and _leader_exists(leader, seen)
    }
    for process in seen.values():
        if process.is_dead:
            continue
        key = sessions.get(process.session_id) or procfs.read_attempt_mark(process.pid)
        if key not in attempts or key is None:
            continue
        if process.session_id in sessions or not _belongs_to_other_reaper(process, seen, hung_pid):
            yield key, process


def _leader_exists(leader: Leader, seen: Mapping[int, ProcessInfo]) -> bool:
    """Return whether the leader, perhaps a zombie, exists, so that its session id is not reused.

    Without it, another process may have used the pid; then only the mark identifies processes.
    """
    process = seen.get(leader.pid)
    if process is None:
        return False
    return leader.born_after_ms - procfs.TICK_MS <= process.start_time_ms <= leader.born_before_ms


def _belongs_to_other_reaper(
    process: ProcessInfo, seen: Mapping[int, ProcessInfo], hung_pid: int
) -> bool:
    """Return whether a living reaper supervises the process, but not this agent.

    Another installation on this machine may use the same job ids.
    """
    excluded = {each.pid for each in _ancestors(os.getpid(), seen)} | {hung_pid}
    return any(
        each.pid not in excluded and _REAPER_MODULE in procfs.read_command_line(each.pid)
        for each in _ancestors(process.pid, seen)
    )


def _ancestors(pid: int, seen: Mapping[int, ProcessInfo]) -> Iterator[ProcessInfo]:
    process = seen.get(pid)
    visited = {pid}
    while process and (process := seen.get(process.parent_pid)) and process.pid not in visited:
        visited.add(process.pid)
        yield process
