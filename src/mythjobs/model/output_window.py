"""Which bytes of an output are kept: its head and its tail, and what was dropped between."""

from __future__ import annotations

from typing import NamedTuple


class Kept(NamedTuple):
    """Of `written` bytes the first `head` and the last `tail` are kept; as it is on the wire."""

    written: int
    head: int
    tail: int

    @property
    def dropped(self) -> int:
        return self.written - self.head - self.tail

    def place(self, offset: int) -> tuple[int, int]:
        """Where among the kept bytes a stream's offset stands, and the offset that is found there.

        An offset in the dropped middle becomes the tail's first.
        """
        if offset < self.head:
            return offset, offset
        offset = min(max(offset, self.written - self.tail), self.written)
        return offset - self.dropped, offset
