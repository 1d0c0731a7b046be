"""WebSocket to the master: the websockets library's connection, without its queue and its tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidState
from websockets.frames import DATA_OPCODES, CloseCode, Frame
from websockets.protocol import Event, State

_END_OF_HEAD: Final = b"\r\n\r\n"
_WHOLE_TEXT: Final = 0x81  # first byte of a text frame that is no fragment (RFC 6455, 5.2)


class MasterSocket(ClientConnection):
    """Client connection for `create_connection` of websockets' connect().

    The library passes a message to the task that waits in recv(), and sends from a task. After
    pass_messages() messages are handled in the iteration of the event loop that read them, and
    send_message() writes at once, which saves the wake-up of a task for each.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._fragments: list[bytes] = []
        # Received bytes of which the library has made no frame yet. _head has all bytes up to and
        # with the end of the HTTP response.
        self._unparsed_bytes = 0
        self._head = b""
        # Messages received before pass_messages(); None at the end of the connection.
        self._received: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._on_message: Callable[[bytes], None] = self._received.put_nowait
        self._on_writable: Callable[[], None] | None = None
        self._ended: asyncio.Future[None] = self.loop.create_future()

    async def receive_message(self) -> bytes:
        """Return the next message, for the handshake. Raises ConnectionClosed."""
        message = await self._received.get()
        if message is None:
            raise self.close_exc
        return message

    async def pass_messages(
        self, on_message: Callable[[bytes], None], on_writable: Callable[[], None]
    ) -> None:
        """Call `on_message(data)` for each message, and `on_writable()` when the master reads
        again. Return when the connection has ended or after end(). Raises the error of end() or
        `on_message`."""
        self._on_message, self._on_writable = on_message, on_writable
        while not self._received.empty():
            if (message := self._received.get_nowait()) is None:
                return
            self._pass_message(message)
        await self._ended

    def end(self, error: Exception | None = None) -> None:
        """Let pass_messages() return, or raise `error`."""
        self._on_writable = None
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    @property
    def is_writable(self) -> bool:
        """False while the master does not read fast enough."""
        return not self.paused

    def send_message(self, data: bytes, *, is_text: bool) -> None:
        """Send a message without waiting. Raises OSError if the connection has ended."""
        try:
            if is_text:
                self.protocol.send_text(data)
            else:
                self.protocol.send_binary(data)
            self.send_data()
        except (InvalidState, RuntimeError) as error:
            # uvloop raises RuntimeError on a connection that is closing.
            raise ConnectionResetError(str(error)) from None

    def send_close(self) -> None:
        """Tell the master that the agent closes the connection. Does not wait, raises nothing."""
        with suppress(InvalidState, OSError, RuntimeError):
            self.protocol.send_close(CloseCode.GOING_AWAY)
            self.send_data()

    # Methods that the library calls.

    def data_received(self, data: bytes) -> None:
        # Nearly always a frame arrives alone and whole. Past the library's parser it takes 1 µs and
        # not 4; on an idle machine, whose caches are cold, 25 and not 84.
        if self.state is State.OPEN and not self._unparsed_bytes and not self._fragments:
            payload = _read_whole_text(data)
            if payload is not None:
                self._pass_message(payload)
                return
        self._unparsed_bytes += len(data)
        if self.response is None:
            self._head += data
        super().data_received(data)

    def process_event(self, event: Event) -> None:
        if isinstance(event, Frame):
            self._unparsed_bytes -= _header_size(len(event.data)) + len(event.data)
        else:
            self._unparsed_bytes = len(self._head.partition(_END_OF_HEAD)[2])
        if not isinstance(event, Frame) or event.opcode not in DATA_OPCODES:
            super().process_event(event)
            return
        self._fragments.append(bytes(event.data))
        if event.fin:
            message = b"".join(self._fragments)
            self._fragments.clear()
            self._pass_message(message)

    def _pass_message(self, message: bytes) -> None:
        if self._ended.done():
            return
        try:
            self._on_message(message)
        except Exception as error:
            self.end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._received.put_nowait(None)
        self.end()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._on_writable is not None:
            self._on_writable()


def _read_whole_text(data: bytes) -> bytes | None:
    """Return the payload if the data is exactly one text frame, not masked and no fragment."""
    if len(data) < 2 or data[0] != _WHOLE_TEXT:
        return None
    start, size = 2, data[1]
    if size > 125:
        start = {126: 4, 127: 10}.get(size, len(data) + 1)
        size = int.from_bytes(data[2:start], "big")
    return data[start:] if len(data) == start + size else None


def _header_size(payload_size: int) -> int:
    return 2 if payload_size < 126 else 4 if payload_size < 2**16 else 10
