"""The agent's encoder and decoder of reaper messages agree with the reaper's."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.agent.reaper_connection import ReaperConnection, decode_messages, encode_messages
from mythjobs.errors import ProtocolError
from mythjobs.process.reaper.messages import decode_line, encode_line

# Includes surrogates for undecodable bytes.
TEXT = st.text(st.characters(exclude_categories=[])).map(
    lambda text: text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
)
MESSAGES = st.lists(st.dictionaries(TEXT, TEXT | st.lists(TEXT) | st.integers(0, 2**53)))


@given(MESSAGES)
def test_the_reaper_decodes_messages_of_the_agent(messages: list[dict[str, Any]]) -> None:
    messages = [{**each, "type": "start"} for each in messages]
    line = encode_messages(messages)
    assert line.isascii()
    assert line.count(b"\n") == 1
    assert decode_line(line[:-1]) == messages


@given(MESSAGES)
def test_the_agent_decodes_messages_of_the_reaper(messages: list[dict[str, Any]]) -> None:
    messages = [{**each, "type": "ended"} for each in messages]
    assert decode_messages(encode_line(messages)[:-1]) == messages


@pytest.mark.parametrize("line", [b"", b"{", b"{}", b"nul", b"[1", b"\xff", b'[{"type": "\xff"}]'])
def test_an_invalid_line_raises_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_messages(line)


def test_messages_are_delivered_when_their_line_is_complete() -> None:
    async def story() -> None:
        received: list[Any] = []
        link = ReaperConnection(received.append)
        data = b"".join(json.dumps([{"type": "x", "no": no}]).encode() + b"\n" for no in range(3))
        for cut in range(len(data)):
            received.clear()
            link.data_received(data[:cut])
            link.data_received(data[cut:])
            assert [each["no"] for part in received for each in part] == [0, 1, 2]

    asyncio.run(story())
