"""Output reader: streams attempts' output to API clients, from the spool or the agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from mythjobs.errors import Unreachable
from mythjobs.master.output.collector import Offer, OutputCollector
from mythjobs.master.output.spool import OutputKey, OutputSpool
from mythjobs.master.output.transfers import (
    CONNECTION_LOST,
    LiveTransfer,
    TransferPeer,
    TransferTable,
)
from mythjobs.model.output_window import LastLines, OutputWindow
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import OutputChunk
from mythjobs.protocol.output_frames import encode_frame

# Maximum time for which a request that follows output waits for a disconnected agent. An agent
# that restarts reconnects within a second.
RECONNECT_TIMEOUT_S: Final = 30.0
# At most this many bytes are read of the last lines of a stream: they are kept in memory.
MAX_END_BYTES: Final = 4 * 2**20


class AttemptOutput(NamedTuple):
    """Machine that has an attempt's output, and the kept parts of its streams.

    streams: (written, head, tail) of stdout and stderr, in bytes: size of the stream, and of the
    parts kept from its start and end. Empty until the attempt has ended. data: the kept bytes of
    each stream, if they are in the store.
    """

    n: int
    machine_id: int
    machine: str
    is_ended: bool
    streams: Sequence[tuple[int, int, int]]
    data: Sequence[bytes] = ()

    def window(self, stream: int) -> OutputWindow | None:
        """Return which bytes of a stream were kept, or None if the attempt has not ended."""
        if not self.is_ended:
            return None
        if stream > len(self.streams):
            return OutputWindow(0, 0, 0)  # streams without bytes may be missing from the list
        return OutputWindow(*self.streams[stream - 1])


class AttemptOutputStore(Protocol):
    """Store queries that the output reader and the output collector need."""

    async def find_attempt_output(self, job: int, n: int | None) -> AttemptOutput: ...

    async def find_machines(
        self, of: Sequence[tuple[int, int]]
    ) -> Mapping[tuple[int, int], int]: ...


@dataclass(frozen=True)
class RequestedOutput:
    """Result of OutputReader.read().

    dropped: number of bytes of the stream that were not kept; None until the attempt has ended.
    length: number of bytes in `chunks`; None if the chunks are still being sent by a machine.
    end: of last lines, the position in the stream after them.
    """

    n: int
    dropped: int | None
    length: int | None
    chunks: AsyncGenerator[bytes, None]
    end: int | None = None


class OutputReader:
    """Owns spool, transfers and collector; routes agents' output messages to them."""

    def __init__(self, root: Path, store: AttemptOutputStore) -> None:
        self._store = store
        self._spool = OutputSpool(root)
        self._transfers = TransferTable()
        self._collector = OutputCollector(self._spool, self._transfers, store.find_machines)
        self._peers: dict[int, TransferPeer] = {}
        self._agent_added: asyncio.Event = asyncio.Event()

    async def run(self) -> None:
        """Copy output that agents offer to the spool, until cancelled."""
        await self._collector.run()

    async def remove(self, attempts: Sequence[tuple[int, int]]) -> None:
        """Delete the spooled output of pruned attempts, given as (job id, attempt number)."""
        if attempts:
            await asyncio.to_thread(self._spool.remove, attempts)

    # The following methods are called by the link server.

    def add_agent(self, peer: TransferPeer) -> None:
        self._peers[peer.machine_id] = peer
        self._agent_added.set()
        self._agent_added = asyncio.Event()

    def remove_agent(self, peer: TransferPeer) -> None:
        if self._peers.get(peer.machine_id) is peer:
            del self._peers[peer.machine_id]
        self._collector.drop_connection(peer.connection_id)
        self._transfers.drop_connection(peer.connection_id)

    def receive_offer(self, peer: TransferPeer, offer: m.OutputOffer) -> None:
        key = OutputKey(offer.job, offer.n, offer.stream)
        self._collector.receive_offer(Offer(key, peer, offer.kept))

    def receive_chunk(self, peer: TransferPeer, chunk: OutputChunk) -> None:
        self._transfers.receive(peer.connection_id, chunk)

    def receive_end(self, peer: TransferPeer, end: m.OutputEnd) -> None:
        self._transfers.finish(peer.connection_id, end)

    # The following methods are called by the HTTP API.

    async def read(
        self,
        job: int,
        n: int | None,
        stream: int,
        offset: int,
        *,
        follow: bool,
        framed: bool = False,
    ) -> RequestedOutput:
        """Read a stream's kept bytes from an offset in the stream; dropped bytes are omitted.

        n: attempt number, by default the last. follow: keep reading until the attempt ends.
        framed: return frames with the offset of each piece (protocol/output_frames.py).
        Raises NoSuchJob, and Unreachable if the output is on a machine that is not connected.
        """
        attempt = await self._store.find_attempt_output(job, n)
        key = OutputKey(job, attempt.n, stream)
        window = attempt.window(stream)
        if window is not None and (window.written <= offset or window.dropped == window.written):
            return RequestedOutput(attempt.n, window.dropped, 0, _stream_nothing())
        format_pieces = _make_frames if framed else _drop_positions
        if kept := await self._find_kept(attempt, key):
            length = kept.head + kept.tail - kept.place(offset)[0]
            chunks = format_pieces(self._stream_kept(attempt, key, kept, offset))
            return RequestedOutput(attempt.n, kept.dropped, None if framed else length, chunks)
        self._find_peer(attempt, job)
        chunks = format_pieces(self._stream_from_agent(attempt, key, offset, follow))
        if not follow:
            # Wait for the first chunk: an error before it can still set the HTTP status.
            chunks = await _await_first_chunk(chunks)
        return RequestedOutput(attempt.n, window and window.dropped, None, chunks)

    async def read_last_lines(
        self, job: int, n: int | None, stream: int, count: int
    ) -> RequestedOutput:
        """Read the last lines of a stream, as far as it is written now; at most MAX_END_BYTES.

        `dropped` is the number of bytes missing in these lines. Raises like read().
        """
        attempt = await self._store.find_attempt_output(job, n)
        window = attempt.window(stream)
        lines, end = LastLines(count, MAX_END_BYTES), 0
        if window is None:
            self._find_peer(attempt, job)
            pieces = self._stream_from_agent(attempt, OutputKey(job, attempt.n, stream), 0, False)
            async with aclosing(pieces):
                async for position, data in pieces:
                    lines.add(data)
                    end = position
        else:
            end = window.written
            found = await self.read(
                job, attempt.n, stream, max(0, end - MAX_END_BYTES), follow=False
            )
            async with aclosing(found.chunks):
                async for data in found.chunks:
                    lines.add(data)
        data = lines.get()
        dropped = window and (window.dropped if len(data) > window.tail else 0)
        if window is not None and found.dropped not in (None, window.dropped):
            dropped = found.dropped  # the spool has lost the last lines
        return RequestedOutput(attempt.n, dropped, len(data), _stream_bytes(data), end)

    async def find_sizes(self, job: int, n: int) -> list[int]:
        """Return the size in bytes of each stream of an ended attempt. Raises NoSuchJob."""
        attempt = await self._store.find_attempt_output(job, n)
        return [written for written, _, _ in attempt.streams]

    def _find_peer(self, attempt: AttemptOutput, job: int) -> TransferPeer:
        try:
            return self._peers[attempt.machine_id]
        except KeyError:
            raise Unreachable(
                f"cannot read output of job {job}: it is on machine {attempt.machine}, which is "
                "not connected"
            ) from None

    async def _stream_from_agent(
        self, attempt: AttemptOutput, key: OutputKey, offset: int, follow: bool
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield bytes, each piece with the position in the stream after it."""
        while True:
            transfer = self._start_transfer(self._find_peer(attempt, key.job), key, offset, follow)
            try:
                while chunk := await transfer.next_chunk():
                    offset = chunk.offset + len(chunk.data)
                    yield offset, chunk.data
                    transfer.release_bytes(len(chunk.data))
            finally:
                self._transfers.stop(transfer)
            assert transfer.end_message is not None
            if not transfer.end_message.error:
                return
            if transfer.end_message.error == CONNECTION_LOST and follow:
                await self._wait_reconnected(attempt.machine_id)
                continue
            # The machine does not have the output: the attempt has ended, and its output has been
            # moved to the spool or the store since the lookup. Read the rest from there.
            attempt = await self._store.find_attempt_output(key.job, key.n)
            window = attempt.window(key.stream)
            if window is not None and window.written <= offset:
                return
            if not (kept := await self._find_kept(attempt, key)):
                raise Unreachable(
                    f"cannot read output of job {key.job}: machine {attempt.machine} does not "
                    "have it now; try again in a moment"
                )
            async with aclosing(self._stream_kept(attempt, key, kept, offset)) as rest:
                async for position, data in rest:
                    yield position, data
            return

    async def _find_kept(self, attempt: AttemptOutput, key: OutputKey) -> OutputWindow | None:
        """Return the window of the bytes of a stream that store or spool have, None if they have
        none, or if the attempt has not ended."""
        window = attempt.window(key.stream)
        if window is None or attempt.data:
            return window
        return await asyncio.to_thread(self._spool.find_window, key, window)

    def _start_transfer(
        self, peer: TransferPeer, key: OutputKey, offset: int, follow: bool
    ) -> LiveTransfer:
        transfer = LiveTransfer(self._transfers.next_number(), peer, offset)
        self._transfers.add(transfer)
        peer.send(m.OutputFetch(transfer.number, *key, offset=offset, follow=follow))
        return transfer

    async def _stream_kept(
        self, attempt: AttemptOutput, key: OutputKey, window: OutputWindow, offset: int
    ) -> AsyncGenerator[tuple[int, bytes], None]:
        """Yield the kept bytes of an ended attempt, from the store or the spool, in pieces without
        a gap, each with the position after it in the stream."""
        at = window.place(offset)[0]
        if attempt.data:
            chunks = _stream_bytes(attempt.data[key.stream - 1][at:])
        else:
            chunks = self._stream_from_spool(key, at, window.head + window.tail - at)
        async with aclosing(chunks):
            async for data in chunks:
                left = data
                while left:
                    # Split a chunk that contains the end of the head and the begin of the tail.
                    size = min(len(left), window.head - at) if at < window.head else len(left)
                    at += size
                    yield (at if at <= window.head else at + window.dropped), left[:size]
                    left = left[size:]

    async def _stream_from_spool(
        self, key: OutputKey, at: int, size: int
    ) -> AsyncGenerator[bytes, None]:
        chunks = self._spool.read_chunks(key, at, size)
        while data := await asyncio.to_thread(next, chunks, b""):
            yield data

    async def _wait_reconnected(self, machine_id: int) -> None:
        try:
            async with asyncio.timeout(RECONNECT_TIMEOUT_S):
                while machine_id not in self._peers:
                    await self._agent_added.wait()
        except TimeoutError:
            pass  # the caller's next call of _find_peer() raises Unreachable


async def _make_frames(
    pieces: AsyncGenerator[tuple[int, bytes], None],
) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        async for position, data in pieces:
            yield encode_frame(position - len(data), data)


async def _drop_positions(
    pieces: AsyncGenerator[tuple[int, bytes], None],
) -> AsyncGenerator[bytes, None]:
    async with aclosing(pieces):
        async for _, data in pieces:
            yield data


async def _stream_nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""


async def _stream_bytes(data: bytes) -> AsyncGenerator[bytes, None]:
    yield data


async def _await_first_chunk(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    first = await anext(chunks, b"")

    async def rest() -> AsyncGenerator[bytes, None]:
        async with aclosing(chunks):
            yield first
            async for data in chunks:
                yield data

    return rest()
