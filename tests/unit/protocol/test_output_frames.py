"""Frames of output that arrive in chunks of any size."""

from __future__ import annotations

from mythjobs.protocol.output_frames import OutputFrameDecoder, encode_frame


def test_frames_are_decoded_from_chunks_of_any_size() -> None:
    pieces = [(0, b"head"), (2**40, b"t" * 300), (2**40 + 300, b"end\n")]
    body = b"".join(encode_frame(*each) for each in pieces)
    for size in (1, 2, 11, 12, 13, 100, len(body)):
        found: list[tuple[int, bytes]] = []

        def write(offset: int, data: bytes, found: list[tuple[int, bytes]] = found) -> None:
            if found and found[-1][0] + len(found[-1][1]) == offset:
                found[-1] = (found[-1][0], found[-1][1] + data)
            else:
                found.append((offset, data))

        decoder = OutputFrameDecoder(write)
        for at in range(0, len(body), size):
            decoder.feed(body[at : at + size])
        assert found == [(0, b"head"), (2**40, b"t" * 300 + b"end\n")]


def test_bytes_of_an_incomplete_frame_are_passed_on() -> None:
    found: list[tuple[int, bytes]] = []
    decoder = OutputFrameDecoder(lambda offset, data: found.append((offset, data)))
    decoder.feed(encode_frame(7, b"abc")[:-1])
    assert found == [(7, b"ab")]
