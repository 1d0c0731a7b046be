"""State directory: creation and refusals."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mythjobs.config import state
from mythjobs.config.os_errors import explaining_os_errors
from mythjobs.errors import NotAllowed, StateNotWritable

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")


def test_a_new_directory_is_closed_to_others(tmp_path: Path) -> None:
    made = state.open_state(tmp_path / "a" / "state")
    assert made.root.stat().st_mode & 0o777 == 0o700
    assert state.open_state(made.root) == made
    made.agent.create()
    assert made.agent.output.is_dir()


def test_the_mode_of_an_empty_directory_is_changed_but_not_of_a_shared_one(tmp_path: Path) -> None:
    empty, shared = tmp_path / "empty", tmp_path / "shared"
    for path in (empty, shared):
        path.mkdir(mode=0o755)
    (shared / "letter").write_text("mine")
    state.open_state(empty)
    assert empty.stat().st_mode & 0o777 == 0o700
    with pytest.raises(StateNotWritable, match="chmod 700"):
        state.open_state(shared)
    assert shared.stat().st_mode & 0o777 == 0o755


def test_an_unusable_state_directory_is_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for wrong in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(StateNotWritable, match="--state-dir") as refused:
            state.open_state(wrong)
        assert refused.value.exit_code == os.EX_CANTCREAT


@root_only
def test_another_users_directory_is_not_written(tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir(mode=0o700)
    os.chown(theirs, 12345, 12345)
    with pytest.raises(StateNotWritable, match="belongs to user 12345"):
        state.open_state(theirs)
    assert state.open_state(theirs, create=False).root == theirs


@root_only
def test_another_user_gets_the_name_of_the_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(NotAllowed, match="belongs to root"):
        state.open_state(tmp_path, create=False)


def test_reading_creates_nothing(tmp_path: Path) -> None:
    missing = state.open_state(tmp_path / "missing", create=False)
    assert not missing.root.exists()
    assert state.read_master_info(missing) is None


def test_master_info_is_read_back(tmp_path: Path) -> None:
    here = state.open_state(tmp_path)
    info = state.MasterInfo(7, "127.0.0.1", 6545, str(tmp_path / "master.sock"), "0.1.0")
    state.write_master_info(here, info)
    assert state.read_master_info(here) == info
    here.master_json.write_text('{"pid": 7}')
    assert state.read_master_info(here) is None


def test_an_error_about_a_file_of_the_state_directory_names_it(tmp_path: Path) -> None:
    mine = state.StateDir(tmp_path)
    mine.token.mkdir()
    message = r"cannot use .*token: Is a directory; see that"
    with pytest.raises(StateNotWritable, match=message), explaining_os_errors(mine):
        mine.token.read_bytes()


def test_other_system_errors_pass_unchanged(tmp_path: Path) -> None:
    with (
        pytest.raises(IsADirectoryError),
        explaining_os_errors(state.StateDir(tmp_path / "state")),
    ):
        tmp_path.read_bytes()
    with (
        pytest.raises(OSError, match="too many"),
        explaining_os_errors(state.StateDir(tmp_path)),
    ):
        raise OSError(24, "too many")
