"""Keys and tokens: created once, private, and refused if damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from mythjobs.config import files, keys, state, tokens
from mythjobs.errors import ConfigError


def test_a_key_is_created_once_and_is_private(tmp_path: Path) -> None:
    first = keys.load_or_create_key(tmp_path / "key")
    again = keys.load_or_create_key(tmp_path / "key")
    assert first.private_bytes_raw() == again.private_bytes_raw()
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("end", [b"", b"\r\n# a comment\n"])
def test_a_key_file_is_one_that_other_programs_read_and_write(tmp_path: Path, end: bytes) -> None:
    key = keys.load_or_create_key(tmp_path / "key")
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    assert (tmp_path / "key").read_bytes() == pem
    (tmp_path / "key").write_bytes(pem + end)
    assert keys.load_or_create_key(tmp_path / "key").private_bytes_raw() == key.private_bytes_raw()


def test_the_key_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    pem = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "key").write_bytes(pem)
    with pytest.raises(ConfigError, match="not an Ed25519 key"):
        keys.load_or_create_key(tmp_path / "key")


def test_the_second_creator_gets_the_first_content(tmp_path: Path) -> None:
    assert files.create_once(tmp_path / "token", b"first") == b"first"
    assert files.create_once(tmp_path / "token", b"second") == b"first"


@pytest.mark.parametrize("damage", [b"", b"not a key", b"-----BEGIN PRIVATE KEY-----\n"])
def test_a_damaged_key_is_refused_not_replaced(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "key").write_bytes(damage)
    with pytest.raises(ConfigError, match="not an Ed25519 key"):
        keys.load_or_create_key(tmp_path / "key")
    assert (tmp_path / "key").read_bytes() == damage


def test_the_public_key_is_written_to_a_file(tmp_path: Path) -> None:
    here = state.open_state(tmp_path)
    assert keys.read_master_public_key(here) is None
    key = keys.load_master_key(here)
    assert keys.read_master_public_key(here) == key.public_key().public_bytes_raw().hex()
    here.master_pub.unlink()
    keys.load_master_key(here)
    assert keys.read_master_public_key(here) == key.public_key().public_bytes_raw().hex()


def test_a_token_is_created_once(tmp_path: Path) -> None:
    here = state.open_state(tmp_path)
    assert tokens.read_token(here) is None
    token = tokens.load_or_create_token(here)
    assert len(token) >= 43
    assert tokens.load_or_create_token(here) == tokens.read_token(here) == token
    assert here.token.stat().st_mode & 0o777 == 0o600
    here.token.write_text("\n")
    with pytest.raises(ConfigError, match="has no valid token"):
        tokens.load_or_create_token(here)
