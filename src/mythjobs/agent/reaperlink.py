"""The connection to one reaper: lines of messages, as they come."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

from mythjobs.agent.actions import Json
from mythjobs.errors import ProtocolError
from mythjobs.process import address
from mythjobs.process.wire import LineReader, encode_line

log = logging.getLogger(__name__)


class ReaperLink(asyncio.Protocol):
    """`hear` gets the messages of everything that was read at once; `lost` is set at the end."""

    def __init__(self, hear: Callable[[Sequence[Any]], None]) -> None:
        self._hear = hear
        self._reader = LineReader()
        self._transport: asyncio.Transport | None = None
        self.lost = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are not asyncio's by class, only by what they do.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        try:
            messages = self._reader.feed(data)
            if messages:
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
            self._transport.write(encode_line(messages))

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def connect(directory: Path, hear: Callable[[Sequence[Any]], None]) -> ReaperLink:
    """Raises OSError while nobody listens there."""
    loop = asyncio.get_running_loop()
    path = str(address.socket_path(directory))
    _, link = await loop.create_unix_connection(lambda: ReaperLink(hear), path)
    return link
