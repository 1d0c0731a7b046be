"""Reading /proc."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mythjobs.clock import machine_now
from mythjobs.process import procfs


def test_the_own_process_is_found() -> None:
    own = procfs.read_process(os.getpid())
    assert own
    assert (own.parent_pid, own.session_id, own.is_dead) == (os.getppid(), os.getsid(0), False)
    assert own in list(procfs.list_processes())


def test_start_time_of_a_child_is_within_the_interval_of_its_spawn() -> None:
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
    assert before_ms - procfs.TICK_MS <= found.start_time_ms <= after_ms
    # exec() is reported slightly before the new environment can be read.
    assert child.stdout
    assert child.stdout.readline() == b"\n"
    assert procfs.read_attempt_mark(child.pid) == (12, 3)
    assert child.pid in procfs.list_thread_children(os.getpid(), os.getpid())
    child.communicate(b"\n")
    assert procfs.read_process(child.pid) is None
    assert procfs.read_attempt_mark(child.pid) is None


def test_a_process_name_with_parentheses_and_spaces_is_parsed() -> None:
    rename = "import ctypes; ctypes.CDLL(None).prctl(15, b') Z 1 1 1', 0, 0, 0)"
    script = f"{rename}; print(flush=True); input()"
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout
    child.stdout.readline()
    found = procfs.read_process(child.pid)
    assert found
    assert (found.parent_pid, found.session_id) == (os.getpid(), os.getsid(0))
    child.communicate(b"\n")


def _read_mark(monkeypatch: pytest.MonkeyPatch, *, command: bytes, after: int) -> tuple[bool, int]:
    """Return whether the mark of a recent process is found, and the number of reads, if its
    environment is empty for the first `after` reads."""
    reads = 0

    def read(path: str) -> bytes:
        nonlocal reads
        if path.endswith("/cmdline"):
            return command
        reads += 1
        return b"TREE=abc\0" if reads > after else b""

    with subprocess.Popen(["sleep", "60"]) as process:
        monkeypatch.setattr(procfs, "_READ_PAUSE_S", 0.0)
        monkeypatch.setattr(procfs, "_may_be_in_exec", lambda pid: True)
        monkeypatch.setattr(procfs, "_read", read)
        found = procfs.has_mark(process.pid, "TREE", "abc")
        process.kill()
    return found, reads


def test_environment_is_read_again_while_a_process_is_in_exec(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert _read_mark(monkeypatch, command=b"", after=300) == (True, 301)


def test_a_process_without_environment_is_read_fewer_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found, reads = _read_mark(monkeypatch, command=b"sleep\0", after=300)
    assert not found
    assert reads == 41
