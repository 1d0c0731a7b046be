"""Default path of the state directory."""

from __future__ import annotations

import os
import pwd

import pytest

from mythjobs.errors import ConfigError
from mythjobs.model.state_path import default_state_path

HOME = {"HOME": "/home/ann"}


@pytest.mark.parametrize(
    "environ,expected",
    [
        (HOME, "/home/ann/.local/state/mythjobs"),
        ({**HOME, "XDG_STATE_HOME": "/x/state"}, "/x/state/mythjobs"),
        ({**HOME, "XDG_STATE_HOME": "relative"}, "/home/ann/.local/state/mythjobs"),
        ({**HOME, "XDG_STATE_HOME": "/x", "MYTHJOBS_STATE_DIR": "here"}, "here"),
        ({"MYTHJOBS_STATE_DIR": "/a", "HOME": "/h"}, "/a"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/h"}, "/x/mythjobs"),
    ],
)
def test_the_default_follows_xdg_then_home(environ: dict[str, str], expected: str) -> None:
    assert default_state_path(environ) == expected


def test_without_home_the_user_database_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOME", raising=False)
    home = pwd.getpwuid(os.getuid()).pw_dir
    root = "/var/lib/mythjobs" if os.getuid() == 0 else f"{home}/.local/state/mythjobs"
    assert default_state_path({}) == root


def test_a_user_without_home_directory_is_told_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000_001)
    with pytest.raises(ConfigError) as caught:
        default_state_path({})
    assert caught.value.sentence == (
        "cannot find the state directory: user 4000000001 has no home directory; set "
        "MYTHJOBS_STATE_DIR"
    )
