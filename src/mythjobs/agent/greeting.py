"""The agent's side of the handshake: which master it accepts, and how it says who it is."""

from __future__ import annotations

import os
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mythjobs import __version__
from mythjobs.errors import ProtocolError
from mythjobs.protocol import handshake
from mythjobs.protocol import messages as m


class Myself(NamedTuple):
    """Who this agent is. `incarnation` is another for each agent process."""

    key: Ed25519PrivateKey
    name: str
    boot_id: str
    incarnation: str
    zone: str = ""
    can: tuple[str, ...] = ()


def answer(
    challenge: m.Challenge, myself: Myself, nonce: str, trusted: str | None
) -> tuple[m.Hello, bytes]:
    """The hello for this challenge, and what the master's welcome must have signed.

    `trusted` is the only master key that is accepted. Raises ProtocolError.
    """
    if challenge.master_key != trusted:
        raise ProtocolError(
            "the master's key is not the one in master.pub of this state directory; whoever "
            "answers there is not this machine's master"
        )
    version = min(challenge.newest, m.VERSION)
    if version < max(challenge.oldest, m.OLDEST):
        raise ProtocolError(
            f"the master speaks versions {challenge.oldest} to {challenge.newest} of the link, "
            f"this agent {m.OLDEST} to {m.VERSION}; upgrade the older of the two"
        )
    ours = handshake.public_hex(myself.key)
    said = (challenge.nonce, nonce, challenge.master_key, ours)
    hello = m.Hello(
        version,
        ours,
        nonce,
        handshake.sign(myself.key, handshake.statement("machine", *said)),
        myself.name,
        myself.boot_id,
        myself.incarnation,
        cores=os.cpu_count() or 1,
        program=f"mythjobs {__version__}",
        zone=myself.zone,
        can=list(myself.can),
    )
    return hello, handshake.statement("master", *said)


def welcomed(
    message: m.Challenge | m.Hello | m.Welcome | m.Refused, trusted: str, said: bytes
) -> m.Welcome:
    """The welcome, if the holder of the trusted key gave it. Raises ProtocolError."""
    if isinstance(message, m.Refused):
        raise ProtocolError(f"the master refused this machine: {message.sentence}")
    if not isinstance(message, m.Welcome):
        raise ProtocolError("the master answers hello with welcome or refused")
    handshake.verify(trusted, message.signature, said)
    return message
