"""Encoding and decoding of frames of the link, the WebSocket between master and agent.

Invalid data raises ProtocolError.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, TypeVar

import msgspec

from mythjobs.errors import ProtocolError
from mythjobs.protocol import messages as m

HandshakeMessage = m.Challenge | m.Hello | m.Welcome | m.Refused
T = TypeVar("T")

# Header of a binary frame, which carries job output: id of the transfer, and offset in the output
# of the frame's first byte.
_CHUNK_HEADER: Final = struct.Struct(">QQ")
MAX_CHUNK_BYTES: Final = 64 * 1024
TRANSFER_WINDOW_BYTES: Final = 256 * 1024
_SPLIT_ABOVE_BYTES: Final = m.MAX_FRAME_BYTES // 4
# Longest description of an invalid message.
_MAX_QUOTED: Final = 300

_encode = msgspec.json.Encoder().encode
_handshake_decoder: msgspec.json.Decoder[HandshakeMessage] = msgspec.json.Decoder(HandshakeMessage)
_agent_frame_decoder = msgspec.json.Decoder(m.AgentFrame)
_master_frame_decoder = msgspec.json.Decoder(m.MasterFrame)


class OutputChunk(NamedTuple):
    transfer: int
    offset: int
    data: bytes


def encode(message: HandshakeMessage | m.AgentFrame | m.MasterFrame) -> bytes:
    return _encode(message)


def encode_master_frames(frame: m.MasterFrame) -> Iterator[bytes]:
    """Encode a frame; a large one is split into several, of which only the last one has `ack`.

    One grant may take 1 MiB, and the agent rejects frames above MAX_FRAME_BYTES.
    """
    data = _encode(frame)
    if len(data) <= _SPLIT_ABOVE_BYTES or len(frame.messages) < 2:
        yield data
        return
    half = len(frame.messages) // 2
    yield from encode_master_frames(m.MasterFrame(0, frame.messages[:half]))
    yield from encode_master_frames(m.MasterFrame(frame.ack, frame.messages[half:]))


def decode_handshake(data: bytes | str) -> HandshakeMessage:
    return _decode(_handshake_decoder, data)


def decode_agent_frame(data: bytes | str) -> m.AgentFrame:
    return _decode(_agent_frame_decoder, data)


def decode_master_frame(data: bytes | str) -> m.MasterFrame:
    return _decode(_master_frame_decoder, data)


def encode_chunk(chunk: OutputChunk) -> bytes:
    return _CHUNK_HEADER.pack(chunk.transfer, chunk.offset) + chunk.data


def decode_chunk(data: bytes) -> OutputChunk:
    """Decode a binary frame. Raises ProtocolError."""
    if not _CHUNK_HEADER.size <= len(data) <= _CHUNK_HEADER.size + MAX_CHUNK_BYTES:
        raise ProtocolError(f"invalid length of a binary frame: {len(data)} bytes")
    transfer, offset = _CHUNK_HEADER.unpack_from(data)
    return OutputChunk(transfer, offset, data[_CHUNK_HEADER.size :])


def _decode(decoder: msgspec.json.Decoder[T], data: bytes | str) -> T:
    if len(data) > m.MAX_FRAME_BYTES:
        raise ProtocolError(f"frame of {len(data)} bytes exceeds {m.MAX_FRAME_BYTES} bytes")
    try:
        return decoder.decode(data)
    except UnicodeDecodeError:
        raise ProtocolError("invalid message: a text in it is not UTF-8") from None
    except (msgspec.DecodeError, RecursionError) as error:
        # msgspec quotes an unknown type, which may have megabytes and line breaks.
        what = str(error)
        what = what if what.isprintable() else ascii(what)
        raise ProtocolError(f"invalid message: {what[:_MAX_QUOTED]}") from None
