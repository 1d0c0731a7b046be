"""Mutual authentication of master and agent: Ed25519 signatures over both nonces and keys."""

from __future__ import annotations

from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mythjobs.errors import ProtocolError

Role = Literal["master", "machine"]
_PURPOSE: Final = b"mythjobs link 1"


def build_transcript(
    role: Role, master_nonce: str, machine_nonce: str, master_key: str, machine_key: str
) -> bytes:
    """Return the bytes that one side signs. They contain that side's role, so that its signature
    cannot be replayed to it as the signature of the other side (reflection attack)."""
    parts = [role, master_nonce, machine_nonce, master_key, machine_key]
    return b"\n".join([_PURPOSE, *(part.encode() for part in parts)])


def sign(key: Ed25519PrivateKey, transcript: bytes) -> str:
    return key.sign(transcript).hex()


def verify(public_key_hex: str, signature_hex: str, transcript: bytes) -> None:
    """Raise ProtocolError unless the owner of this key has signed the transcript."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key_hex))
        key.verify(bytes.fromhex(signature_hex), transcript)
    except (InvalidSignature, ValueError):
        raise ProtocolError("authentication failed: invalid signature for the key") from None


def encode_public_key(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()
