"""Where the agent finds its master: the local socket, or the master that it has joined."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Any, Final

from websockets.asyncio.client import ClientConnection, connect

from mythjobs.agent.master_socket import MasterSocket
from mythjobs.config import keys
from mythjobs.config.network import read_joined_master
from mythjobs.config.state import StateDir, read_master_info
from mythjobs.config.tls_client import compute_fingerprint, make_client_context
from mythjobs.protocol import messages as m

HANDSHAKE_S: Final = 10.0
_OPTIONS: Final[dict[str, Any]] = {
    "compression": None,
    "ping_interval": None,
    "proxy": None,
    "max_size": m.MAX_FRAME_BYTES,
    "open_timeout": HANDSHAKE_S,
    "close_timeout": 1.0,
    "create_connection": MasterSocket,
}


class _Connect(connect):
    """Connects without following redirects: a master sends none, and the library raises ValueError
    for those that it refuses."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


@dataclass(frozen=True)
class MasterAddress:
    """How to connect to the master, and the key (hex) that it must have.

    socket: path of its Unix socket. Otherwise `endpoints` (HOST:PORT) and `context` for TLS.
    """

    trusted_key: str | None
    socket: str = ""
    endpoints: tuple[str, ...] = ()
    context: ssl.SSLContext | None = None

    @property
    def is_local(self) -> bool:
        return not self.endpoints

    def connect(self, attempt: int) -> Any:
        """Return the context manager of a MasterSocket. attempt: number of failures since the last
        connection; each failure tries the next endpoint."""
        if self.is_local:
            return _Connect("ws://localhost/link", unix=True, path=self.socket, **_OPTIONS)
        endpoint = self.endpoints[attempt % len(self.endpoints)]
        return _Connect(f"wss://{endpoint}/link", ssl=self.context, **_OPTIONS)

    def describe(self) -> str:
        return "in this state directory" if self.is_local else f"at {', '.join(self.endpoints)}"


def find_master(state: StateDir) -> MasterAddress:
    """Return the address of the agent's master. Raises ConfigError if a file is damaged."""
    joined = read_joined_master(state.agent)
    if joined is not None:
        context = make_client_context(joined.authority.encode())
        return MasterAddress(joined.master_key, "", tuple(joined.addresses), context)
    # The master's state file has the path of its socket: the socket is outside the state directory
    # if that directory's path is too long for a Unix socket.
    info = read_master_info(state)
    path = info.socket if info else str(state.root / "master.sock")
    return MasterAddress(keys.read_master_public_key(state), path)


def read_fingerprint(socket: ClientConnection) -> str:
    """Return the fingerprint of the master's certificate, "" for a connection without TLS."""
    channel = socket.transport.get_extra_info("ssl_object")
    if channel is None:
        return ""
    certificate: bytes | None = channel.getpeercert(binary_form=True)
    return compute_fingerprint(certificate or b"")
