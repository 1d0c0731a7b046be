"""When the master looks for what is to be given up: only after it has read what there was."""

from __future__ import annotations

import asyncio
import socket

import pytest

from mythjobs.clock import master_now
from mythjobs.master.link.lease_timer import LeaseTimer

pytestmark = pytest.mark.slow


def test_what_had_come_is_read_before_it_is_said_to_be_read() -> None:
    async def story() -> None:
        here, there = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=here)
        told: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        heard: list[bytes] = []

        async def listen() -> None:
            while data := await reader.read(100):
                heard.append(data)

        listening = asyncio.create_task(listen())
        patience = LeaseTimer(lambda read_ms: told.set_result((read_ms, b"".join(heard))))
        due_ms = master_now().steady_ms
        patience.set_due(due_ms)
        # What was said before the loop came to look at anything.
        there.sendall(b"held: 1")
        read_ms, said = await asyncio.wait_for(told, 20)
        assert read_ms >= due_ms
        assert said == b"held: 1"
        # Looking ahead costs no time of its own, and can be called off.
        patience.set_due(master_now().steady_ms + 10**9)
        patience.close()
        there.close()
        await listening
        writer.close()

    asyncio.run(story())
