"""WebSocket of an agent: uvicorn's protocol without the queue and the tasks of ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.protocol import State

# A machine that is not known yet must not fill the memory. Its hello has some kilobytes.
_MAX_HANDSHAKE_BYTES: Final = 64 * 1024
# A machine that was refused has this long to read why.
_CLOSE_TIMEOUT_S: Final = 1.0
_WHOLE_TEXT: Final = 0x81  # first byte of a text frame that is no fragment (RFC 6455, 5.2)


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
        self.end()
        # The HTTP connection that became this WebSocket does not learn of its end.
        self.app_state["connection"].identify()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._on_writable is not None:
            self._on_writable()


def _read_event(event: Any) -> tuple[bytes, bool]:
    """Return the message in an ASGI event, and whether it is text."""
    text: str | None = event.get("text")
    return (event["bytes"], False) if text is None else (text.encode(), True)
