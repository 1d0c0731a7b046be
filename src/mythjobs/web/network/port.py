"""The master's TCP port: this machine only, or all machines, with TLS for the others."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final, cast

from mythjobs.errors import AlreadyRunning
from mythjobs.web.network.listener import Listener
from mythjobs.web.network.sockets import bind_all_addresses, bind_port
from mythjobs.web.security.network_access import NetworkConnection
from mythjobs.web.security.refusal_log import RefusalLog
from mythjobs.web.security.strangers import MAX_STRANGERS, Strangers

HANDSHAKE_TIMEOUT_S: Final = 10.0
# Pause after accept(2) has failed, as it does at once and again while no descriptor is free.
_ACCEPT_PAUSE_S: Final = 0.1
_TLS_HANDSHAKE: Final = 0x16  # type of a TLS record (RFC 8446 §5.1); HTTP begins with a letter
_PLAIN_ANSWER: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n"
    b"other machines must use TLS on this port\n"
)
# Returns the TLS settings of a new connection, and the fingerprint of their certificate.
ContextMaker = Callable[[], tuple[ssl.SSLContext, str]]
log = logging.getLogger(__name__)


class Port:
    """Switches the port between the two modes while connections go on.

    plain: serves HTTP without TLS for this machine. secure: serves TLS for all machines.
    """

    def __init__(self, plain: Listener, secure: Listener) -> None:
        self._plain = plain
        self._secure = secure
        self._strangers = Strangers()
        # Programs on this machine have places of their own, as any user can connect. With a plain
        # connection they have one only until its first byte.
        self._local_strangers = Strangers(MAX_STRANGERS)
        self._refusals = RefusalLog()
        self._accepting: asyncio.Task[None] | None = None
        self._starting: set[asyncio.Task[None]] = set()
        self.number = 0

    @property
    def is_on_network(self) -> bool:
        return self._accepting is not None

    async def open(self, sock: socket.socket) -> None:
        """Serve this machine on a socket that listens on the loopback address."""
        self.number = sock.getsockname()[1]
        await self._plain.open(sock)

    async def close(self) -> None:
        """Accept no more connections. Closing the listeners closes the open ones."""
        self._plain.stop_accepting()
        await self._stop_accepting()

    async def listen_on_network(self, make_context: ContextMaker) -> None:
        """Listen on all addresses. Raises AlreadyRunning if another program uses the port on one
        of them; the port then serves this machine as before."""
        if self.is_on_network:
            return
        # A socket on all addresses and one on the loopback address exclude each other.
        self._plain.stop_accepting()
        try:
            sock = bind_all_addresses(self.number)
        except AlreadyRunning:
            await self._plain.open(bind_port(self.number))
            raise
        self._accepting = asyncio.create_task(self._accept(sock, make_context))
        # A task that is cancelled before it has begun closes nothing.
        self._accepting.add_done_callback(lambda _: sock.close())
        log.info("port %d is open on the network", self.number)

    async def listen_on_loopback(self) -> None:
        """Listen on this machine only, and close the connections of other machines."""
        if self.is_on_network:
            await self._stop_accepting()
            await self._plain.open(bind_port(self.number))
            self._secure.abort_connections()
            log.info("port %d is closed on the network", self.number)

    async def _stop_accepting(self) -> None:
        tasks = [*self._starting, *filter(None, [self._accepting])]
        self._accepting = None
        for each in tasks:
            each.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _accept(self, sock: socket.socket, make_context: ContextMaker) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, address = await loop.sock_accept(sock)
            except OSError as error:
                if error.errno != errno.ECONNABORTED:
                    log.warning("cannot accept a connection: %s", error.strerror)
                    await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            # A socket of both families shows IPv4 addresses as ::ffff:a.b.c.d.
            host = address[0].removeprefix("::ffff:")
            task = asyncio.create_task(self._serve(connection, host, make_context))
            self._starting.add(task)
            task.add_done_callback(partial(self._has_served, connection))

    def _has_served(self, connection: socket.socket, task: asyncio.Task[None]) -> None:
        self._starting.discard(task)
        if task.cancelled():
            connection.close()

    async def _serve(
        self, connection: socket.socket, address: str, make_context: ContextMaker
    ) -> None:
        """Hand a connection to the listener for its address and its first byte."""
        is_local = _is_loopback(address)
        strangers = self._local_strangers if is_local else self._strangers
        if not strangers.admit(address):
            connection.close()
            self._refusals.add(address, "too many connections have not identified themselves")
            return
        protocol = cast(NetworkConnection, self._secure.make_protocol())
        protocol.on_identified = partial(strangers.release, address)
        protocol.on_refused = partial(self._refusals.add, address)
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                first = await _peek(connection)
            if first == _TLS_HANDSHAKE:
                context, protocol.fingerprint = make_context()
                await self._secure.serve(protocol, connection, context, HANDSHAKE_TIMEOUT_S)
                return
            if is_local:
                await self._plain.serve(self._plain.make_protocol(), connection)
                return
            if first >= 0:
                connection.send(_PLAIN_ANSWER)
                protocol.report("it does not use TLS")
            connection.close()
        except ssl.SSLError as error:
            connection.close()
            protocol.report(f"the TLS handshake failed ({error.reason})")
        except ConnectionAbortedError:  # the timeout of the handshake
            connection.close()
            protocol.report("the TLS handshake did not end")
        except TimeoutError:
            connection.close()
            protocol.report(f"it sent nothing for {HANDSHAKE_TIMEOUT_S:g} s")
        except OSError:
            connection.close()
        finally:
            if protocol.is_unused:
                protocol.identify()


async def _peek(connection: socket.socket) -> int:
    """Return the first byte of a connection without reading it, -1 at its end."""
    loop = asyncio.get_running_loop()
    readable: asyncio.Future[None] = loop.create_future()
    loop.add_reader(connection, _set_done, readable)
    try:
        await readable
    finally:
        loop.remove_reader(connection)
    data = connection.recv(1, socket.MSG_PEEK)
    return data[0] if data else -1


def _set_done(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


def _is_loopback(address: str) -> bool:
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback
