"""Output of an attempt in frames: pieces of a stream, each with its offset (docs/api.md).

Bytes that were not kept are missing between pieces. Without the offsets a client that follows the
output cannot know where to continue after its connection was lost.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

MEDIA_TYPE: Final = "application/vnd.mythjobs.frames"
# Head of a frame: offset of the piece in the stream, and its number of bytes; both big-endian.
_HEAD: Final = struct.Struct(">QI")


def encode_frame(offset: int, data: bytes) -> bytes:
    return _HEAD.pack(offset, len(data)) + data


class OutputFrameDecoder:
    """Decodes frames that arrive in chunks of any size. It passes bytes on as they arrive."""

    def __init__(self, write: Callable[[int, bytes], object]) -> None:
        """write: called with the offset of bytes in the stream, and the bytes."""
        self._write = write
        self._head = b""
        self._offset = 0
        self._left_bytes = 0

    def feed(self, data: bytes) -> None:
        while data:
            if not self._left_bytes:
                size = _HEAD.size - len(self._head)
                self._head += data[:size]
                data = data[size:]
                if len(self._head) == _HEAD.size:
                    self._offset, self._left_bytes = _HEAD.unpack(self._head)
                    self._head = b""
                continue
            piece, data = data[: self._left_bytes], data[self._left_bytes :]
            self._left_bytes -= len(piece)
            self._offset += len(piece)
            self._write(self._offset - len(piece), piece)
