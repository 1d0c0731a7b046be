"""Stress test with many, long or hostile children: stress.py KIND SIZE

Exits with 1 if processes, threads or descriptors are left.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections import deque

from mythjobs.process import Breached, Exited, Limits, MythSystem, NotStarted, Process, Stopped
from mythjobs.process.spawn.pool import THREADS

IN_FLIGHT = 64
CLEANUP_TIMEOUT_S = 10
MOST_GROWTH_BYTES = 32 * 2**20
MOST_ON_DISK_BYTES = 17 * 2**20


def short(count: int) -> None:
    """Each says who it is on both streams."""
    system = [
        MythSystem.shell('echo "out $1"; echo "err $1" >&2', str(number), contain=number % 8 == 0)
        for number in range(IN_FLIGHT)
    ]
    flying: deque[tuple[int, Process]] = deque()
    for number in range(count):
        if len(flying) == IN_FLIGHT:
            _check_short(*flying.popleft())
        which = number % IN_FLIGHT
        flying.append((which, system[which].start()))
    while flying:
        _check_short(*flying.popleft())


def _check_short(which: int, process: Process) -> None:
    done = process.done()
    assert done.outcome == Exited(0), done
    assert done.stdout.read() == b"out %d\n" % which
    assert done.stderr.read() == b"err %d\n" % which


def long(count: int) -> None:
    """Start all at once, read the usage of each, then end them."""
    running = [MythSystem(["sleep", "600"]).start() for _ in range(count)]
    assert all(each.pid for each in running), [each.outcome for each in running]
    assert all(each.usage().processes == 1 for each in running)
    for each in running:
        each.stop(grace_s=0)
    assert {each.wait() for each in running} == {Stopped("user")}


def bomb(processes: int) -> None:
    """Run a fork bomb whose processes have their own sessions and ignore SIGTERM."""
    text = "trap '' TERM; bomb() { setsid sh -c : & bomb & bomb & wait; }; bomb"
    limits = Limits(processes=processes, grace_s=0, wall_s=60)
    system = MythSystem.shell(text, limits=limits)
    others = [MythSystem(["true"]).start() for _ in range(20)]
    done = system.run()
    if isinstance(done.outcome, NotStarted):
        # Without a cgroup the limit cannot be enforced, so the start fails.
        assert "processes" in done.outcome.sentence
    else:
        assert done.outcome == Breached("processes"), done
    assert {each.wait() for each in others} == {Exited(0)}


def flood(gibibytes: int) -> None:
    """Write more output than a disk should hold; head and tail are kept."""
    before = _peak_bytes()
    text = 'yes "0123456789abcde" | head -c "$1"G'
    process = MythSystem.shell(text, str(gibibytes)).start()
    most = 0
    while process.wait(0.05) is None:
        most = max(most, _on_disk_bytes())
    done = process.done()
    size = gibibytes * 2**30
    assert (done.outcome, done.stdout.written_bytes) == (Exited(0), size)
    kept = done.stdout.read()
    assert kept[:16] == b"0123456789abcde\n"
    assert kept[-16:] == b"0123456789abcde\n"
    assert len(kept) + done.stdout.dropped_bytes == size
    assert max(most, _on_disk_bytes()) <= MOST_ON_DISK_BYTES
    # `kept` is our own copy, held twice while it is joined.
    assert _peak_bytes() - before <= MOST_GROWTH_BYTES + 2 * len(kept)


def _on_disk_bytes() -> int:
    """Return the size of our unnamed files."""
    place = os.environ["TMPDIR"]
    total = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            if os.readlink(f"/proc/self/fd/{name}").startswith(place):
                total += os.stat(f"/proc/self/fd/{name}").st_blocks * 512
        except OSError:
            continue
    return total


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _fds() -> dict[str, str]:
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[name] = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            # The descriptor of the listing itself.
            continue
    return found


def _count_threads() -> int:
    """Return the number of threads; threading.active_count() leaves out the event loop's."""
    return len(os.listdir("/proc/self/task"))


def main() -> None:
    kind, size = sys.argv[1], int(sys.argv[2])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # First create what stays: the spawning threads and their descriptors.
    while _count_threads() < 2 + THREADS:
        short(IN_FLIGHT)
    fds, threads = _fds(), _count_threads()
    {"short": short, "long": long, "bomb": bomb, "flood": flood}[kind](size)
    # The last processes of a killed tree are reaped shortly after the end is reported.
    until_s = time.monotonic() + CLEANUP_TIMEOUT_S
    while _fds() != fds and time.monotonic() < until_s:
        assert MythSystem(["true"]).run().outcome == Exited(0)
    assert _fds() == fds
    assert _count_threads() == threads
    try:
        left = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        raise AssertionError(f"a child was left: {left}")
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main()
