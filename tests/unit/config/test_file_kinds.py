"""FIFOs, devices and sockets in the place of files of a state directory."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from mythjobs.config.state import StateDir, open_state
from mythjobs.errors import StateNotWritable
from mythjobs.mythtv.settings import bridge_dir
from mythjobs.takeover.records import ImportRecords


def _make_socket(path: Path) -> None:
    os.chdir(path.parent)  # the path may be too long for a socket
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


_KINDS: list[tuple[str, Callable[[Path], None]]] = [
    ("a FIFO", os.mkfifo),
    ("a device", lambda path: path.symlink_to("/dev/zero")),
    ("a socket", _make_socket),
]


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StateDir:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir(mode=0o700)
    return StateDir(tmp_path / "state")


@pytest.mark.parametrize("kind, make", _KINDS)
@pytest.mark.parametrize(
    "name", ["store.db-wal", "tls/server.key", "agent/journal", "agent/reapers/0.1/lock"]
)
def test_what_is_in_the_place_of_a_file_is_named(
    state: StateDir, name: str, kind: str, make: Callable[[Path], None]
) -> None:
    path = state.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    make(path)
    for create in (True, False):
        with pytest.raises(StateNotWritable, match=f"cannot use {path}: it is {kind}, .*move it"):
            open_state(state.root, create=create)


def test_a_link_to_a_fifo_is_refused_and_one_to_a_file_is_not(
    state: StateDir, tmp_path: Path
) -> None:
    state.token.symlink_to(tmp_path / "elsewhere")
    open_state(state.root)  # a link to nothing
    (tmp_path / "elsewhere").touch()
    open_state(state.root)
    (tmp_path / "elsewhere").unlink()
    os.mkfifo(tmp_path / "elsewhere")
    with pytest.raises(StateNotWritable, match="token: it is a FIFO"):
        open_state(state.root)


def test_sockets_of_master_and_reaper_and_fifos_of_jobs_are_allowed(state: StateDir) -> None:
    state.agent.root.mkdir()
    state.agent.create()
    (state.agent.reapers / "0.1").mkdir()
    _make_socket(state.agent.reapers / "0.1" / "socket")
    _make_socket(state.root / "master.sock")
    os.mkfifo(state.agent.scratch / "1.1.status")
    open_state(state.root)


def test_the_bridge_and_imports_refuse_a_fifo(state: StateDir) -> None:
    for name in ("mythtv", "import"):
        (state.root / name).mkdir()
        os.mkfifo(state.root / name / "entries.json")
    with pytest.raises(StateNotWritable, match=r"mythtv/entries.json: it is a FIFO"):
        bridge_dir(state.root)
    with pytest.raises(StateNotWritable, match=r"import/entries.json: it is a FIFO"):
        ImportRecords.load(state.root)
