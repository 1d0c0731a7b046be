"""WebSocket endpoint to which agents connect (the link between master and agent)."""

from __future__ import annotations

from mythjobs.master.link.server import LinkServer, Peer
from mythjobs.web.server.errors import Event, Receive, Scope, Send


class WebSocketChannel:
    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send

    async def receive(self) -> bytes | str | None:
        event = await self._receive()
        if event["type"] != "websocket.receive":
            return None
        text: str | None = event.get("text")
        if text is not None:
            return text
        data: bytes = event["bytes"]
        return data

    async def send_text(self, data: bytes) -> None:
        await self._send_event({"type": "websocket.send", "text": data.decode()})

    async def close(self) -> None:
        await self._send_event({"type": "websocket.close", "code": 1000})

    async def _send_event(self, event: Event) -> None:
        try:
            await self._send(event)
        except RuntimeError as error:
            # uvicorn raises RuntimeError on a closed connection, uvloop on one that is closing.
            raise ConnectionResetError(str(error)) from None


async def serve_agent_link(links: LinkServer, scope: Scope, receive: Receive, send: Send) -> None:
    await receive()  # event websocket.connect
    await send({"type": "websocket.accept"})
    # Only connections through the Unix socket have a peer uid, which was checked; only those with
    # TLS have a fingerprint.
    state = scope["state"]
    identify = getattr(state["connection"], "identify", lambda: None)
    peer = Peer("peer_uid" in state, state.get("fingerprint", ""), identify)
    await links.serve(WebSocketChannel(receive, send), peer)
