"""Mutual authentication of master and agent: Ed25519 signatures over the messages exchanged."""

from __future__ import annotations

from typing import Final, Literal

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from mythjobs.errors import ProtocolError
from mythjobs.protocol import messages as m

Role = Literal["master", "machine"]
# Version 1 of the link signs nonces and keys only. The later ones sign everything that was said.
_PURPOSE_1: Final = b"mythjobs link 1"
_PURPOSE_2: Final = "mythjobs link 2"
# Oldest version on the network; version 1 does not bind the handshake to the TLS connection.
OLDEST_NETWORK_VERSION: Final = 2


def build_transcript(role: Role, challenge: m.Challenge, hello: m.Hello, channel: str) -> bytes:
    """Return the bytes that one side signs. They contain that side's role, so that its signature
    cannot be replayed to it as the signature of the other side (reflection attack).

    channel: fingerprint of the master's TLS certificate as this side sees it, "" on the local
    socket. It binds the handshake to the connection: nobody can pass it on to another one.
    The hello's own signature is not part of it.
    """
    nonces_and_keys = [challenge.nonce, hello.nonce, challenge.master_key, hello.machine_key]
    if hello.version == 1:
        return b"\n".join([_PURPOSE_1, role.encode(), *(each.encode() for each in nonces_and_keys)])
    return msgspec.json.encode([
        _PURPOSE_2, role, channel, *nonces_and_keys, challenge.oldest, challenge.newest,
        hello.version, hello.name, hello.boot_id, hello.incarnation, hello.cores, hello.program,
        hello.zone, hello.can, hello.allow, hello.scaling,
    ])  # fmt: skip


def sign(key: Ed25519PrivateKey, transcript: bytes) -> str:
    return key.sign(transcript).hex()


def verify(public_key_hex: str, signature_hex: str, transcript: bytes) -> None:
    """Raise ProtocolError unless the owner of this key has signed the transcript."""
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key_hex))
        key.verify(bytes.fromhex(signature_hex), transcript)
    except (InvalidSignature, ValueError):
        raise ProtocolError("authentication failed: invalid signature for the key") from None


def decode_hex(text: str, size: int) -> bytes | None:
    """Return the bytes in a text of exactly `size` bytes in lower-case hex, None for any other.

    A key identifies a machine, so each key must have exactly one spelling.
    """
    try:
        data = bytes.fromhex(text)
    except ValueError:
        return None
    return data if len(data) == size and data.hex() == text else None


def encode_public_key(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()
