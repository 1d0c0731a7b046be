"""Iterators over output: chunks and lines, for `for` and for `async for`."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

# Return the next chunk of output; empty at its end.
Read = Callable[[], bytes]
ReadAsync = Callable[[], Awaitable[bytes]]


class Chunks:
    """Iterator over chunks as they arrive."""

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
    """Iterator over lines with their newline; the last line of the output may lack it.

    `follows_gap` returns whether bytes were dropped before the chunk read last; the line before
    a gap has no newline.
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
        # Chunks of a line whose end has not arrived. Joined once: a line may have many.
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
        """Split a chunk; an empty one is the end. Return False if nothing is left."""
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
