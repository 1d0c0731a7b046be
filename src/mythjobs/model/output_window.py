"""Output window: the kept head and tail of an output stream; its last lines."""

from __future__ import annotations

from typing import Final, NamedTuple

# Output of a short attempt of at most this many bytes, of all streams together, is in the messages
# about its end, and then in the master's store: no file is created, fetched and deleted for it.
SMALL_OUTPUT_BYTES: Final = 4096


class OutputWindow(NamedTuple):
    """Of the `written` bytes of a stream the first `head` and the last `tail` are kept."""

    written: int
    head: int
    tail: int

    @property
    def dropped(self) -> int:
        return self.written - self.head - self.tail

    def place(self, offset: int) -> tuple[int, int]:
        """Return a stream offset's index in the kept bytes (head, then tail), and the offset.

        An offset in the dropped middle is first replaced by the first offset of the tail.
        """
        if offset < self.head:
            return offset, offset
        offset = min(max(offset, self.written - self.tail), self.written)
        return offset - self.dropped, offset


class LastLines:
    """The last `count` lines of output that arrives in pieces, and at most `max_bytes` of them.

    Text after the last line break counts as a line.
    """

    def __init__(self, count: int, max_bytes: int) -> None:
        self._count = count
        self._max_bytes = max_bytes
        self._data = bytearray()

    def add(self, data: bytes) -> None:
        self._data += data
        # Twice the size, so that a byte is moved once on average.
        if len(self._data) > 2 * self._max_bytes:
            del self._data[: -self._max_bytes]

    def get(self) -> bytes:
        if not self._count:
            return b""
        data = bytes(self._data[-self._max_bytes :])
        at = len(data) - data.endswith(b"\n")
        for _ in range(self._count):
            at = data.rfind(b"\n", 0, at)
            if at < 0:
                return data
        return data[at + 1 :]
