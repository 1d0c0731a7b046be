"""WebSocket of an agent: uvicorn's protocol without the queue and the tasks of ASGI."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.protocol import State

# A machine that is not known yet must not take the memory or the time of others. Its request and
# hello have some kilobytes.
_MAX_HANDSHAKE_BYTES: Final = 64 * 1024
# What is read is handled in slices, and after _MAX_RUN_S others have their turn: uvloop reads up to
# 8 MB in one iteration of the event loop. The library parses 1 MB/s of small frames.
_SLICE_BYTES: Final = 4 * 1024
# The next slice after one that took less than _CHEAP_S, in the middle of a chunk of output.
_LARGE_SLICE_BYTES: Final = 16 * 1024
_CHEAP_S: Final = 0.0001
_MAX_RUN_S: Final = 0.002
# A connection with more to handle than that gets this share of the event loop's time. Output, which
# is cheap to parse, needs less: it is not delayed.
_SHARE: Final = 1 / 4
# Timers of uvloop count milliseconds.
_MIN_PAUSE_S: Final = 0.001
# A machine that was refused has this long to read why.
_CLOSE_TIMEOUT_S: Final = 1.0
_WHOLE_TEXT: Final = 0x81  # first byte of a text frame that is no fragment (RFC 6455, 5.2)


class TimeShare:
    """How long a connection pauses after it has taken time of the event loop; pure."""

    def __init__(self) -> None:
        self._paid_s = 0.0  # when all time taken so far is no more than the connection's share

    def take(self, began_s: float, ended_s: float) -> float:
        """Record a run. Return the seconds until the next one; 0 or less is no pause."""
        self._paid_s = max(self._paid_s, began_s) + (ended_s - began_s) / _SHARE
        return self._paid_s - ended_s - _MAX_RUN_S / _SHARE


class LinkSocket(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket connection, which the route of the link takes over: `websocket` in the
    state of the ASGI scope. It implements Channel of master/link/connection.py.

    An ASGI application gets messages through a queue, and uvicorn stops reading until a task has
    taken a message from it. After pass_messages() they are handled in the iteration of the event
    loop that read them, and send_text() writes at once.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, {**app_state, "websocket": self}, _loop)
        self.conn.max_message_size = _MAX_HANDSHAKE_BYTES
        self.close_timeout = _CLOSE_TIMEOUT_S
        self._handshake_bytes = 0
        # What was read, but not yet handled; while that is so, reading is paused.
        self._unhandled = memoryview(b"")
        self._is_sliced = False
        self._share = TimeShare()
        self._on_message: Callable[[bytes, bool], None] | None = None
        self._on_writable: Callable[[], None] | None = None
        self._ended: asyncio.Future[None] = self.loop.create_future()

    async def receive_message(self) -> bytes | None:
        event = await self.receive()
        return _read_event(event)[0] if event["type"] == "websocket.receive" else None

    async def pass_messages(
        self, on_message: Callable[[bytes, bool], None], on_writable: Callable[[], None]
    ) -> None:
        self._on_message, self._on_writable = on_message, on_writable
        self.conn.max_message_size = self.config.ws_max_size
        self.app_state["connection"].leave_limit()  # there are as many links as agents
        while not self.queue.empty():
            event = self.queue.get_nowait()
            if event["type"] != "websocket.receive":
                return
            self._pass_message(*_read_event(event))
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        await self._ended

    def end(self, error: Exception | None = None) -> None:
        self._on_message = self._on_writable = None
        if self._ended.done():
            return
        if error is None:
            self._ended.set_result(None)
        else:
            self._ended.set_exception(error)

    @property
    def is_writable(self) -> bool:
        return self.writable.is_set()

    @property
    def is_closed_by_agent(self) -> bool:
        return self.conn.close_rcvd_then_sent is True

    def send_text(self, data: bytes) -> None:
        if self.disconnected or self.close_sent or self.conn.state is not State.OPEN:
            raise ConnectionResetError("the WebSocket is closed")
        size = len(data)
        # The library takes 16 µs longer to make the frame of a grant on an idle machine, where the
        # caches are cold.
        if size < 126:
            header = bytes((_WHOLE_TEXT, size))
        elif size < 2**16:
            header = bytes((_WHOLE_TEXT, 126)) + size.to_bytes(2, "big")
        else:
            header = bytes((_WHOLE_TEXT, 127)) + size.to_bytes(8, "big")
        try:
            self.transport.write(header + data)
        except RuntimeError as error:
            # uvloop raises RuntimeError on a connection that is closing.
            raise ConnectionResetError(str(error)) from None

    async def close(self) -> None:
        try:
            await self.send({"type": "websocket.close", "code": 1000, "reason": ""})
        except RuntimeError as error:
            # uvicorn raises RuntimeError on a closed connection, uvloop on one that is closing.
            raise ConnectionResetError(str(error)) from None

    # Methods that uvicorn calls.

    def data_received(self, data: bytes) -> None:
        if self._is_sliced:
            # TLS passes on what it has decrypted, although reading is paused.
            if self._on_message is not None:
                self._unhandled = memoryview(bytes(self._unhandled) + data)
        elif self._on_message is None:
            self._receive_handshake(data)
        elif len(data) <= _SLICE_BYTES:
            super().data_received(data)
        else:
            self._unhandled = memoryview(data)
            self._is_sliced = True
            self.transport.pause_reading()
            self._handle_slice()

    def _receive_handshake(self, data: bytes) -> None:
        left = _MAX_HANDSHAKE_BYTES - self._handshake_bytes
        self._handshake_bytes += len(data)
        super().data_received(data[:left])
        if not self.handshake_initiated:
            # The library has refused the request, for example because of too many header fields.
            # uvicorn does not notice that.
            self.transport.write(b"".join(self.conn.data_to_send()))
            self.transport.close()
        elif len(data) > left and not self.transport.is_closing():
            self.app_state["connection"].report("it sent too much before it was admitted")
            self.transport.abort()

    def _handle_slice(self) -> None:
        """Handle some of the data, and more once others have had their share of the time.

        What was read before the connection was lost is handled too: an agent that ends sends its
        last messages and a close frame, and does not wait.
        """
        if not self._handles_messages:
            # The rest is ignored until the transport is closed.
            self._unhandled = memoryview(b"")
            if self.disconnected:
                self.end()
            return
        if not self._unhandled:
            self._is_sliced = False
            if self.disconnected:
                self.end()
            elif not self.read_paused and not self.transport.is_closing():
                self.transport.resume_reading()
            return
        began_s = now_s = time.perf_counter()
        size = _SLICE_BYTES
        try:
            while self._unhandled and self._handles_messages and now_s - began_s < _MAX_RUN_S:
                data, self._unhandled = bytes(self._unhandled[:size]), self._unhandled[size:]
                super().data_received(data)
                before_s, now_s = now_s, time.perf_counter()
                size = _LARGE_SLICE_BYTES if now_s - before_s < _CHEAP_S else _SLICE_BYTES
        except Exception as error:
            # The event loop would only log it, and nothing more would be read.
            self.end(error)
        pause_s = self._share.take(began_s, now_s)
        if pause_s < _MIN_PAUSE_S:
            self.loop.call_soon(self._handle_slice)
        else:
            self.loop.call_later(pause_s, self._handle_slice)

    @property
    def _handles_messages(self) -> bool:
        return self._on_message is not None and self.conn.state is State.OPEN

    def handle_ping(self) -> None:
        if self.is_writable and not self.transport.is_closing():
            super().handle_ping()
        else:
            # Drop the answer: a machine that does not read must not fill the memory.
            self.conn.data_to_send()

    def send_receive_event_to_app(self) -> None:
        if self._on_message is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        self._pass_message(data, self.curr_msg_data_type == "text")

    def _pass_message(self, data: bytes, is_text: bool) -> None:
        if self._on_message is None or self.close_sent:
            return
        try:
            self._on_message(data, is_text)
        except Exception as error:
            self.end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if not (self._is_sliced and self._handles_messages):
            self.end()
        # The HTTP connection that became this WebSocket does not learn of its end.
        self.app_state["connection"].leave_limit()
        self.app_state["connection"].identify()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._on_writable is not None:
            self._on_writable()


def _read_event(event: Any) -> tuple[bytes, bool]:
    """Return the message in an ASGI event, and whether it is text."""
    text: str | None = event.get("text")
    return (event["bytes"], False) if text is None else (text.encode(), True)
