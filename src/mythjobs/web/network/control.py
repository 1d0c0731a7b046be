"""The master on the network: opens and closes the port there, and lets machines join."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Final

import ifaddr

from mythjobs.clock import master_now
from mythjobs.config import certificates, network
from mythjobs.config.network import NetworkSetting
from mythjobs.config.os_errors import explain_os_error
from mythjobs.config.state import StateDir
from mythjobs.errors import Conflict
from mythjobs.master.join_requests import JoinRequests
from mythjobs.protocol import joining_responses as responses
from mythjobs.protocol.joining import Endpoint
from mythjobs.web.network.discovery import Announcement
from mythjobs.web.network.port import Port

# The certificate is checked this often for being due to be renewed.
_RENEWAL_CHECK_MS: Final = 24 * 3_600_000
log = logging.getLogger(__name__)


class Network:
    """Controls the port. The setting is kept in the state directory, for the next start."""

    def __init__(self, state: StateDir) -> None:
        self._state = state
        self._port: Port | None = None
        self._identity: certificates.ServerIdentity | None = None
        self._checked_ms = 0
        self._requests: JoinRequests | None = None
        # One switch at a time: otherwise the stored setting may differ from the port.
        self._switching = asyncio.Lock()
        self._announcement = Announcement()

    async def start(self, port: Port) -> None:
        """Control a port; open it on the network if it was open when the master ended.

        Raises ConfigError, AlreadyRunning.
        """
        self._port = port
        if network.read_network_setting(self._state).is_open:
            await self._listen()

    async def open(self) -> None:
        """Listen on all addresses, now and after each start.

        Raises AlreadyRunning, ConfigError, StateNotWritable.
        """
        async with self._switching:
            if not self._get_port().is_on_network:
                # If the port is open, this would drop the join requests that wait.
                await self._listen()
            self._write(NetworkSetting(is_open=True))

    async def close(self) -> None:
        """Listen on this machine only, now and after each start. Raises StateNotWritable."""
        async with self._switching:
            self._write(NetworkSetting(is_open=False))
            await self.stop()
            await self._get_port().listen_on_loopback()
            self._requests = None

    async def stop(self) -> None:
        """Take the announcement back, as the master ends or closes the network."""
        await self._announcement.stop()

    @property
    def authority(self) -> bytes:
        """Certificate of the authority (PEM). Raises Conflict if the port is not on the network."""
        self._check_open()
        return self._load_identity().authority

    @property
    def join_requests(self) -> JoinRequests:
        """Raises Conflict if the port is not on the network."""
        self._check_open()
        assert self._requests is not None
        return self._requests

    def reject_key(self, machine_key: str) -> None:
        """Reject the join request of a key that was revoked, if one waits."""
        if self._requests is not None:
            self._requests.reject_key(machine_key)

    def read_status(self) -> responses.NetworkStatus:
        port = self._get_port()
        endpoints = self.endpoints() if port.is_on_network else []
        return {
            "open": port.is_on_network,
            "port": port.number,
            "addresses": [str(each) for each in endpoints],
        }

    def endpoints(self) -> list[Endpoint]:
        """Return where other machines can reach the port, IPv4 first."""
        return [Endpoint(each, self._get_port().number) for each in list_addresses()]

    async def _listen(self) -> None:
        try:
            identity = self._load_identity()
        except OSError as error:
            raise explain_os_error(error, self._state.root) from None
        self._requests = JoinRequests(certificates.decode_certificate(identity.authority))
        await self._get_port().listen_on_network(self._make_context)
        await self._announcement.start(self.endpoints())

    def _make_context(self) -> tuple[ssl.SSLContext, str]:
        try:
            identity = self._load_identity()
        except Exception:
            # The certificate in use is good for two months when its renewal is first tried.
            log.exception("cannot renew the certificate of the network port")
            assert self._identity is not None
            identity = self._identity
        return identity.context, identity.fingerprint

    def _load_identity(self) -> certificates.ServerIdentity:
        now_ms = master_now().wall_ms
        if self._identity is None or not 0 <= now_ms - self._checked_ms < _RENEWAL_CHECK_MS:
            self._checked_ms = now_ms
            self._identity = certificates.load_server_identity(self._state, now_ms)
        return self._identity

    def _get_port(self) -> Port:
        if self._port is None:
            raise Conflict("the master is starting; try again in a moment")
        return self._port

    def _check_open(self) -> None:
        if not self._get_port().is_on_network:
            raise Conflict(
                "the master listens on its own machine only; run `mythjobs lan on` there first"
            )

    def _write(self, setting: NetworkSetting) -> None:
        try:
            network.write_network_setting(self._state, setting)
        except OSError as error:
            raise explain_os_error(error, self._state.root) from None


def list_addresses() -> list[str]:
    """Return this machine's addresses that others can reach: IPv4, then IPv6, not link-local."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for adapter in ifaddr.get_adapters():
        for each in adapter.ips:
            address = each.ip if isinstance(each.ip, str) else each.ip[0]
            if not _is_reachable(address):
                continue
            found[each.is_IPv4].append(address)
    return found[True] + found[False]


def _is_reachable(address: str) -> bool:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    packed = socket.inet_pton(family, address)
    if family == socket.AF_INET:
        return packed[0] != 127 and packed[:2] != b"\xa9\xfe"
    return packed != bytes(15) + b"\1" and not (packed[0] == 0xFE and packed[1] & 0xC0 == 0x80)
