"""One agent's connection as the master writes to it: all of a turn in one frame."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from mythjobs.protocol import codec
from mythjobs.protocol import messages as m

_CLOSE_S: Final = 1.0
log = logging.getLogger(__name__)


class Channel(Protocol):
    """A WebSocket. Writing to one that is closed raises OSError, reading gives None."""

    async def receive(self) -> bytes | str | None: ...
    async def send_text(self, data: bytes) -> None: ...
    async def close(self) -> None: ...


class Link:
    """Who is at the other end, and what waits to be sent there.

    Frames are merged until the writer comes to them, so a turn costs one send however many
    messages it has (if they are not very large), and a slow reader gets fewer and larger frames.
    """

    def __init__(self, connection: int, channel: Channel) -> None:
        self.connection = connection
        self.channel = channel
        self.name = ""
        self.machine_id = 0
        self.closed = False
        self._ack = 0
        self._messages: list[m.MasterMessage] = []
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return f"the agent of {self.name} (link {self.connection})"

    async def say(self, message: codec.Handshake) -> None:
        await self.channel.send_text(codec.encode(message))

    def start(self, machine_id: int) -> None:
        """The handshake is over: what was delivered meanwhile goes out, after the welcome."""
        self.machine_id = machine_id
        self._writer = asyncio.create_task(self._write())

    def deliver(self, frame: m.MasterFrame) -> None:
        self._ack = max(self._ack, frame.ack)
        self._messages += frame.messages
        self._wake.set()

    def send(self, message: m.MasterMessage) -> None:
        self._messages.append(message)
        self._wake.set()

    def close(self) -> None:
        self.closed = True
        self._wake.set()

    async def ended(self) -> None:
        """Close the connection, and stop writing to it."""
        self.close()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        await self._close_channel()

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self.closed:
                    break
                frame = m.MasterFrame(self._ack, self._messages)
                self._ack, self._messages = 0, []
                for data in codec.master_frames(frame):
                    await self.channel.send_text(data)
        except OSError:
            return  # the reader sees it too
        except Exception:
            log.exception("writing to %s", self)
        # Whoever reads from it gets its end, and clears up.
        await self._close_channel()

    async def _close_channel(self) -> None:
        # Closing waits until the other side reads, and a stopped one never does.
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self.channel.close()
        except (OSError, TimeoutError):
            pass
