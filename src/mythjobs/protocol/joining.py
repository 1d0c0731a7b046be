"""Join tokens, and the six words by which people authenticate a machine without a token.

docs/decisions/0006-network-and-joining.md describes both. Pure: no I/O.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Final, NamedTuple

from mythjobs.errors import BadRequest
from mythjobs.model.names import is_encodable_host
from mythjobs.protocol.wordlist import WORDS

PIN_BYTES: Final = 16
SECRET_BYTES: Final = 16
NONCE_BYTES: Final = 32
CODE_LENGTH: Final = 6
DEFAULT_PORT: Final = 6545
SERVICE_TYPE: Final = "_mythjobs._tcp.local."  # of the announcement by mDNS

# Base32 without padding, in lower case: 16 bytes are 26 characters.
_TOKEN: Final = re.compile(
    r"mj1\.(?P<pin>[a-z2-7]{26})\.(?P<id>[0-9]{1,18})\.(?P<secret>[a-z2-7]{26})@(?P<where>\S+)"
)
# Names, IPv4 and IPv6 addresses, the last also with an interface (fe80::1%eth0).
_HOST: Final = re.compile(r"[\w.:%-]{1,253}", re.ASCII)
_WORDS_PURPOSE: Final = b"mythjobs join words 1"
_COMMIT_PURPOSE: Final = b"mythjobs join commitment 1"


class Endpoint(NamedTuple):
    """Address of a master's network port. host: a name or an IP address, IPv6 without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class JoinToken(NamedTuple):
    """Invitation of one machine. pin: first bytes of the SHA-256 of the authority's certificate
    (DER)."""

    pin: bytes
    token_id: int
    secret: bytes
    endpoints: tuple[Endpoint, ...]


def format_token(token: JoinToken) -> str:
    where = ",".join(map(str, token.endpoints))
    return f"mj1.{_to_base32(token.pin)}.{token.token_id}.{_to_base32(token.secret)}@{where}"


def is_token(text: str) -> bool:
    """Return whether a text is meant as a join token, complete or not."""
    return text.startswith("mj1.")


def parse_token(text: str) -> JoinToken:
    """Return the token in a text. Raises BadRequest."""
    found = _TOKEN.fullmatch(text.strip())
    if found is None:
        raise BadRequest(
            "the join token is incomplete or damaged; copy the whole line that "
            "`mythjobs machine invite` printed"
        )
    endpoints = tuple(parse_endpoint(each) for each in found["where"].split(","))
    return JoinToken(
        _from_base32(found["pin"]), int(found["id"]), _from_base32(found["secret"]), endpoints
    )


def parse_endpoint(text: str) -> Endpoint:
    """Return the endpoint in `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`. Raises BadRequest."""
    host, port = text, str(DEFAULT_PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        port = (rest or f":{port}").removeprefix(":") if bracket else ""
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    is_port = port.isascii() and port.isdecimal() and 0 < int(port) < 65_536
    if not is_port or not _HOST.fullmatch(host) or not is_encodable_host(host):
        raise BadRequest(
            f'"{text}" is not the address of a master; write it like attic.local, '
            "192.168.1.5:6545 or [fd00::5]:6545"
        )
    return Endpoint(host, int(port))


def compute_pin(authority: bytes) -> bytes:
    """Return the pin of an authority's certificate (DER)."""
    return hashlib.sha256(authority).digest()[:PIN_BYTES]


def hash_secret(secret: bytes) -> str:
    """Return what the store holds of a token's secret. A secret has 128 random bits, so that a
    hash without salt and without delay is enough."""
    return hashlib.sha256(secret).hexdigest()


def commit_to_nonce(nonce: bytes) -> str:
    """Return the hash that a joining machine sends before it reveals its nonce."""
    return hashlib.sha256(_COMMIT_PURPOSE + nonce).hexdigest()


def compute_verification_code(
    authority: bytes, machine_key: str, machine_nonce: bytes, master_nonce: bytes
) -> tuple[str, ...]:
    """Return the six words for a join without a token.

    authority: certificate (DER) that each side has seen. machine_key: public key in hex.
    """
    parts = (authority, machine_key.encode(), machine_nonce, master_nonce)
    digest = hashlib.sha256(_WORDS_PURPOSE)
    for part in parts:
        # The length before each part excludes that two different lists give the same bytes.
        digest.update(len(part).to_bytes(4, "big") + part)
    return tuple(WORDS[byte] for byte in digest.digest()[:CODE_LENGTH])


def _to_base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _from_base32(text: str) -> bytes:
    return base64.b32decode(text.upper() + "=" * (-len(text) % 8))
