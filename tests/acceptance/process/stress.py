"""Stress test with many, long or hostile children: stress.py KIND SIZE

Exits with 1 if processes, threads or descriptors are left.
"""

from __future__ import annotations

import os
import resource
import select
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from queue import SimpleQueue

from mythjobs.process import Breached, Exited, Limits, MythSystem, NotStarted, Process, Stopped
from mythjobs.process.library.thread import supervisor_thread
from mythjobs.process.spawn.errors import CannotStart
from mythjobs.process.spawn.native import NativeSpawner, NativeStart
from mythjobs.process.spawn.native_request import StartRecord
from mythjobs.process.spawn.pool import THREADS
from mythjobs.process.spawn.program import Program
from mythjobs.process.spawn.vfork import Spawn

IN_FLIGHT = 64
CLEANUP_TIMEOUT_S = 60
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


def _threads() -> list[str]:
    """Return the names of the threads; threading.enumerate() leaves out those of the library."""
    return sorted(each.read_text().strip() for each in Path("/proc/self/task").glob("*/comm"))


def start_all_threads() -> None:
    """Occupy all threads that start programs at the same time: the library creates another one
    whenever all are busy, which a run without this may reach at any time or never."""
    thread = supervisor_thread()
    null = os.open(os.devnull, os.O_RDWR)
    missing = Program([b"/dev/null/none"], [], "", b"/", null, null, null)
    barrier = threading.Barrier(THREADS + 1)

    def fail_start(spawn: Spawn) -> None:
        barrier.wait()
        # Each thread keeps the descriptors that it opens for its first program.
        with suppress(CannotStart):
            spawn(missing)

    for _ in range(THREADS):
        thread._pool.submit(fail_start)
    barrier.wait(CLEANUP_TIMEOUT_S)
    if thread._spawner:
        _occupy(thread._spawner, missing)
    os.close(null)


def _occupy(spawner: NativeSpawner, program: Program) -> None:
    """Have each thread of the spawner write a start record to a pipe that is full."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(select.PIPE_BUF))
    os.set_blocking(writer, True)
    results = SimpleQueue[NativeStart | Exception | None]()
    for _ in range(THREADS):
        spawner.submit(program, -1, StartRecord(writer, b"x"), results.put).cancel()
    with suppress(BlockingIOError):
        while os.read(reader, 2**16):
            pass
    for _ in range(THREADS):
        assert results.get(timeout=CLEANUP_TIMEOUT_S) is None
    os.close(reader)
    os.close(writer)


def main() -> None:
    kind, size = sys.argv[1], int(sys.argv[2])
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    # First create what stays: the threads that start programs, and descriptors.
    start_all_threads()
    short(IN_FLIGHT)
    fds, threads = _fds(), _threads()
    kinds = 2 if supervisor_thread()._spawner else 1
    assert len(threads) == 2 + kinds * THREADS, threads
    {"short": short, "long": long, "bomb": bomb, "flood": flood}[kind](size)
    # The last processes of a killed tree are reaped shortly after the end is reported.
    until_s = time.monotonic() + CLEANUP_TIMEOUT_S
    while _fds() != fds and time.monotonic() < until_s:
        assert MythSystem(["true"]).run().outcome == Exited(0)
    assert _fds() == fds
    assert _threads() == threads
    try:
        left = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        raise AssertionError(f"a child was left: {left}")
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main()
