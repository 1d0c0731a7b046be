"""Lines of messages: encoding, splitting, and invalid lines."""

from __future__ import annotations

import pytest

from mythjobs.errors import ProtocolError
from mythjobs.process.reaper.messages import LineReader, Message, encode_line

MESSAGES: list[Message] = [
    {"type": "start", "argv": ["é\n\U0001f4fa", "\udcff"], "wall_s": None},
    {"type": "stop", "job": 7},
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_messages_are_decoded_however_the_bytes_are_split(size: int) -> None:
    data = encode_line(MESSAGES) + encode_line([]) + encode_line(MESSAGES[:1])
    assert data.isascii()
    reader = LineReader()
    got = []
    for begin in range(0, len(data), size):
        got += reader.feed(data[begin : begin + size])
    assert got == [*MESSAGES, MESSAGES[0]]


@pytest.mark.parametrize(
    "line", [b"nonsense", b"{}", b"[1]", b'[{"job":1}]', b'[{"type":1}]', b"\xff", b"[" * 100_000]
)
def test_an_invalid_line_raises_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        LineReader().feed(line + b"\n")


def test_a_line_over_the_limit_raises_protocol_error() -> None:
    reader = LineReader(max_bytes=10)
    reader.feed(b"0123456789")
    with pytest.raises(ProtocolError, match="line exceeds 10 bytes"):
        reader.feed(b"0")
