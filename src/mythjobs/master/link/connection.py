"""Connection to one agent: merges outgoing messages into frames and writes them."""

from __future__ import annotations

import asyncio
import logging
from typing import Final, Protocol

from mythjobs.protocol import codec
from mythjobs.protocol import messages as m

_CLOSE_TIMEOUT_S: Final = 1.0
log = logging.getLogger(__name__)


class Channel(Protocol):
    """A WebSocket. Once it is closed, sending raises OSError and receive() returns None."""

    async def receive(self) -> bytes | str | None: ...
    async def send_text(self, data: bytes) -> None: ...
    async def close(self) -> None: ...


class AgentConnection:
    """One agent's connection and its queue of outgoing messages.

    Messages are merged into one frame until the writer task sends it: a turn costs one send for
    any number of messages (unless they are very large), and a slow agent gets fewer, larger frames.
    """

    def __init__(self, connection_id: int, channel: Channel) -> None:
        self.connection_id = connection_id
        self.channel = channel
        self.name = ""
        self.machine_id = 0
        self.is_closing = False
        self._ack = 0
        self._messages: list[m.MasterMessage] = []
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None

    def __str__(self) -> str:
        return f"agent {self.name or 'of unknown name'} (connection {self.connection_id})"

    async def send_handshake(self, message: codec.HandshakeMessage) -> None:
        await self.channel.send_text(codec.encode(message))

    def start_writer(self, machine_id: int) -> None:
        """Start the task that sends queued messages. Call it after the welcome has been sent."""
        self.machine_id = machine_id
        self._writer = asyncio.create_task(self._write())

    def send_frame(self, frame: m.MasterFrame) -> None:
        self._ack = max(self._ack, frame.ack)
        self._messages += frame.messages
        self._wake.set()

    def send(self, message: m.MasterMessage) -> None:
        self._messages.append(message)
        self._wake.set()

    def request_close(self) -> None:
        self.is_closing = True
        self._wake.set()

    async def aclose(self) -> None:
        """Stop the writer and close the connection."""
        self.request_close()
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.wait([self._writer])
        await self._close_channel()

    async def _write(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                if self.is_closing:
                    break
                frame = m.MasterFrame(self._ack, self._messages)
                self._ack, self._messages = 0, []
                for data in codec.encode_master_frames(frame):
                    await self.channel.send_text(data)
        except OSError:
            return  # the task that reads the connection sees the loss too, and cleans up
        except Exception:
            log.exception("cannot write to %s", self)
        # The task that reads the channel gets end of file from this close, and cleans up.
        await self._close_channel()

    async def _close_channel(self) -> None:
        # Closing a WebSocket waits for the agent's answer, which a stopped process never sends.
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.channel.close()
        except (OSError, TimeoutError):
            pass
