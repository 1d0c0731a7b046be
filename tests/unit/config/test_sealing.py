from __future__ import annotations

import stat
from pathlib import Path

import pytest

from mythjobs.config.sealing import Seal
from mythjobs.errors import ConfigError

SECRET = "mailto://user:pässword@example.org"


def test_a_text_comes_back_and_is_not_readable_meanwhile(tmp_path: Path) -> None:
    sealed = Seal(tmp_path / "key").encrypt(SECRET)
    assert "example" not in sealed
    assert Seal(tmp_path / "key").decrypt(sealed) == SECRET
    assert Seal(tmp_path / "key").encrypt(SECRET) != sealed


def test_only_the_owner_can_read_the_key(tmp_path: Path) -> None:
    Seal(tmp_path / "key").encrypt(SECRET)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_without_the_key_or_with_another_one_an_error_says_what_to_do(tmp_path: Path) -> None:
    sealed = Seal(tmp_path / "key").encrypt(SECRET)
    with pytest.raises(ConfigError, match="add the channel again"):
        Seal(tmp_path / "other").decrypt(sealed)
    Seal(tmp_path / "other").encrypt(SECRET)
    with pytest.raises(ConfigError, match="not the one"):
        Seal(tmp_path / "other").decrypt(sealed)
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(ConfigError):
        Seal(tmp_path / "key").decrypt(sealed)
