"""Output of attempts for whoever asks: from the spool, else from the machine, as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from mythjobs.errors import Unreachable
from mythjobs.master.output.collector import Gathering
from mythjobs.master.output.spool import Key, Spool
from mythjobs.master.output.transfers import LOST, Live, Peer, Transfers
from mythjobs.model.output_window import Kept
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import Chunk

# An agent that is restarted is back within a second; a reader who follows need not notice.
COMES_BACK_S: Final = 30.0


class Attempt(NamedTuple):
    """What the store knows of an attempt: where it ran, and what it wrote once it is over."""

    n: int
    machine_id: int
    machine: str
    over: bool
    streams: Sequence[tuple[int, int, int]]

    def kept(self, stream: int) -> Kept | None:
        """None while it is not over. A stream that is not in the list wrote nothing."""
        if not self.over:
            return None
        return Kept(*self.streams[stream - 1]) if stream <= len(self.streams) else Kept(0, 0, 0)


class Attempts(Protocol):
    """The store's word on attempts."""

    async def look(self, job: int, n: int | None) -> Attempt: ...
    async def owners(self, of: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], int]: ...


@dataclass(frozen=True)
class Reading:
    """One read of output. `dropped` and `length` are None while the attempt is not over."""

    n: int
    dropped: int | None
    length: int | None
    chunks: AsyncGenerator[bytes, None]


class Outputs:
    def __init__(self, root: Path, attempts: Attempts) -> None:
        self._attempts = attempts
        self._spool = Spool(root)
        self._transfers = Transfers()
        self._gathering = Gathering(self._spool, self._transfers, attempts.owners)
        self._peers: dict[int, Peer] = {}
        self._came: asyncio.Event = asyncio.Event()

    async def run(self) -> None:
        """Fetches what is offered, until it is cancelled."""
        await self._gathering.run()

    async def remove(self, attempts: Sequence[tuple[int, int]]) -> None:
        """The kept output of attempts (job, n) that are pruned."""
        if attempts:
            await asyncio.to_thread(self._spool.remove, attempts)

    # From the links.

    def attached(self, peer: Peer) -> None:
        self._peers[peer.machine_id] = peer
        self._came.set()
        self._came = asyncio.Event()

    def detached(self, peer: Peer) -> None:
        if self._peers.get(peer.machine_id) is peer:
            del self._peers[peer.machine_id]
        self._gathering.lose(peer.connection)
        self._transfers.lose(peer.connection)

    def offered(self, peer: Peer, offer: m.OutputOffer) -> None:
        self._gathering.offered(peer, offer)

    def take(self, peer: Peer, chunk: Chunk) -> None:
        self._transfers.take(peer.connection, chunk)

    def end(self, peer: Peer, end: m.OutputEnd) -> None:
        self._transfers.end(peer.connection, end)

    # For the API.

    async def read(
        self, job: int, n: int | None, stream: int, offset: int, *, follow: bool
    ) -> Reading:
        """A stream's bytes from an offset of the stream; those that were dropped are left out.

        Without `n` those of the last attempt. With `follow` they go on until it is over.
        Raises NoSuchJob, and Unreachable if its machine has them and is not connected.
        """
        attempt = await self._attempts.look(job, n)
        key = Key(job, attempt.n, stream)
        kept = attempt.kept(stream)
        if kept is not None and (kept.written <= offset or kept.dropped == kept.written):
            return Reading(attempt.n, kept.dropped, 0, _nothing())
        if kept is not None and await asyncio.to_thread(self._spool.has, key):
            at, _ = kept.place(offset)
            length = kept.head + kept.tail - at
            return Reading(attempt.n, kept.dropped, length, self._from_spool(key, at))
        self._peer(attempt, job)
        chunks = self._from_anywhere(attempt, key, offset, follow)
        if not follow:
            # What is wrong shows with the first bytes, while it can still be answered.
            chunks = await _begun(chunks)
        return Reading(attempt.n, kept and kept.dropped, None, chunks)

    def _peer(self, attempt: Attempt, job: int) -> Peer:
        try:
            return self._peers[attempt.machine_id]
        except KeyError:
            raise Unreachable(
                f"the output of job {job} is on machine {attempt.machine}, which is not connected"
            ) from None

    async def _from_anywhere(
        self, attempt: Attempt, key: Key, offset: int, follow: bool
    ) -> AsyncGenerator[bytes, None]:
        while True:
            live = self._live(self._peer(attempt, key.job), key, offset, follow)
            try:
                while chunk := await live.next():
                    offset = chunk.offset + len(chunk.data)
                    yield chunk.data
                    live.consumed(len(chunk.data))
            finally:
                self._transfers.close(live)
            assert live.ended is not None
            if not live.ended.error:
                return
            if live.ended.error == LOST and follow:
                await self._comes_back(attempt.machine_id)
                continue
            # It ended and was taken to the spool between the look and the fetch.
            attempt = await self._attempts.look(key.job, key.n)
            kept = attempt.kept(key.stream)
            if kept is not None and kept.written <= offset:
                return
            if kept is None or not await asyncio.to_thread(self._spool.has, key):
                raise Unreachable(f"machine {attempt.machine} has no output of job {key.job} now")
            async with aclosing(self._from_spool(key, kept.place(offset)[0])) as rest:
                async for data in rest:
                    yield data
            return

    def _live(self, peer: Peer, key: Key, offset: int, follow: bool) -> Live:
        live = Live(self._transfers.number(), peer, offset)
        self._transfers.add(live)
        peer.send(m.OutputFetch(live.number, *key, offset=offset, follow=follow))
        return live

    async def _from_spool(self, key: Key, at: int) -> AsyncGenerator[bytes, None]:
        chunks = self._spool.chunks(key, at)
        while data := await asyncio.to_thread(next, chunks, b""):
            yield data

    async def _comes_back(self, machine_id: int) -> None:
        try:
            async with asyncio.timeout(COMES_BACK_S):
                while machine_id not in self._peers:
                    await self._came.wait()
        except TimeoutError:
            pass  # then _peer says that it is not connected


async def _nothing() -> AsyncGenerator[bytes, None]:
    return
    yield b""


async def _begun(chunks: AsyncGenerator[bytes, None]) -> AsyncGenerator[bytes, None]:
    first = await anext(chunks, b"")

    async def rest() -> AsyncGenerator[bytes, None]:
        async with aclosing(chunks):
            yield first
            async for data in chunks:
                yield data

    return rest()
