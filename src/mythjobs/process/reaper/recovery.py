"""Ending what a dead reaper left running, by the pids in its journal and the marks of jobs."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from signal import SIGKILL
from typing import Final

from mythjobs.process import procfs
from mythjobs.process.cgroup import mounts, pool
from mythjobs.process.procfs import AttemptKey, ProcessInfo
from mythjobs.process.reaper.journal import Leader
from mythjobs.process.supervise.signals import signal_process

# Who is forking while we look can be missed once; not in three looks with nothing found.
_EMPTY_SCANS: Final = 3
_PAUSE_S: Final = 0.01
# What is not gone by then hangs in the kernel (a dead network disk); it is told, not awaited.
_TIMEOUT_S: Final = 10.0
_REAPER_MODULE: Final = b"mythjobs.process.reaper.main"


def kill_leftovers(attempts: Mapping[AttemptKey, Leader | None]) -> dict[AttemptKey, str]:
    """Kill every process of these attempts; for each, what proves that none is left.

    The caller holds the dead reaper's lock, and this machine has not been restarted since.
    Blocks until three looks in a row have found nothing: 30 milliseconds if there is nothing.
    """
    # The cgroups of every dead reaper: from these nothing gets away.
    pool.remove_stale_cgroups(mounts.read_cgroup_mounts())
    killed: Counter[AttemptKey] = Counter()
    left: set[tuple[AttemptKey, int]] = set()
    clean = 0
    give_up_s = time.monotonic() + _TIMEOUT_S
    while clean < _EMPTY_SCANS and time.monotonic() < give_up_s:
        found = {(key, process.pid): process for key, process in _find_leftovers(attempts)}
        killed.update(key for (key, _), each in found.items() if signal_process(each, SIGKILL))
        left = set(found)
        clean = 0 if found else clean + 1
        time.sleep(_PAUSE_S)
    return {key: _describe(attempts[key], killed[key], _pids(left, key)) for key in attempts}


def _pids(left: set[tuple[AttemptKey, int]], key: AttemptKey) -> list[int]:
    return sorted(pid for owner, pid in left if owner == key)


def _describe(spawned: Leader | None, killed: int, left: list[int]) -> str:
    session = f"session {spawned.pid} and environment mark" if spawned else "environment mark"
    if left:
        return f"{session}: cannot be ended: {', '.join(map(str, left))}"
    return f"{session}: none found in {_EMPTY_SCANS} looks, after {killed} had been killed"


def _find_leftovers(
    attempts: Mapping[AttemptKey, Leader | None],
) -> Iterator[tuple[AttemptKey, ProcessInfo]]:
    seen = {each.pid: each for each in procfs.list_processes()}
    sessions = {
        spawned.pid: key
        for key, spawned in attempts.items()
        if spawned and _leader_exists(spawned, seen)
    }
    for process in seen.values():
        if process.is_dead:
            continue
        key = sessions.get(process.session_id) or procfs.read_attempt_mark(process.pid)
        if key not in attempts or key is None:
            continue
        if process.session_id in sessions or not _belongs_to_other_reaper(process, seen):
            yield key, process


def _leader_exists(spawned: Leader, seen: Mapping[int, ProcessInfo]) -> bool:
    """Whether the leader is there, be it dead: then the number of its session is its own. A
    number that is gone may have gone to a stranger and be gone again; there the mark decides."""
    leader = seen.get(spawned.pid)
    if leader is None:
        return False
    return spawned.born_after_ms - procfs.TICK_MS <= leader.start_time_ms <= spawned.born_before_ms


def _belongs_to_other_reaper(process: ProcessInfo, seen: Mapping[int, ProcessInfo]) -> bool:
    """Another installation on this machine numbers its jobs from 1 as well: what a living
    reaper holds is none of ours, unless that reaper holds us too."""
    above_us = {each.pid for each in _ancestors(os.getpid(), seen)}
    return any(
        each.pid not in above_us and _REAPER_MODULE in procfs.read_command_line(each.pid)
        for each in _ancestors(process.pid, seen)
    )


def _ancestors(pid: int, seen: Mapping[int, ProcessInfo]) -> Iterator[ProcessInfo]:
    at = seen.get(pid)
    passed = {pid}
    while at and (at := seen.get(at.parent_pid)) and at.pid not in passed:
        passed.add(at.pid)
        yield at
