"""Connection to one agent: sends messages in frames, and merges those for an agent that is slow."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol

from mythjobs.errors import ProtocolError
from mythjobs.protocol import codec
from mythjobs.protocol import messages as m

_CLOSE_TIMEOUT_S: Final = 1.0
# An agent for which more messages wait is disconnected. It gets all state when it connects again.
_MAX_WAITING: Final = 100_000
# An agent sends no more frames while two are not acknowledged (docs/protocol.md). One that does not
# keep to that would fill the queue of the turns.
_MAX_UNACKNOWLEDGED: Final = 16
log = logging.getLogger(__name__)


class Channel(Protocol):
    """A WebSocket.

    receive_message: for the handshake; returns None once the socket is closed.
    pass_messages: for what follows. Calls `on_message(data, is_text)` for each message, and
    `on_writable()` when the agent reads again. Returns when the connection has ended or after
    end(), and raises the error of end() or `on_message`.
    send_text: never waits; raises OSError if the socket is closed.
    is_closed_by_agent: the agent has ended the connection itself, in good order.
    """

    async def receive_message(self) -> bytes | None: ...
    async def pass_messages(
        self, on_message: Callable[[bytes, bool], None], on_writable: Callable[[], None]
    ) -> None: ...
    def end(self, error: Exception | None = None) -> None: ...
    def send_text(self, data: bytes) -> None: ...
    async def close(self) -> None: ...

    @property
    def is_writable(self) -> bool: ...
    @property
    def is_closed_by_agent(self) -> bool: ...


class AgentConnection:
    """One agent's connection.

    A turn's messages are sent at once, in one frame (unless they are very large): no task runs
    between the commit and the write. Messages for an agent that does not read fast enough are
    merged, so that a slow agent gets fewer, larger frames.
    """

    def __init__(self, connection_id: int, channel: Channel) -> None:
        self.connection_id = connection_id
        self.channel = channel
        self.name = ""
        self.machine_id = 0
        self.is_closing = False
        self._ack = 0
        # Number of the last frame that was received, and of the last one that was acknowledged.
        self._last_no = self._acknowledged_no = 0
        self._messages: list[m.MasterMessage] = []
        self._is_started = self._is_flush_scheduled = False

    def __str__(self) -> str:
        return f"agent {self.name or 'of unknown name'} (connection {self.connection_id})"

    @property
    def fields(self) -> dict[str, object]:
        """Fields of log events about this connection."""
        return {"machine": self.name or None, "connection": self.connection_id}

    async def send_handshake(self, message: codec.HandshakeMessage) -> None:
        self.channel.send_text(codec.encode(message))

    def start_sending(self, machine_id: int) -> None:
        """Send messages from now on. Call it after the welcome has been sent."""
        self.machine_id = machine_id
        self._is_started = True
        self._flush()

    async def pass_messages(
        self, on_message: Callable[[bytes, bool], None], timeout_s: float
    ) -> None:
        """Call `on_message(data, is_text)` for each message until the connection ends. Raises what
        `on_message` raises, and TimeoutError after `timeout_s` without a message."""
        if self.is_closing:
            return
        loop = asyncio.get_running_loop()
        self._received_s = loop.time()
        self._check_silence(timeout_s)

        def receive(data: bytes, is_text: bool) -> None:
            self._received_s = loop.time()
            on_message(data, is_text)

        try:
            await self.channel.pass_messages(receive, self._flush)
        finally:
            self._silence_timer.cancel()

    def _check_silence(self, timeout_s: float) -> None:
        # One timer that checks the time of the last message. Setting a timer for each message would
        # cost more than receiving it.
        loop = asyncio.get_running_loop()
        left_s = self._received_s + timeout_s - loop.time()
        if left_s <= 0:
            self.channel.end(TimeoutError())
        else:
            self._silence_timer = loop.call_later(left_s, self._check_silence, timeout_s)

    def count_frame(self, no: int) -> None:
        """Record that the frame with this number was received. Raises ProtocolError."""
        if no != self._last_no + 1:
            raise ProtocolError(f"frame {no} follows frame {self._last_no}")
        self._last_no = no
        if no - self._acknowledged_no > _MAX_UNACKNOWLEDGED:
            raise ProtocolError(
                f"{_MAX_UNACKNOWLEDGED} frames are not acknowledged yet, and it sent more"
            )

    def send_frame(self, frame: m.MasterFrame) -> None:
        """Send a turn's messages, with those that wait."""
        self._acknowledged_no = max(self._acknowledged_no, frame.ack)
        self._ack = max(self._ack, frame.ack)
        self._messages += frame.messages
        self._flush()

    def send(self, message: m.MasterMessage) -> None:
        """Send a message in this iteration of the event loop, with those that follow in it."""
        self._messages.append(message)
        if not self._is_flush_scheduled:
            self._is_flush_scheduled = True
            asyncio.get_running_loop().call_soon(self._flush)

    def request_close(self) -> None:
        self.is_closing = True
        self.channel.end()

    async def aclose(self) -> None:
        """Close the connection; drop messages that wait."""
        self.request_close()
        # Closing a WebSocket waits for the agent's answer, which a stopped process never sends.
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await self.channel.close()
        except (OSError, TimeoutError):
            pass

    def _flush(self) -> None:
        self._is_flush_scheduled = False
        if not self._is_started or self.is_closing:
            return
        if not self.channel.is_writable:
            if len(self._messages) > _MAX_WAITING:
                log.warning("%s does not read; connection closed", self, extra=self.fields)
                self._messages = []
                self.request_close()
            return
        if not (self._ack or self._messages):
            return
        frame = m.MasterFrame(self._ack, self._messages)
        self._ack, self._messages = 0, []
        try:
            for data in codec.encode_master_frames(frame):
                self.channel.send_text(data)
        except OSError:
            pass  # pass_messages() returns
        except Exception:
            log.exception("cannot write to %s", self, extra=self.fields)
            self.request_close()
