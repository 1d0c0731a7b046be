"""Sockets of the master: the TCP loopback port and the Unix socket."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from mythjobs.errors import AlreadyRunning, BadRequest

LOOPBACK: Final = "127.0.0.1"
BACKLOG: Final = 512


def bind_port(port: int) -> socket.socket:
    """Listen on a TCP port of the loopback address. Raises AlreadyRunning if the port is in use,
    BadRequest if it cannot be used at all."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Closed connections of a previous master (TIME_WAIT) must not block the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
        # Fails if the port is in use: with SO_REUSEADDR two processes can bind(2), but only one can
        # listen(2).
        sock.listen()
    except (OSError, OverflowError) as error:
        sock.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise AlreadyRunning(
                f"port {port} is in use by another program; choose another with --port, or 0"
            ) from None
        why = getattr(error, "strerror", None) or error
        raise BadRequest(
            f"cannot use port {port}: {why}; choose another with --port, from 1024 to 65535"
        ) from None
    return sock


def bind_all_addresses(port: int) -> socket.socket:
    """Listen on a TCP port of all addresses, IPv4 and IPv6. Raises AlreadyRunning if another
    program uses the port on one of them."""
    try:
        sock = socket.create_server(
            ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
        )
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AlreadyRunning(
                f"port {port} is in use by another program on one of this machine's addresses; "
                "end that program, or restart mythjobs with another --port"
            ) from None
        # The kernel has no IPv6.
        sock = socket.create_server(("0.0.0.0", port), backlog=BACKLOG)
    sock.setblocking(False)
    return sock


def bind_path(path: Path) -> socket.socket:
    """Listen on a Unix socket to which only its owner can connect.

    The caller holds the state directory's lock, so an existing socket is that of a dead master.
    """
    with suppress(FileNotFoundError):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Set the mode after bind() creates the socket: no client can connect before listen().
        sock.bind(os.fspath(path))
        os.chmod(path, 0o600)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock
