"""One holder a lock, told by pid."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mythjobs.config import locks
from mythjobs.errors import Taken


def test_a_second_holder_is_told_who_holds_it(tmp_path: Path) -> None:
    with locks.hold(tmp_path / "lock", "an agent"):
        with pytest.raises(Taken, match=rf"an agent runs already.*pid {os.getpid()}") as refused:
            locks.hold(tmp_path / "lock", "an agent")
        assert refused.value.exit_code == os.EX_TEMPFAIL
        assert locks.try_hold(tmp_path / "lock") is None
    again = locks.try_hold(tmp_path / "lock")
    assert again is not None
    again.close()
    again.close()


def test_a_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    read, write = os.pipe()
    lock = locks.hold(tmp_path / "lock", "an agent")
    pid = os.posix_spawn(
        "/bin/cat", ["cat"], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, read, 0)]
    )
    os.close(read)
    lock.close()
    with locks.hold(tmp_path / "lock", "an agent"):
        pass
    os.close(write)
    os.waitpid(pid, 0)
