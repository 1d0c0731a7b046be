"""What /proc says of processes: CPU time, wake-ups, memory, whose they are; and ending them."""

from __future__ import annotations

import os
import select
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sample:
    """One process: CPU seconds since its start (all threads, ended ones too), and the context
    switches so far of each thread that lives."""

    cpu_s: float
    switches: dict[int, int]

    def switches_since(self, before: Sample) -> int:
        return sum(count - before.switches.get(tid, 0) for tid, count in self.switches.items())


def sample(pid: int) -> Sample:
    switches = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            status = (task / "status").read_text()
        except OSError:
            continue  # that thread has ended just now
        lines = [line for line in status.splitlines() if "voluntary_ctxt_switches" in line]
        switches[int(task.name)] = sum(int(line.split()[1]) for line in lines)
    return Sample(cpu_s(pid), switches)


def cpu_s(pid: int) -> float:
    # The process's own clock, as clock_getcpuclockid(3) makes its number: /proc/PID/stat has
    # ticks of 10 ms only, and all of an idle minute is some ten of them.
    return time.clock_gettime((~pid << 3) | 2)


def rss_mb(pid: int) -> float:
    """Resident memory in 10^6 bytes. (VmRSS in status may be off by some hundred kB a CPU.)"""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(f"no Rss in smaps_rollup of {pid}")


def naming(path: Path) -> dict[int, list[str]]:
    """The processes, and their words, in whose command line this path stands."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            words = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
        except OSError:
            continue
        if any(str(path) in word for word in words):
            found[int(entry.name)] = words
    return found


def end(path: Path, within_s: float) -> None:
    """End every process whose command line names the path: TERM, and KILL after some time.

    Three rounds, because one of them may have started another while it was asked to end.
    """
    for _ in range(3):
        pids = naming(path)
        if not pids:
            return
        waiting = select.poll()
        fds = {}
        for pid in pids:
            try:
                fds[pid] = os.pidfd_open(pid)
            except ProcessLookupError:
                continue
            waiting.register(fds[pid], select.POLLIN)
            _send(fds[pid], signal.SIGTERM)
        until = time.monotonic() + within_s
        while fds and (left_s := until - time.monotonic()) > 0:
            over = {fd for fd, _ in waiting.poll(left_s * 1000)}
            for pid, fd in list(fds.items()):
                if fd in over:
                    _forget(waiting, fds.pop(pid))
        for fd in fds.values():
            _send(fd, signal.SIGKILL)
            _forget(waiting, fd)


def _send(pidfd: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        pass  # it is over already


def _forget(waiting: select.poll, fd: int) -> None:
    waiting.unregister(fd)
    os.close(fd)
