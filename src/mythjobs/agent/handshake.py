"""The agent's side of the link's handshake: its hello, and the check of the master's answer."""

from __future__ import annotations

import os
from typing import NamedTuple

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mythjobs import __version__
from mythjobs.errors import ProtocolError
from mythjobs.model.machine_policy import ALLOW_ALL
from mythjobs.model.own_policy import NO_OWN_POLICY, OwnPolicy, own_policy_to_table
from mythjobs.protocol import handshake
from mythjobs.protocol import messages as m


class AgentIdentity(NamedTuple):
    """Key and description of this machine for the hello to the master. `incarnation` is a random
    identifier of this agent process. `own`: the machine's own policy."""

    key: Ed25519PrivateKey
    name: str
    boot_id: str
    incarnation: str
    zone: str = ""
    can: tuple[str, ...] = ()
    own: OwnPolicy = NO_OWN_POLICY
    has_scaling: bool = False


def build_hello(
    challenge: m.Challenge,
    identity: AgentIdentity,
    nonce: str,
    trusted_key: str | None,
    *,
    channel: str,
) -> tuple[m.Hello, bytes]:
    """Return the hello that answers the master's challenge, and the bytes whose signature the
    master's welcome must contain.

    channel: fingerprint of the master's TLS certificate, "" on the local socket.

    Raises ProtocolError if the master's key is not `trusted_key`, or if master and agent have no
    protocol version in common.
    """
    if challenge.master_key != trusted_key:
        raise ProtocolError(
            "the master's key is not the one that this machine has joined: another program answers "
            "in its place, or the master was set up again; in that case join again"
        )
    version = min(challenge.newest, m.VERSION)
    oldest = handshake.OLDEST_NETWORK_VERSION if channel else m.OLDEST_VERSION
    if version < max(challenge.oldest, oldest):
        raise ProtocolError(
            f"no common version of the link protocol: the master has {challenge.oldest} to "
            f"{challenge.newest}, this agent {oldest} to {m.VERSION}; "
            "upgrade the older one"
        )
    hello = m.Hello(
        version,
        handshake.encode_public_key(identity.key),
        nonce,
        "",
        identity.name,
        identity.boot_id,
        identity.incarnation,
        cores=os.cpu_count() or 1,
        program=f"mythjobs {__version__}",
        zone=identity.zone,
        can=list(identity.can),
        allow="" if identity.own.rights == ALLOW_ALL else identity.own.rights.to_json(),
        scaling=identity.has_scaling,
        policy=own_policy_to_table(identity.own),
    )
    transcript = handshake.build_transcript("machine", challenge, hello, channel)
    signed = msgspec.structs.replace(hello, signature=handshake.sign(identity.key, transcript))
    return signed, handshake.build_transcript("master", challenge, hello, channel)


def verify_welcome(
    message: m.Challenge | m.Hello | m.Welcome | m.Refused, trusted_key: str, statement: bytes
) -> m.Welcome:
    """Return the master's answer to the hello if it is a welcome with a signature of `statement` by
    `trusted_key`. Raises ProtocolError otherwise."""
    if isinstance(message, m.Refused):
        raise ProtocolError(f"the master refused this machine: {message.sentence}")
    if not isinstance(message, m.Welcome):
        raise ProtocolError("unexpected handshake message from the master; welcome expected")
    handshake.verify(trusted_key, message.signature, statement)
    return message
