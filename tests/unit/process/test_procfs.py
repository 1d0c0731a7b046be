"""/proc, as it is read."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mythjobs.clock import machine_now
from mythjobs.process import procfs


def test_we_see_ourselves() -> None:
    us = procfs.read_process(os.getpid())
    assert us
    assert (us.parent, us.session, us.dead) == (os.getppid(), os.getsid(0), False)
    assert us in list(procfs.processes())


def test_a_childs_birth_lies_between_the_instants_around_its_start() -> None:
    before_ms = machine_now().steady_ms
    child = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"MYTHJOBS_JOB": "12", "MYTHJOBS_ATTEMPT": "3", "MYTHJOBS_P_X": "é"},
    )
    after_ms = machine_now().steady_ms
    found = procfs.read_process(child.pid)
    assert found
    assert before_ms - procfs.TICK_MS <= found.born_ms <= after_ms
    # The kernel answers for the exec a moment before the new environment can be read.
    assert child.stdout
    assert child.stdout.readline() == b"\n"
    assert procfs.mark_of(child.pid) == (12, 3)
    assert child.pid in procfs.children(os.getpid(), os.getpid())
    child.communicate(b"\n")
    assert procfs.read_process(child.pid) is None
    assert procfs.mark_of(child.pid) is None


def test_a_name_with_brackets_and_spaces_confuses_nobody() -> None:
    rename = "import ctypes; ctypes.CDLL(None).prctl(15, b') Z 1 1 1', 0, 0, 0)"
    script = f"{rename}; print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout
    child.stdout.readline()
    found = procfs.read_process(child.pid)
    assert found
    assert (found.parent, found.session) == (os.getpid(), os.getsid(0))
    child.communicate(b"\n")


def _looks(monkeypatch: pytest.MonkeyPatch, *, command: bytes, after: int) -> tuple[bool, int]:
    """Whether the mark of a young process is found that shows its environment at the look after
    so many, and how often was looked."""
    looks = 0

    def read(path: str) -> bytes:
        nonlocal looks
        if path.endswith("/cmdline"):
            return command
        looks += 1
        return b"TREE=abc\0" if looks > after else b""

    with subprocess.Popen(["sleep", "60"]) as young:
        monkeypatch.setattr(procfs, "_PAUSE_S", 0.0)
        monkeypatch.setattr(procfs, "_may_be_in_exec", lambda pid: True)
        monkeypatch.setattr(procfs, "_read", read)
        found = procfs.has_mark(young.pid, "TREE", "abc")
        young.kill()
    return found, looks


def test_a_process_that_a_busy_machine_leaves_in_exec_is_waited_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _looks(monkeypatch, command=b"", after=300) == (True, 301)


def test_one_that_has_no_environment_is_not_waited_for_as_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, looks = _looks(monkeypatch, command=b"sleep\0", after=300)
    assert not found
    assert looks == 41
