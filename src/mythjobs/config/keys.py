"""Ed25519 keys of master and agent, created once. The public key identifies the machine."""

from __future__ import annotations

from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mythjobs.config import files
from mythjobs.config.state import StateDir
from mythjobs.errors import ConfigError


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file, creating it if missing. Raises ConfigError if invalid."""
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
            f"{path} is not an Ed25519 key; restore it from a backup, or remove it to create a "
            "new one (other programs then see this machine as a new one)"
        )
    return key


def load_master_key(state: StateDir) -> Ed25519PrivateKey:
    """Return the master's private key. Its public key is written to a file for local agents."""
    key = load_or_create_key(state.master_key)
    public = key.public_key().public_bytes_raw().hex().encode() + b"\n"
    if not state.master_pub.exists() or state.master_pub.read_bytes() != public:
        files.replace_file(state.master_pub, public)
    return key


def read_master_public_key(state: StateDir) -> str | None:
    """Return the public key (hex) that a master must have for local agents to accept it.

    Return None if the state directory has no such key.
    """
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
