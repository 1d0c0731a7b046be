"""Output window: the kept head and tail of an output stream."""

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
