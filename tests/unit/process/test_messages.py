"""Lines of messages, however they are cut up on their way."""

from __future__ import annotations

import pytest

from mythjobs.errors import ProtocolError
from mythjobs.process.reaper.messages import LineReader, Message, encode_line

MESSAGES: list[Message] = [
    {"type": "start", "argv": ["é\n\U0001f4fa", "\udcff"], "wall_s": None},
    {"type": "stop", "job": 7},
]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_come_out_whole_however_they_were_cut(size: int) -> None:
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
def test_what_is_no_line_of_messages_is_the_peers_fault(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        LineReader().feed(line + b"\n")


def test_a_line_without_end_is_given_up() -> None:
    reader = LineReader(max_bytes=10)
    reader.feed(b"0123456789")
    with pytest.raises(ProtocolError, match="line exceeds 10 bytes"):
        reader.feed(b"0")
