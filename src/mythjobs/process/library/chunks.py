"""Iterators over a child's output in chunks and in lines, for `for` and `async for`."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

# Functions that return the next chunk of output, b"" at the end of the output.
Read = Callable[[], bytes]
ReadAsync = Callable[[], Awaitable[bytes]]


class Chunks:
    """Iterator over the chunks of an output as they arrive."""

    def __init__(self, read: Read, read_async: ReadAsync) -> None:
        self._read = read
        self._read_async = read_async

    def __iter__(self) -> Chunks:
        return self

    def __aiter__(self) -> Chunks:
        return self

    def __next__(self) -> bytes:
        if data := self._read():
            return data
        raise StopIteration

    async def __anext__(self) -> bytes:
        if data := await self._read_async():
            return data
        raise StopAsyncIteration


class Lines:
    """Iterator over the lines of an output, with their newline; the last line may lack it.

    `follows_gap` returns whether bytes were dropped before the last chunk that was read. The line
    that such a gap cuts off has no newline.
    """

    def __init__(
        self,
        read: Read,
        read_async: ReadAsync,
        follows_gap: Callable[[], bool] = lambda: False,
    ) -> None:
        self._read = read
        self._read_async = read_async
        self._follows_gap = follows_gap
        self._lines: deque[bytes] = deque()
        # Parts of a line whose end has not arrived. They are joined only once, at its end: a long
        # line may arrive in many chunks.
        self._parts: list[bytes] = []

    def __iter__(self) -> Lines:
        return self

    def __aiter__(self) -> Lines:
        return self

    def __next__(self) -> bytes:
        while not self._lines:
            if not self._add(self._read()):
                raise StopIteration
        return self._lines.popleft()

    async def __anext__(self) -> bytes:
        while not self._lines:
            if not self._add(await self._read_async()):
                raise StopAsyncIteration
        return self._lines.popleft()

    def _add(self, data: bytes) -> bool:
        """Split a chunk into lines; an empty chunk means the end of the output. Return False at the
        end if no unfinished line is left."""
        if self._parts and self._follows_gap():
            self._end_line()
        *whole, rest = data.split(b"\n")
        for text in whole:
            self._parts.append(text + b"\n")
            self._end_line()
        if rest:
            self._parts.append(rest)
        elif not data and self._parts:
            self._end_line()
            return True
        return bool(data)

    def _end_line(self) -> None:
        self._lines.append(b"".join(self._parts))
        self._parts.clear()
