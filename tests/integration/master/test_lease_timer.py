"""Lease timer: fires only after pending input was read."""

from __future__ import annotations

import asyncio
import socket

import pytest

from mythjobs.clock import master_now
from mythjobs.master.link.lease_timer import LeaseTimer

pytestmark = pytest.mark.slow


def test_the_timer_fires_only_after_pending_input_was_read() -> None:
    async def story() -> None:
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        fired: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        received: list[bytes] = []

        async def listen() -> None:
            while data := await reader.read(100):
                received.append(data)

        listening = asyncio.create_task(listen())
        timer = LeaseTimer(lambda read_ms: fired.set_result((read_ms, b"".join(received))))
        due_ms = master_now().steady_ms
        timer.set_due(due_ms)
        # Sent before the loop reads anything.
        there.sendall(b"input")
        read_ms, data_read = await asyncio.wait_for(fired, 60)
        assert read_ms >= due_ms
        assert data_read == b"input"
        # A timer that is far in the future can be closed.
        timer.set_due(master_now().steady_ms + 10**9)
        timer.close()
        there.close()
        await listening
        writer.close()

    asyncio.run(story())
