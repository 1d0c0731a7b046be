"""Processes that leave their program's tree: they get SIGTERM with it, and do not outlive it.

Each test gives the whole tree the write end of a pipe: its end of file proves that no process of
the tree is left.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mythjobs.process import PIPE, Breached, Exited, Limits, MythSystem, Process, Stopped
from mythjobs.process.spawn import native

PATH = {"PATH": os.environ["PATH"]}
# A daemon: in its own session, and its parent is dead. It says when it is ready to get SIGTERM,
# and ends at SIGTERM only. The program waits for its marks: without a C compiler, a daemon that
# loses its parent within microseconds after the exec of a program with a given environment cannot
# be found.
DAEMON = """
    read go
    (setsid sh -c 'trap "echo term; exit" TERM; echo ready; while :; do sleep 0.05; done' &)
"""
# The same without an environment, and deaf to SIGTERM.
DEAF_DAEMON = """
    read go
    (env -i setsid /bin/sh -c 'trap "" TERM HUP; echo ready; while :; do sleep 1; done' &)
"""
ENVIRONMENTS = pytest.mark.parametrize("more", [{}, {"env": PATH}], ids=["inherited", "given"])


class Tree:
    """A program with a daemon; both hold the pipe."""

    def __init__(self, text: str, **more: Any) -> None:
        ours, theirs = os.pipe()
        self.file = os.fdopen(ours, "rb")
        self.process: Process = MythSystem.shell(
            text, stdout=theirs, stderr=theirs, stdin=PIPE, **more
        ).start()
        os.close(theirs)
        assert self.process.pid

    def wait_ready(self) -> None:
        self.process.stdin.write(b"go\n")
        assert self.file.readline() == b"ready\n"

    def rest(self) -> list[bytes]:
        """Return the words that the tree has written, after the end of all its processes."""
        with self.file:
            # A shell may report the end of its sleep before its own.
            words = self.file.read().split()
            return [each for each in words if each not in (b"Terminated", b"Killed")]


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


@pytest.fixture(autouse=True)
def few_seconds() -> Iterator[None]:
    """No test may wait for the grace period, of a minute."""
    begun_s = time.monotonic()
    yield
    assert time.monotonic() - begun_s < 30


@pytest.mark.slow
@ENVIRONMENTS
def test_a_daemon_gets_sigterm_with_its_program(more: dict[str, Any]) -> None:
    tree = Tree(DAEMON + "read x", **more)
    tree.wait_ready()
    assert tree.process.terminate(grace_s=60) == Stopped("user")
    assert tree.rest() == [b"term"]


@pytest.mark.slow
@ENVIRONMENTS
def test_a_daemon_of_a_long_run_gets_sigterm(more: dict[str, Any]) -> None:
    # After so many processes, descendants are searched in all of /proc.
    tree = Tree("for i in $(seq 400); do (:); done;" + DAEMON + "read x", **more)
    tree.wait_ready()
    assert tree.process.terminate(grace_s=60) == Stopped("user")
    assert tree.rest() == [b"term"]


@ENVIRONMENTS
def test_kill_ends_a_daemon(more: dict[str, Any]) -> None:
    tree = Tree(DEAF_DAEMON + "read x", **more)
    tree.wait_ready()
    assert tree.process.kill() == Stopped("user")
    assert tree.rest() == []


@ENVIRONMENTS
def test_a_daemon_does_not_outlive_its_program(more: dict[str, Any]) -> None:
    tree = Tree(DEAF_DAEMON + "read x; exit 3", **more)
    tree.wait_ready()
    tree.process.stdin.close()
    assert tree.process.wait() == Exited(3)
    assert tree.rest() == []


def test_a_daemon_that_loses_its_parent_at_once_is_found() -> None:
    # Seen: with a given environment, 14 of 100 such daemons outlived their programs.
    if not Path(native.LIBRARY).exists():
        pytest.skip("the spawner is not compiled here")
    ours, theirs = os.pipe()
    system = MythSystem.shell("(setsid sleep 600 &)", stdout=theirs, env=PATH)
    running = [system.start() for _ in range(30)]
    os.close(theirs)
    assert {process.wait() for process in running} == {Exited(0)}
    with os.fdopen(ours, "rb") as file:
        assert file.read() == b""


@ENVIRONMENTS
def test_a_limit_ends_a_daemon(more: dict[str, Any]) -> None:
    tree = Tree(DAEMON + "read x", **more)
    tree.wait_ready()
    tree.process.limit(Limits(wall_s=0.001, grace_s=60))
    assert tree.process.wait() == Breached("wall")
    assert tree.rest() == [b"term"]


@ENVIRONMENTS
def test_pauses_and_signals_reach_a_daemon(more: dict[str, Any]) -> None:
    tree = Tree("trap : TERM;" + DAEMON + "while :; do sleep 0.05; done", **more)
    tree.wait_ready()
    tree.process.pause()
    pids = tree.process.pids()
    assert len(pids) >= 2
    while not {state_of(pid) for pid in pids} <= {"T", "Z", "D"}:
        # Delivery of a signal takes a moment. D: a shell whose child is stopped before its exec.
        os.sched_yield()
    assert tree.process.signal(15) >= 2
    tree.process.resume()
    assert tree.file.readline() in (b"term\n", b"Terminated\n")
    tree.process.kill()
    tree.file.close()


@ENVIRONMENTS
def test_daemons_of_other_programs_are_left_alone(more: dict[str, Any]) -> None:
    first, second = (Tree(DAEMON + "read x", **more) for _ in range(2))
    first.wait_ready()
    second.wait_ready()
    first.process.kill()
    assert first.rest() == []
    assert second.process.signal(0) >= 2
    second.process.terminate(grace_s=60)
    assert second.rest() == [b"term"]


def test_a_given_environment_is_exact() -> None:
    assert MythSystem(["/usr/bin/env"], env={}).run().stdout.read() == b""
    assert MythSystem(["env"], env={"PATH": "/usr/bin:/bin"}).run().stdout.read() == (
        b"PATH=/usr/bin:/bin\n"
    )


def test_a_program_in_a_program_belongs_to_both() -> None:
    # The inner library runs a daemon with a given environment.
    script = (
        "import sys; from mythjobs.process import *\n"
        "text = '(setsid sh -c \"echo ready; read x <&3\" 3<>/dev/ptmx &); read x'\n"
        "MythSystem.shell(text, stdout=INHERIT, stdin=INHERIT, env={'PATH': sys.argv[1]}).run()\n"
    )
    ours, theirs = os.pipe()
    process = MythSystem(
        [sys.executable, "-c", script, PATH["PATH"]], stdin=PIPE, stdout=theirs, stderr=theirs
    ).start()
    os.close(theirs)
    with open(ours, "rb") as file:
        assert file.readline() == b"ready\n"
        process.kill()
        assert file.read() == b""
