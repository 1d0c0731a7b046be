"""All listeners of the master: the Unix socket, and the TCP port for this and other machines."""

from __future__ import annotations

import socket

from mythjobs.config.state import StateDir
from mythjobs.master.service import Master
from mythjobs.web.network.control import Network
from mythjobs.web.network.listener import Listener
from mythjobs.web.network.port import Port
from mythjobs.web.security.access import AccessControl
from mythjobs.web.security.connection_limit import ConnectionLimit
from mythjobs.web.security.http_limits import LimitedConnection, LocalConnection
from mythjobs.web.security.metrics_access import MetricsAccess
from mythjobs.web.security.network_access import NetworkAccess, NetworkConnection
from mythjobs.web.server.app import build_app


class Listeners:
    """One application behind three listeners, each with its own access control."""

    def __init__(self, state: StateDir, master: Master, token: str) -> None:
        self.network = Network(state)
        app = build_app(master, master.links, self.network)
        self._local = Listener(
            AccessControl(app, None),
            LocalConnection,
            browser_headers=False,
            limit=ConnectionLimit("the socket", 0.75),
        )
        admits = MetricsAccess(state).admits
        self._plain = Listener(
            AccessControl(app, token, admits),
            LimitedConnection,
            browser_headers=True,
            limit=ConnectionLimit("the port", 0.125),
        )
        self._secure = Listener(
            NetworkAccess(app, admits),
            NetworkConnection,
            browser_headers=True,
            limit=ConnectionLimit("the port on the network", 0.125),
        )
        self._port = Port(self._plain, self._secure)

    async def open(self, port: socket.socket, local: socket.socket) -> None:
        """Serve a loopback port and a Unix socket, and the network if its setting says so.

        Raises ConfigError, AlreadyRunning.
        """
        await self._local.open(local)
        await self._port.open(port)
        await self.network.start(self._port)

    async def close(self, grace_s: float) -> None:
        """Stop accepting; abort responses that do not finish within `grace_s` seconds."""
        await self.network.stop()
        await self._port.close()
        for each in (self._secure, self._plain, self._local):
            await each.close(grace_s)
