"""Processes by /proc: CPU time, wake-ups, memory, search, descendants and termination."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessSample:
    """CPU seconds of all threads, also exited ones; context switches of each running thread."""

    cpu_s: float
    switches: dict[int, int]

    def switches_since(self, before: ProcessSample) -> int:
        return sum(count - before.switches.get(tid, 0) for tid, count in self.switches.items())


def read_sample(pid: int) -> ProcessSample:
    switches = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except OSError:
            continue  # the thread has exited
        lines = [line for line in status.splitlines() if "voluntary_ctxt_switches" in line]
        switches[int(task.name)] = sum(int(line.split()[1]) for line in lines)
    return ProcessSample(read_cpu_s(pid), switches)


def read_cpu_s(pid: int) -> float:
    # CPU clock of the process, with the id of clock_getcpuclockid(3). /proc/PID/stat has ticks of
    # 10 ms only; an idle minute is about ten of them.
    return time.clock_gettime((~pid << 3) | 2)


def read_children_cpu_s(pid: int) -> float:
    """Return the CPU seconds of the ended children that the process has waited for (ticks)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    # Fields 16 and 17 of proc(5), of which the first here is the third.
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


def read_rss_mb(pid: int) -> float:
    """Return resident memory in 10^6 bytes. (VmRSS may be wrong by some 100 kB per CPU.)"""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"no Rss in smaps_rollup of {pid}")


def read_pss_mb(pid: int) -> float:
    """Return the memory of a process, with its part of each page that several processes share."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024 / 1e6
    return 0.0


def find_by_path(path: Path) -> dict[int, list[str]]:
    """Return pid and argv of the processes whose command line contains the path."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            argv = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
        except OSError:
            continue
        if any(str(path) in argument for argument in argv):
            found[int(entry.name)] = argv
    return found


def terminate_all(path: Path, timeout_s: float) -> None:
    """Terminate all processes whose command line contains the path; kill them after the timeout.

    Three rounds: a process may start another while it is terminated.
    """
    for _ in range(3):
        pids = find_by_path(path)
        if not pids:
            return
        poll = select.poll()
        fds = {}
        for pid in pids:
            try:
                fds[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            poll.register(fds[pid], select.POLLIN)
            _send_signal(fds[pid], signal.SIGTERM)
        until = time.monotonic() + timeout_s
        while fds and (left_s := until - time.monotonic()) > 0:
            exited = {fd for fd, _ in poll.poll(left_s * 1000)}
            for pid, fd in list(fds.items()):
                if fd in exited:
                    _unregister(poll, fds.pop(pid))
        for fd in fds.values():
            _send_signal(fd, signal.SIGKILL)
            _unregister(poll, fd)


def adopt_orphans() -> None:
    """Make this process the parent of all descendants whose parent exits.

    It then has to reap them, and can end all processes that were started below it.
    """
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl PR_SET_CHILD_SUBREAPER")


def find_descendants(root: int) -> dict[int, str]:
    """Return the pids of children, their children and so on, with their states ("Z": exited)."""
    children: dict[int, dict[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # State and parent follow the name in brackets (proc(5)).
            state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        children.setdefault(int(parent), {})[int(entry.name)] = state
    found: dict[int, str] = {}
    parents = [root]
    while parents:
        below = children.get(parents.pop(), {})
        found |= below
        parents += below
    return found


def reap_orphans(started: Collection[int]) -> int:
    """Reap exited children except those with the pids in `started`. Return their number.

    A zombie that is a child of another process is left to that process.
    """
    count = 0
    for pid, state in find_descendants(os.getpid()).items():
        if state == "Z" and pid not in started:
            try:
                count += os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                continue
    return count


def kill_descendants() -> None:
    """Kill all descendants and reap them, after adopt_orphans()."""
    while True:
        for pid in find_descendants(os.getpid()):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        try:
            os.wait()
        except ChildProcessError:
            return


def _send_signal(pidfd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass  # already exited


def _unregister(poll: select.poll, fd: int) -> None:
    poll.unregister(fd)
    os.close(fd)
