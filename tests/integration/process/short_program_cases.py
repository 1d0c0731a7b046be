"""Cases of test_short_program.py, each run in a process of its own: the spawner in C considers all
children of the main thread orphans of its programs, and a test process has others.

Usage: short_program_cases.py CASE DIRECTORY
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from resource import RUSAGE_SELF, getrusage, struct_rusage
from typing import Final

import pytest

from mythjobs.model.limits import Limits
from mythjobs.process.cgroup import open_cgroup_pool
from mythjobs.process.event_loop import EventLoop
from mythjobs.process.kernel import become_subreaper
from mythjobs.process.procfs import ProcessInfo, list_thread_children
from mythjobs.process.spawn.errors import CannotStart
from mythjobs.process.spawn.native import NativeSpawner, NativeStart, Result
from mythjobs.process.spawn.native_request import OutputPipes
from mythjobs.process.spawn.program import ChildSetup, Program, make_program
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.cleanup import Cleanup
from mythjobs.process.supervise.descendants import SubreaperDescendants
from tests.integration.process.test_traced import traced

_PATH = {"PATH": "/usr/bin:/bin"}
_PR_SET_CHILD_SUBREAPER = 36
SKIPPED: Final = 77
# So long that only a broken wait takes that time.
LONG_MS = 60_000
_WAIT = OutputPipes(2, LONG_MS, output_bytes=4096)


class Starts:
    """A spawner whose results the test waits for."""

    def __init__(self, *, embedded: bool = False) -> None:
        self.loop = EventLoop()
        self.spawner = NativeSpawner(self.loop, 1, 4, embedded=embedded)
        self.null = os.open("/dev/null", os.O_RDWR)
        self.results: list[Result] = []

    def submit(self, text: str, pipes: OutputPipes, setup: ChildSetup | None = None) -> None:
        program = self.program(text)
        if setup:
            program = program._replace(setup=setup)
        self.spawner.submit(program, -1, None, self.results.append, pipes)

    def program(self, text: str) -> Program:
        return make_program(["sh", "-c", text], _PATH, "/", self.null, -1, -1)

    def wait(self) -> NativeStart:
        """Return the next result. Raises its exception."""
        while not self.results:
            self.loop.run_once()
        result = self.results.pop(0)
        if isinstance(result, Exception):
            raise result
        assert result
        return result

    def run(self, text: str, pipes: OutputPipes = _WAIT) -> NativeStart:
        self.submit(text, pipes)
        return self.wait()

    def reap(self, started: NativeStart) -> int:
        """Wait for a program that was handed over; return its exit code."""
        assert started.end is None
        assert started.is_watched
        self.loop.watch_added(started.pidfd, lambda: None)
        self.loop.unwatch(started.pidfd)
        os.close(started.pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(started.pid, 0)[1])


def read_all(fd: int) -> bytes:
    os.set_blocking(fd, True)
    with open(fd, "rb") as file:
        return file.read()


def case_status_usage_and_output_of_a_program_that_ends(starts: Starts, _: Path) -> None:
    started = starts.run("echo to stdout; echo to stderr >&2; exit 3")
    end = started.end
    assert end
    assert os.waitstatus_to_exitcode(end.status) == 3
    assert end.output == [b"to stdout\n", b"to stderr\n"]
    assert (started.pidfd, started.pipes) == (-1, (-1, -1))
    assert end.rusage.ru_maxrss > 0
    assert end.rusage.ru_nvcsw + end.rusage.ru_nivcsw > 0
    with pytest.raises(ChildProcessError):
        os.waitpid(started.pid, 0)


def case_one_pipe_for_both_streams(starts: Starts, _: Path) -> None:
    started = starts.run("echo to stdout; echo to stderr >&2", OutputPipes(1, LONG_MS, -1, 100))
    assert started.end
    assert started.end.output[0] == b"to stdout\nto stderr\n"


def case_a_signal_is_in_the_status(starts: Starts, _: Path) -> None:
    end = starts.run("kill -9 $$").end
    assert end
    assert os.waitstatus_to_exitcode(end.status) == -signal.SIGKILL
    assert end.output == []


def case_output_that_does_not_fit_stays_in_the_pipe(starts: Starts, _: Path) -> None:
    text = "head -c 5000 /dev/zero | tr '\\0' x; echo to stderr >&2"
    started = starts.run(text)
    assert started.end
    assert started.end.output == [b"x" * 4096, b""]
    assert read_all(started.pipes[0]) == b"x" * (5000 - 4096)
    assert read_all(started.pipes[1]) == b"to stderr\n"


def case_a_program_that_runs_longer_is_handed_over(starts: Starts, directory: Path) -> None:
    gate = directory / "gate"
    os.mkfifo(gate)
    started = starts.run(f"read line < {gate}; echo $line", OutputPipes(1, 1, -1, 4096))
    gate.write_text("late\n")
    assert read_all(started.pipes[0]) == b"late\n"
    assert starts.reap(started) == 0


def case_without_a_wait_a_program_is_handed_over(starts: Starts, _: Path) -> None:
    started = starts.run("echo soon", OutputPipes(1))
    assert read_all(started.pipes[0]) == b"soon\n"
    assert starts.reap(started) == 0


def case_a_program_that_leaves_a_process_is_handed_over(starts: Starts, _: Path) -> None:
    _leave(starts, "sleep 1000 &")


def case_a_program_that_leaves_a_zombie_is_handed_over(starts: Starts, _: Path) -> None:
    _leave(starts, "(true &);")


def _leave(starts: Starts, left: str) -> None:
    started = starts.run(f"{left} exit 4", OutputPipes(1, LONG_MS, -1, 4096))
    [orphan] = list_thread_children(os.getpid(), os.getpid())
    with suppress(ProcessLookupError):
        os.kill(orphan, signal.SIGKILL)
    os.waitpid(orphan, 0)
    assert read_all(started.pipes[0]) == b""
    assert starts.reap(started) == 4


class DyingDescendants(SubreaperDescendants):
    """The orphans die during the first search, after they were listed. It does not find them, nor
    their own children, which become orphans by their death."""

    has_searched = False

    def find_survivors(self, child: Child) -> list[ProcessInfo]:
        if self.has_searched:
            return super().find_survivors(child)
        self.has_searched = True
        for pid in list_thread_children(os.getpid(), os.getpid()):
            os.kill(pid, signal.SIGKILL)
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        return []


def clean_up(starts: Starts, pid: int, kind: type[SubreaperDescendants]) -> Child:
    """Run the cleanup of a program that has exited up to its end."""
    child = Child(Limits())
    child.pid = pid
    child.has_exited = True
    reaped: list[Child] = []
    cleanup = Cleanup(starts.loop, reaped.append)
    cleanup.descendants = kind({pid: child}, {})
    cleanup.clean_up(child)
    while not reaped:
        starts.loop.run_once()
    return child


def case_an_orphan_that_dies_during_the_search_is_counted(starts: Starts, path: Path) -> None:
    # Seen: an end without the CPU time of an orphan, whose usage counted as exact.
    ready = path / "ready"
    orphan = f"sh -c 'sleep 1000 & echo >{ready}; wait' &"
    text = f"{orphan} while [ ! -e {ready} ]; do :; done; exit 4"
    started = starts.run(text, OutputPipes(1, LONG_MS, -1, 4096))
    child = clean_up(starts, started.pid, DyingDescendants)
    assert list_thread_children(os.getpid(), os.getpid()) == []
    assert child.usage.switches > 0
    assert read_all(started.pipes[0]) == b""
    assert starts.reap(started) == 4


class EndlessOrphans(SubreaperDescendants):
    """Another program starts orphans without end, which die while this one's are searched."""

    def reap_orphans(self) -> Iterator[tuple[Child | None, struct_rusage]]:
        yield from super().reap_orphans()
        yield None, getrusage(RUSAGE_SELF)


def case_the_orphans_of_others_do_not_delay_an_end_for_long(starts: Starts, _: Path) -> None:
    started = starts.run("exit 4", OutputPipes(1, 0, -1, 4096))
    os.waitid(os.P_PID, started.pid, os.WEXITED | os.WNOWAIT)
    clean_up(starts, started.pid, EndlessOrphans)
    assert read_all(started.pipes[0]) == b""
    assert starts.reap(started) == 4


def case_a_program_that_a_debugger_holds_is_handed_over(starts: Starts, directory: Path) -> None:
    gate = directory / "gate"
    os.mkfifo(gate)
    starts.submit(f"echo $$ > {directory}/pid; read line < {gate}", OutputPipes(1, LONG_MS))
    writer = os.open(gate, os.O_WRONLY)
    with traced(int((directory / "pid").read_text())):
        os.close(writer)
        started = starts.wait()
        assert started.end is None
    os.close(started.pipes[0])
    assert starts.reap(started) == 1


def case_a_process_left_in_the_cgroup_is_noticed(starts: Starts, _: Path) -> None:
    pool = open_cgroup_pool()
    if pool is None:
        pytest.skip("no cgroup can be created on this machine")
    pool.keeps_files = True
    leaf = pool.take()
    setup = ChildSetup(cgroup_files=tuple(leaf.list_join_files()))
    pipes = OutputPipes(1, LONG_MS, leaf.events_fd, 4096)
    starts.submit("echo alone", pipes, setup)
    end = starts.wait().end
    assert end
    assert end.output[0] == b"alone\n"
    # Its parent is no subreaper, so that it is no orphan of this process.
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    starts.submit("sleep 1000 >/dev/null 2>&1 &", pipes, setup)
    started = starts.wait()
    os.close(started.pipes[0])
    assert starts.reap(started) == 0
    leaf.kill()
    leaf.close()
    pool.close()


def case_a_pipe_that_cannot_be_created_is_named(starts: Starts, _: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.open("/dev/null", os.O_RDONLY)
    os.close(free)
    # The first pipe can be created, the second cannot.
    resource.setrlimit(resource.RLIMIT_NOFILE, (free + 3, hard))
    try:
        with pytest.raises(CannotStart, match="creating an output pipe: Too many open files"):
            starts.run("exit 0")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def case_a_host_program_reaps_what_it_starts(starts: Starts, _: Path) -> None:
    """Orphans of its programs become children of others, so that the spawner cannot find them."""
    host = Starts(embedded=True)
    started = host.run("exit 5")
    for fd in started.pipes:
        os.close(fd)
    assert host.reap(started) == 5
    host.spawner.close()
    host.loop.close()
    os.close(host.null)


def case_many_programs_at_once(starts: Starts, _: Path) -> None:
    for number in range(200):
        starts.submit(f"echo {number}; exit {number % 7}", OutputPipes(1, LONG_MS, -1, 100))
    found = {}
    for _index in range(200):
        started = starts.wait()
        assert started.end
        output = started.end.output[0]
        if started.pipes[0] >= 0:
            # A program that was being started had a copy of the write end for long.
            output += read_all(started.pipes[0])
        found[int(output)] = os.waitstatus_to_exitcode(started.end.status)
    assert found == {number: number % 7 for number in range(200)}


CASES: Final[dict[str, Callable[[Starts, Path], None]]] = {
    name.removeprefix("case_"): function
    for name, function in list(globals().items())
    if name.startswith("case_")
}


def run(name: str, directory: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    become_subreaper()
    starts = Starts()
    CASES[name](starts, directory)
    # The threads of the spawner end with this process, and nothing wakes them any more.
    starts.spawner.close()
    starts.loop.close()
    os.close(starts.null)
    assert set(os.listdir("/proc/self/fd")) == before


if __name__ == "__main__":
    try:
        run(sys.argv[1], Path(sys.argv[2]))
    except pytest.skip.Exception as skipped:
        print(skipped)
        sys.exit(SKIPPED)
