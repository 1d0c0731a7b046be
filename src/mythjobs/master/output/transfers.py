"""Transfers of job output from agents to the master: their numbers, and flow control by credit."""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from typing import Final, Protocol

from mythjobs.errors import ProtocolError
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import TRANSFER_WINDOW_BYTES, OutputChunk

# Credit is returned to the sending agent in quarters of its window: one small message for several
# chunks, early enough that the agent never waits for credit.
_CREDIT_STEP_BYTES: Final = TRANSFER_WINDOW_BYTES // 4
CONNECTION_LOST: Final = "lost"


class TransferPeer(Protocol):
    """Connection of the agent that sends a transfer's bytes."""

    @property
    def connection_id(self) -> int: ...
    @property
    def machine_id(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def is_closing(self) -> bool: ...
    def send(self, message: m.MasterMessage) -> None: ...


class Transfer:
    """Transfer of one output stream from an agent to the master.

    offset: lowest offset that the next chunk may have.
    end_message: set once the transfer has ended.
    """

    def __init__(self, number: int, peer: TransferPeer, offset: int) -> None:
        self.number = number
        self.peer = peer
        self.offset = offset
        self.end_message: m.OutputEnd | None = None
        self._credit_bytes = TRANSFER_WINDOW_BYTES
        self._ungranted_bytes = 0

    def receive(self, chunk: OutputChunk) -> None:
        """Accept a chunk.

        Raises ProtocolError if the chunk exceeds the credit, or its offset is too low.
        """
        self._credit_bytes -= len(chunk.data)
        if self._credit_bytes < 0:
            raise ProtocolError(f"transfer {self.number} sent more than its credit")
        if chunk.offset < self.offset:
            raise ProtocolError(
                f"transfer {self.number} went back from offset {self.offset} to {chunk.offset}"
            )
        self.offset = chunk.offset + len(chunk.data)
        if chunk.data:
            self.store_chunk(chunk)

    def release_bytes(self, size: int) -> None:
        """Give the sending agent new credit for `size` bytes that are no longer buffered."""
        self._ungranted_bytes += size
        if self._ungranted_bytes >= _CREDIT_STEP_BYTES and self.end_message is None:
            self.peer.send(m.OutputCredit(self.number, self._ungranted_bytes))
            self._credit_bytes += self._ungranted_bytes
            self._ungranted_bytes = 0

    def finish(self, end: m.OutputEnd) -> None:
        self.end_message = end

    def store_chunk(self, chunk: OutputChunk) -> None:
        raise NotImplementedError


class LiveTransfer(Transfer):
    """Transfer of output to one API client; the agent sends no faster than the client reads."""

    def __init__(self, number: int, peer: TransferPeer, offset: int) -> None:
        super().__init__(number, peer, offset)
        self._chunks: deque[OutputChunk] = deque()
        self._changed = asyncio.Event()

    def store_chunk(self, chunk: OutputChunk) -> None:
        self._chunks.append(chunk)
        self._changed.set()

    def finish(self, end: m.OutputEnd) -> None:
        super().finish(end)
        self._changed.set()

    async def next_chunk(self) -> OutputChunk | None:
        """Wait for the next chunk; return None at the end (`end_message` has the reason)."""
        while not self._chunks:
            if self.end_message is not None:
                return None
            self._changed.clear()
            await self._changed.wait()
        return self._chunks.popleft()


class TransferTable:
    """All open transfers by number. Numbers are never reused, not even on other connections."""

    def __init__(self) -> None:
        self._open: dict[int, Transfer] = {}
        self._numbers = itertools.count(1)
        self._last_number = 0

    def next_number(self) -> int:
        self._last_number = next(self._numbers)
        return self._last_number

    def add(self, transfer: Transfer) -> None:
        self._open[transfer.number] = transfer

    def stop(self, transfer: Transfer) -> None:
        """Remove a transfer and stop its sender. Chunks that still arrive are dropped."""
        if self._open.pop(transfer.number, None) is not None and transfer.end_message is None:
            transfer.peer.send(m.OutputStop(transfer.number))

    def receive(self, connection_id: int, chunk: OutputChunk) -> None:
        if transfer := self._find(connection_id, chunk.transfer):
            transfer.receive(chunk)

    def finish(self, connection_id: int, end: m.OutputEnd) -> None:
        if transfer := self._find(connection_id, end.transfer):
            del self._open[end.transfer]
            transfer.finish(end)

    def drop_connection(self, connection_id: int) -> None:
        """End all transfers of a closed connection with CONNECTION_LOST."""
        for transfer in [t for t in self._open.values() if t.peer.connection_id == connection_id]:
            del self._open[transfer.number]
            transfer.finish(m.OutputEnd(transfer.number, error=CONNECTION_LOST))

    def _find(self, connection_id: int, number: int) -> Transfer | None:
        """Return an open transfer, or None if the transfer with this number was closed.

        Raises ProtocolError if the number was never used, or belongs to another connection.
        """
        transfer = self._open.get(number)
        if transfer is None:
            if not 0 < number <= self._last_number:
                raise ProtocolError(f"transfer {number} was never requested")
            return None
        if transfer.peer.connection_id != connection_id:
            raise ProtocolError(f"transfer {number} was requested from another machine")
        return transfer
