"""Processes of mythjobs by /proc: CPU time, wake-ups, memory, search and termination."""

from __future__ import annotations

import os
import select
import signal
import time
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


def read_rss_mb(pid: int) -> float:
    """Return resident memory in 10^6 bytes. (VmRSS may be wrong by some 100 kB per CPU.)"""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"no Rss in smaps_rollup of {pid}")


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


def _send_signal(pidfd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass  # already exited


def _unregister(poll: select.poll, fd: int) -> None:
    poll.unregister(fd)
    os.close(fd)
