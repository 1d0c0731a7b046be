"""Connecting to a program at the master's address that is no master."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus

from mythjobs.agent.master_address import MasterAddress


@pytest.mark.parametrize(
    "location",
    [
        b"/link",
        b"wss://localhost/link",
        b"ws://other.example/link",
        b"http://[",
        b"ws://localhost:99999999/",
        b"/a\r\nLocation: /b",
    ],
)
def test_an_agent_follows_no_redirect(tmp_path: Path, location: bytes) -> None:
    """Seen: most of these redirects ended the agent by a ValueError of the library."""
    requests: list[bytes] = []

    async def redirect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        head = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %b\r\n\r\n"
        writer.write(head % location)
        writer.close()

    async def story() -> None:
        path = str(tmp_path / "sock")
        async with asyncio.timeout(60), await asyncio.start_unix_server(redirect, path):
            with pytest.raises(InvalidStatus, match="302"):
                async with MasterAddress(None, path).connect(0):
                    pass

    asyncio.run(story())
    assert len(requests) == 1
