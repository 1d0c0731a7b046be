"""Connection of the agent to one reaper, and the encoding of its messages."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from mythjobs.agent.core.turn import Json
from mythjobs.errors import ProtocolError
from mythjobs.process.reaper.launch import find_socket_path
from mythjobs.process.reaper.messages import LineReader, decode_line, encode_line

# msgspec needs a tenth (encoding) and a fifth (decoding) of the CPU time of the standard library's
# json, which took a third of the agent's CPU time per short job. json handles what msgspec refuses.
_encode: Final = msgspec.json.Encoder().encode
_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder().decode
_UCRED: Final = struct.Struct("3i")

log = logging.getLogger(__name__)


class ReaperConnection(asyncio.Protocol):
    """Connection to one reaper. `on_messages` is called with all messages of one read together."""

    def __init__(self, on_messages: Callable[[Sequence[Any]], None]) -> None:
        self._on_messages = on_messages
        self._reader = LineReader(decode=decode_messages)
        self._transport: asyncio.Transport | None = None
        # has_received: data has arrived since the last ping, which clears it. has_failed: the
        # reaper sent an invalid message.
        self.has_received = self.has_failed = False
        self.closed = asyncio.Event()
        self.peer_pid = 0
        self._peer_fd = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Cast instead of isinstance: uvloop's transports do not inherit from asyncio.Transport.
        self._transport = cast(asyncio.Transport, transport)
        peer = transport.get_extra_info("socket")
        if peer is not None:
            raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
            self.peer_pid, _, _ = _UCRED.unpack(raw)
            with suppress(OSError):
                self._peer_fd = os.pidfd_open(self.peer_pid)

    def data_received(self, data: bytes) -> None:
        self.has_received = True
        try:
            if messages := self._reader.feed(data):
                self._on_messages(messages)
        except (ProtocolError, LookupError, TypeError) as error:
            log.exception("closing the connection after an invalid message of a reaper: %r", error)
            self.has_failed = True
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._peer_fd >= 0:
            os.close(self._peer_fd)
            self._peer_fd = -1
        self.closed.set()

    async def wait_closed(self, timeout_s: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.closed.wait()
        return self.closed.is_set()

    def signal_peer(self, number: signal.Signals) -> None:
        with suppress(OSError):
            signal.pidfd_send_signal(self._peer_fd, number)

    def send(self, messages: Sequence[Json]) -> None:
        """Send messages. They are lost if the connection breaks; the `hello` on the next connection
        shows which attempts the reaper has."""
        if self._transport is not None:
            self._transport.write(encode_messages(messages))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


def encode_messages(messages: Sequence[Json]) -> bytes:
    """Return messages for a reaper as one line of ASCII JSON (docs/reaper.md)."""
    try:
        line = _encode(messages)
    except UnicodeEncodeError:
        return encode_line(messages)
    return line + b"\n" if line.isascii() else encode_line(messages)


def decode_messages(line: bytes) -> list[Any]:
    """Return the messages in a line from a reaper; bytes that are not UTF-8 become surrogates
    (PEP 383). Raises ProtocolError."""
    try:
        messages = _decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return decode_line(line)
    return messages if isinstance(messages, list) else decode_line(line)


async def connect_reaper(
    directory: Path, on_messages: Callable[[Sequence[Any]], None]
) -> ReaperConnection:
    """Connect to the reaper with this directory. Raises OSError if it does not listen."""
    loop = asyncio.get_running_loop()
    path = str(find_socket_path(directory))
    _, connection = await loop.create_unix_connection(lambda: ReaperConnection(on_messages), path)
    return connection
