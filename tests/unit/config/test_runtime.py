"""Paths of sockets and FIFOs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mythjobs.config import runtime, state
from mythjobs.errors import StateNotWritable


def test_a_state_directory_has_one_runtime_directory(tmp_path: Path) -> None:
    here = state.open_state(tmp_path / "s")
    path = runtime.ensure_runtime_dir(here, {})
    try:
        assert runtime.ensure_runtime_dir(here, {}) == path
        assert path.stat().st_mode & 0o777 == 0o700
        assert path.parent == here.root or runtime.is_tmpfs(str(path))
    finally:
        path.rmdir()


def test_disks_are_not_tmpfs() -> None:
    assert not runtime.is_tmpfs("/proc")
    assert not runtime.is_tmpfs("/missing")


@pytest.mark.skipif(not runtime.is_tmpfs("/dev/shm"), reason="no tmpfs here")
@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_another_users_directory_is_not_used(tmp_path: Path) -> None:
    here = state.open_state(tmp_path / "s")
    path = runtime.ensure_runtime_dir(here, {"XDG_RUNTIME_DIR": "/dev/shm"})
    os.chown(path, 12345, 12345)
    try:
        other = runtime.ensure_runtime_dir(here, {"XDG_RUNTIME_DIR": "/dev/shm"})
        assert other != path
        other.rmdir()
    finally:
        path.rmdir()


def test_a_socket_is_in_the_state_directory_if_its_path_fits(tmp_path: Path) -> None:
    short = state.StateDir(Path("/tmp/s"))
    assert runtime.choose_socket_path(short, "master.sock") == Path("/tmp/s/master.sock")
    deep = state.open_state(tmp_path / ("d" * 100))
    path = runtime.choose_socket_path(deep, "master.sock")
    assert len(os.fsencode(path)) <= runtime.MAX_SOCKET_PATH_BYTES
    path.parent.rmdir()
    with pytest.raises(StateNotWritable, match="too long"):
        runtime.choose_socket_path(deep, "s" * 100)
    runtime.ensure_runtime_dir(deep).rmdir()
