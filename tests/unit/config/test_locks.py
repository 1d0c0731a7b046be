"""Locks: one holder, named by its pid."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from mythjobs.config import locks
from mythjobs.errors import AlreadyRunning, StateNotWritable


def test_a_held_lock_is_refused_with_the_pid_of_its_holder(tmp_path: Path) -> None:
    with locks.acquire(tmp_path / "lock", "an agent"):
        with pytest.raises(
            AlreadyRunning, match=rf"an agent is already running.*pid {os.getpid()}"
        ) as refused:
            locks.acquire(tmp_path / "lock", "an agent")
        assert refused.value.exit_code == os.EX_TEMPFAIL
        assert locks.try_acquire(tmp_path / "lock") is None
    again = locks.try_acquire(tmp_path / "lock")
    assert again is not None
    again.close()
    again.close()


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    lock = locks.acquire(tmp_path / "lock", "an agent")
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin
        assert child.stdout
        # The answer shows that exec is done, which closes inherited descriptors.
        child.stdin.write(b"\n")
        child.stdin.flush()
        assert child.stdout.read(1) == b"\n"
        lock.close()
        with locks.acquire(tmp_path / "lock", "an agent"):
            pass


def test_a_lock_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "lock").mkdir()
    with pytest.raises(StateNotWritable, match=f"cannot use {tmp_path}/lock: Is a directory; see"):
        locks.acquire(tmp_path / "lock", "an agent")
