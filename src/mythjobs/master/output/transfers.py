"""Output that is under way on a link: numbers, and the credit that bounds what may come."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import Final, Protocol

from mythjobs.errors import ProtocolError
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import CREDIT_BYTES, Chunk

# Credit goes back in quarters: one small message for several chunks, and never a standstill.
_CREDIT_STEP: Final = CREDIT_BYTES // 4
LOST: Final = "lost"


class Peer(Protocol):
    """An agent that is connected."""

    @property
    def connection(self) -> int: ...
    @property
    def machine_id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def closed(self) -> bool: ...
    def send(self, message: m.MasterMessage) -> None: ...


class Transfer:
    """One stream's bytes on their way here. `offset` is where the next may begin."""

    def __init__(self, number: int, peer: Peer, offset: int) -> None:
        self.number = number
        self.peer = peer
        self.offset = offset
        self.ended: m.OutputEnd | None = None
        self._credit = CREDIT_BYTES
        self._owed = 0

    def take(self, chunk: Chunk) -> None:
        """A chunk has come. Raises ProtocolError if it may not: the connection is closed."""
        self._credit -= len(chunk.data)
        if self._credit < 0:
            raise ProtocolError(f"transfer {self.number} sent more than its credit")
        if chunk.offset < self.offset:
            raise ProtocolError(f"transfer {self.number} went back to {chunk.offset}")
        self.offset = chunk.offset + len(chunk.data)
        if chunk.data:
            self.received(chunk)

    def consumed(self, size: int) -> None:
        """These bytes take no memory any more: as many may come."""
        self._owed += size
        if self._owed >= _CREDIT_STEP and self.ended is None:
            self.peer.send(m.OutputCredit(self.number, self._owed))
            self._credit += self._owed
            self._owed = 0

    def end(self, end: m.OutputEnd) -> None:
        self.ended = end

    def received(self, chunk: Chunk) -> None:
        raise NotImplementedError


class Live(Transfer):
    """A stream that one reader follows; nothing comes faster than it is read."""

    def __init__(self, number: int, peer: Peer, offset: int) -> None:
        super().__init__(number, peer, offset)
        self._chunks: deque[Chunk] = deque()
        self._more = asyncio.Event()

    def received(self, chunk: Chunk) -> None:
        self._chunks.append(chunk)
        self._more.set()

    def end(self, end: m.OutputEnd) -> None:
        super().end(end)
        self._more.set()

    async def next(self) -> Chunk | None:
        """The next chunk, or None when `ended` says why there is no more."""
        while not self._chunks:
            if self.ended is not None:
                return None
            self._more.clear()
            await self._more.wait()
        return self._chunks.popleft()


class Transfers:
    """All transfers by their number. A number is never used twice, by no connection."""

    def __init__(self) -> None:
        self._open: dict[int, Transfer] = {}
        self._numbers = itertools.count(1)
        self._last = 0

    def number(self) -> int:
        self._last = next(self._numbers)
        return self._last

    def add(self, transfer: Transfer) -> None:
        self._open[transfer.number] = transfer

    def close(self, transfer: Transfer) -> None:
        """Give up what is still under way. What comes later under its number is let go."""
        if self._open.pop(transfer.number, None) is not None and transfer.ended is None:
            transfer.peer.send(m.OutputStop(transfer.number))

    def take(self, connection: int, chunk: Chunk) -> None:
        if transfer := self._find(connection, chunk.transfer):
            transfer.take(chunk)

    def end(self, connection: int, end: m.OutputEnd) -> None:
        if transfer := self._find(connection, end.transfer):
            del self._open[end.transfer]
            transfer.end(end)

    def lose(self, connection: int) -> None:
        """The connection is gone, and with it everything that was under way on it."""
        for transfer in [t for t in self._open.values() if t.peer.connection == connection]:
            del self._open[transfer.number]
            transfer.end(m.OutputEnd(transfer.number, error=LOST))

    def _find(self, connection: int, number: int) -> Transfer | None:
        transfer = self._open.get(number)
        if transfer is None:
            if not 0 < number <= self._last:
                raise ProtocolError(f"transfer {number} was never asked for")
            return None
        if transfer.peer.connection != connection:
            raise ProtocolError(f"transfer {number} was asked of another machine")
        return transfer
