"""The two sockets of a master: the loopback port, and the one in the state directory."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from mythjobs.errors import BadRequest, Taken

LOOPBACK: Final = "127.0.0.1"


def bind_port(port: int) -> socket.socket:
    """Raises Taken, or BadRequest if this port cannot be had at all."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        # Connections of a master that ended a moment ago must not hold the port.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((LOOPBACK, port))
        # Two may bind with SO_REUSEADDR, but only one listens.
        sock.listen()
    except (OSError, OverflowError) as error:
        sock.close()
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            raise Taken(
                f"port {port} is taken by another program; choose another with --port, or 0"
            ) from None
        raise BadRequest(
            f"port {port} cannot be used ({error}); choose another with --port, from 1024 to 65535"
        ) from None
    return sock


def bind_path(path: Path) -> socket.socket:
    """A socket that its owner alone can open. The caller holds the state directory's lock, so
    what stands there belongs to a master that is dead."""
    with suppress(FileNotFoundError):
        path.unlink()
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Between bind and listen nobody can connect, so chmod is early enough.
        sock.bind(os.fspath(path))
        os.chmod(path, 0o600)
        sock.listen()
    except OSError:
        sock.close()
        raise
    return sock
