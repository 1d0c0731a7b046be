"""Bytes of the link to messages and back; what is not a message raises ProtocolError."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

import msgspec

from mythjobs.errors import ProtocolError
from mythjobs.protocol import messages as m

Handshake = m.Challenge | m.Hello | m.Welcome | m.Refused
T = TypeVar("T")

# A binary frame: transfer, offset of its first byte within the stream, then the bytes.
_CHUNK: Final = struct.Struct(">QQ")
MOST_CHUNK_BYTES: Final = 64 * 1024
CREDIT_BYTES: Final = 256 * 1024
_LARGE_BYTES: Final = m.MOST_FRAME_BYTES // 4

_encode = msgspec.json.Encoder().encode
_handshake: msgspec.json.Decoder[Handshake] = msgspec.json.Decoder(Handshake)
_agent_frame = msgspec.json.Decoder(m.AgentFrame)
_master_frame = msgspec.json.Decoder(m.MasterFrame)


class Chunk(NamedTuple):
    transfer: int
    offset: int
    data: bytes


def encode(message: Handshake | m.AgentFrame | m.MasterFrame) -> bytes:
    return _encode(message)


def master_frames(frame: m.MasterFrame) -> Iterator[bytes]:
    """A frame as one, or as several if it is large: a run of one job may carry 1 MiB, and the
    other side reads none above its bound. The last acknowledges."""
    data = _encode(frame)
    if len(data) <= _LARGE_BYTES or len(frame.messages) < 2:
        yield data
        return
    half = len(frame.messages) // 2
    yield from master_frames(m.MasterFrame(0, frame.messages[:half]))
    yield from master_frames(m.MasterFrame(frame.ack, frame.messages[half:]))


def handshake(data: bytes | str) -> Handshake:
    return _decode(_handshake, data)


def agent_frame(data: bytes | str) -> m.AgentFrame:
    return _decode(_agent_frame, data)


def master_frame(data: bytes | str) -> m.MasterFrame:
    return _decode(_master_frame, data)


def encode_chunk(chunk: Chunk) -> bytes:
    return _CHUNK.pack(chunk.transfer, chunk.offset) + chunk.data


def decode_chunk(data: bytes) -> Chunk:
    if not _CHUNK.size <= len(data) <= _CHUNK.size + MOST_CHUNK_BYTES:
        raise ProtocolError(f"a binary frame of {len(data)} bytes")
    transfer, offset = _CHUNK.unpack_from(data)
    return Chunk(transfer, offset, data[_CHUNK.size :])


def _decode(decoder: msgspec.json.Decoder[T], data: bytes | str) -> T:
    if len(data) > m.MOST_FRAME_BYTES:
        raise ProtocolError(f"a frame of {len(data)} bytes; at most {m.MOST_FRAME_BYTES}")
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ProtocolError(f"not a message: {error}") from None
