"""Ed25519 keys of master and agent, created once. The public key identifies the machine."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mythjobs.config import files
from mythjobs.config.state import StateDir
from mythjobs.errors import ConfigError

_BEGIN: Final = b"-----BEGIN PRIVATE KEY-----"
_END: Final = b"-----END PRIVATE KEY-----"
# What comes before the 32 bytes of an Ed25519 key in PKCS #8 (RFC 8410, section 7).
_PKCS8_PREFIX: Final = bytes.fromhex("302e020100300506032b657004220420")


def load_or_create_key(path: Path) -> Ed25519PrivateKey:
    """Return the private key in a file, creating it if missing. Raises ConfigError if invalid."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        data = files.create_once(path, _generate_pem())
    key = _parse_pem(data)
    if key is None:
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


def _parse_pem(data: bytes) -> Ed25519PrivateKey | None:
    """Return the key in a file that _generate_pem() has made, or another program; else None."""
    _, begin, rest = data.partition(_BEGIN)
    text, end, _ = rest.partition(_END)
    try:
        der = base64.b64decode(text) if begin and end else b""
        if der.startswith(_PKCS8_PREFIX) and len(der) == len(_PKCS8_PREFIX) + 32:
            return Ed25519PrivateKey.from_private_bytes(der[len(_PKCS8_PREFIX) :])
        # The library's reader takes 1 MB, which an agent needs for nothing else.
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(data, password=None)
    except ValueError:
        return None
    return key if isinstance(key, Ed25519PrivateKey) else None


def _generate_pem() -> bytes:
    # A private key is 32 random bytes (RFC 8032, 5.1.5). The library's generator takes 0.3 MB.
    der = _PKCS8_PREFIX + os.urandom(32)
    return b"\n".join([_BEGIN, base64.b64encode(der), _END, b""])
