"""Who is who on the link: Ed25519 signatures over both nonces and both keys."""

from __future__ import annotations

from typing import Final, Literal

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mythjobs.errors import ProtocolError

Role = Literal["master", "machine"]
_PURPOSE: Final = b"mythjobs link 1"


def statement(
    role: Role, master_nonce: str, machine_nonce: str, master_key: str, machine_key: str
) -> bytes:
    """What is signed. The role keeps one side's signature from being shown as the other's."""
    parts = [role, master_nonce, machine_nonce, master_key, machine_key]
    return b"\n".join([_PURPOSE, *(part.encode() for part in parts)])


def sign(key: Ed25519PrivateKey, said: bytes) -> str:
    return key.sign(said).hex()


def verify(public_hex: str, signature_hex: str, said: bytes) -> None:
    """Raises ProtocolError if the holder of this key did not sign this."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_hex))
        key.verify(bytes.fromhex(signature_hex), said)
    except (InvalidSignature, ValueError):
        raise ProtocolError("the signature does not belong to that key") from None


def public_hex(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()
