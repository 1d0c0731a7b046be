"""The connection to one reaper: lines of messages, as they come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from mythjobs.agent.core.turn import Json
from mythjobs.errors import ProtocolError
from mythjobs.process.reaper import address, wire

# A tenth and a fifth of what the standard library takes, which was a third of all the CPU
# that the agent spent on a short job. It stands in where msgspec does not know what to do.
_encode: Final = msgspec.json.Encoder().encode
_decode: Final[Callable[[bytes], Any]] = msgspec.json.Decoder().decode

log = logging.getLogger(__name__)


class ReaperLink(asyncio.Protocol):
    """`hear` gets the messages of everything that was read at once; `lost` is set at the end."""

    def __init__(self, hear: Callable[[Sequence[Any]], None]) -> None:
        self._hear = hear
        self._rest = bytearray()
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class, only by what they do.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            if messages := self._messages(data):
                self._hear(messages)
        except (ProtocolError, LookupError, TypeError) as error:
            log.exception("a reaper said what it should not: %r", error)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self.lost.set()

    def send(self, messages: Sequence[Json]) -> None:
        """Lost if the connection is: on the next one all that matters is said again."""
        if self._transport is not None:
            self._transport.write(encode(messages))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _messages(self, data: bytes) -> list[Any]:
        """Those of every line that is complete now."""
        *whole, rest = data.split(b"\n")
        if whole:
            whole[0] = bytes(self._rest) + whole[0]
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > wire.LONGEST_LINE:
            raise ProtocolError(f"a line is longer than {wire.LONGEST_LINE} bytes")
        return [message for line in whole for message in decode(line)]


def encode(messages: Sequence[Json]) -> bytes:
    """A line, in ASCII as docs/reaper.md has it: text that is not takes the long way."""
    try:
        line = _encode(messages)
    except UnicodeEncodeError:
        return wire.encode_line(messages)
    return line + b"\n" if line.isascii() else wire.encode_line(messages)


def decode(line: bytes) -> list[Any]:
    """The messages of a line, bytes that were no text included (surrogateescape)."""
    try:
        messages = _decode(line)
    except msgspec.DecodeError:
        return wire.decode_line(line)
    return messages if isinstance(messages, list) else wire.decode_line(line)


async def connect(directory: Path, hear: Callable[[Sequence[Any]], None]) -> ReaperLink:
    """Raises OSError while nobody listens there."""
    loop = asyncio.get_running_loop()
    path = str(address.socket_path(directory))
    _, link = await loop.create_unix_connection(lambda: ReaperLink(hear), path)
    return link
