"""Who we are: Ed25519 keys, made once. A machine is its key, and so is a master."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mythjobs.config import files
from mythjobs.config.state import StateDir
from mythjobs.errors import ConfigError


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """The key in this file, made if there is none. Raises ConfigError if it is no key."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = files.create_once(path, _generate_pem())
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except ValueError:
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(
            f"{path} is not an Ed25519 key; restore it from a backup, or remove it and a new "
            f"one is made (then this machine is a new one to its peers)"
        )
    return key


def load_master_key(state: StateDir) -> Ed25519PrivateKey:
    """The master's key, with its public half beside it for the agents of this machine."""
    key = load_or_create_key(state.master_key)
    public = key.public_key().public_bytes_raw().hex().encode() + b"\n"
    if not state.master_pub.exists() or state.master_pub.read_bytes() != public:
        files.replace_file(state.master_pub, public, 0o644)
    return key


def read_master_public_key(state: StateDir) -> str | None:
    """The hex of the only master key that an agent of this state directory accepts."""
    try:
        return state.master_pub.read_text(encoding="ascii").strip()
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _generate_pem() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
