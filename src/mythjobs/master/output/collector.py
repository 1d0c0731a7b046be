"""Kept output of attempts that are over: fetched from the machines into the spool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

from mythjobs.errors import MythJobsError, ProtocolError
from mythjobs.master.output.spool import Key, Part, Spool
from mythjobs.master.output.transfers import LOST, Peer, Transfer, Transfers
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import Chunk

# So many are fetched at a time: at their credit of 256 KiB they hold 4 MiB.
MOST_AT_A_TIME: Final = 16
# After the disk refused, so much later the same output is tried again.
RETRY_S: Final = 30.0

# The machine of each of these attempts; one that is not known is left out.
Owners = Callable[[Sequence[tuple[int, int]]], Awaitable[Mapping[tuple[int, int], int]]]
A = TypeVar("A")
T = TypeVar("T")
log = logging.getLogger(__name__)


class Fetch(Transfer):
    """One stream on its way into its file, from the file's present end to `kept` bytes."""

    def __init__(self, number: int, peer: Peer, part: Part, kept: int, wake: asyncio.Event) -> None:
        super().__init__(number, peer, part.size)
        self.part = part
        self.kept = kept
        self.pieces: list[bytes] = []
        self._wake = wake

    def take(self, chunk: Chunk) -> None:
        if chunk.offset != self.offset or chunk.offset + len(chunk.data) > self.kept:
            raise ProtocolError(f"transfer {self.number}: bytes at {chunk.offset} are out of place")
        super().take(chunk)

    def received(self, chunk: Chunk) -> None:
        self.pieces.append(chunk.data)
        self._wake.set()

    def end(self, end: m.OutputEnd) -> None:
        super().end(end)
        self._wake.set()

    @property
    def full(self) -> bool:
        return self.part.size == self.kept


class Gathering:
    def __init__(self, spool: Spool, transfers: Transfers, owners: Owners) -> None:
        self._spool = spool
        self._transfers = transfers
        self._owners = owners
        self._offers: dict[Key, tuple[Peer, int]] = {}
        self._active: dict[Key, Fetch] = {}
        self._wake = asyncio.Event()
        # What is done while one round is on the disk is the next round: as turns do.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    def offered(self, peer: Peer, offer: m.OutputOffer) -> None:
        if peer.closed:
            return
        self._offers[Key(offer.job, offer.n, offer.stream)] = peer, offer.kept
        self._wake.set()

    def lose(self, connection: int) -> None:
        for key in [k for k, (peer, _) in self._offers.items() if peer.connection == connection]:
            del self._offers[key]

    async def run(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._store()
                await self._start()
        finally:
            self._thread.shutdown()
            for fetch in self._active.values():
                fetch.part.close()

    async def _start(self) -> None:
        room = MOST_AT_A_TIME - len(self._active)
        keys = [key for key in self._offers if key not in self._active][:room]
        if not keys:
            return
        offers = [(key, *self._offers.pop(key)) for key in keys]
        try:
            owners = await self._owners([(key.job, key.n) for key in keys])
        except MythJobsError as error:
            # The store cannot be read now; what was offered is there later as well.
            for key, peer, kept in offers:
                self._later(key, peer, kept, error)
            return
        owned = [each for each in offers if self._is_owner(owners, each[0], each[1])]
        begun = await self._in_thread(self._begin, [(key, kept) for key, _, kept in owned])
        for (key, peer, kept), part in zip(owned, begun, strict=True):
            if isinstance(part, OSError):
                self._later(key, peer, kept, part)
            elif part is None:
                peer.send(m.OutputKept(*key))
            elif peer.closed:
                part.close()
            else:
                self._fetch(key, peer, part, kept)
        self._wake.set()

    def _is_owner(self, owners: Mapping[tuple[int, int], int], key: Key, peer: Peer) -> bool:
        owner = owners.get((key.job, key.n))
        if owner is None:
            # Its job was pruned, or the store put back: nobody can ask for it any more.
            log.info("%s lets go of output of job %d, which is not known", peer.name, key.job)
            peer.send(m.OutputKept(*key))
        elif owner != peer.machine_id:
            log.warning("machine %s offered output of job %d, not its own", peer.name, key.job)
        return owner == peer.machine_id

    def _begin(self, offers: list[tuple[Key, int]]) -> list[Part | OSError | None]:
        begun: list[Part | OSError | None] = []
        for key, kept in offers:
            try:
                begun.append(self._spool.begin(key, kept))
            except OSError as error:
                begun.append(error)
        return begun

    def _fetch(self, key: Key, peer: Peer, part: Part, kept: int) -> None:
        fetch = Fetch(self._transfers.number(), peer, part, kept, self._wake)
        self._active[key] = fetch
        self._transfers.add(fetch)
        peer.send(m.OutputFetch(fetch.number, *key, offset=part.size, kept=True))

    async def _store(self) -> None:
        work = [(f, f.pieces, f.ended) for f in self._active.values() if f.pieces or f.ended]
        for fetch, _, _ in work:
            fetch.pieces = []
        if not work:
            return
        failed = await self._in_thread(self._carry_out, work)
        for fetch, pieces, ended in work:
            if error := failed.get(fetch.part.key):
                self._give_up(fetch, error)
            elif ended is None:
                fetch.consumed(sum(map(len, pieces)))
            else:
                self._over(fetch, ended)

    def _carry_out(
        self, work: list[tuple[Fetch, list[bytes], m.OutputEnd | None]]
    ) -> dict[Key, OSError]:
        """In the thread: write what came, make durable what is full. Answers what failed."""
        failed: dict[Key, OSError] = {}
        full: list[Part] = []
        for fetch, pieces, ended in work:
            try:
                fetch.part.write(b"".join(pieces))
            except OSError as error:
                failed[fetch.part.key] = error
                continue
            if ended is not None and fetch.full:
                full.append(fetch.part)
            elif ended is not None:
                fetch.part.close()
        try:
            self._spool.settle(full)
        except OSError as error:
            # After a failed fsync nobody knows what is on the disk: all of it comes again.
            for part in full:
                self._spool.forget(part.key)
                failed[part.key] = error
        return failed

    def _over(self, fetch: Fetch, end: m.OutputEnd) -> None:
        key = fetch.part.key
        del self._active[key]
        if fetch.full:
            fetch.peer.send(m.OutputKept(*key))
        elif end.error != LOST:
            log.warning("output of job %d did not come: %s", key.job, end.error or "too short")
            self._spool.forget(key)
        self._wake.set()

    def _give_up(self, fetch: Fetch, error: OSError) -> None:
        key = fetch.part.key
        del self._active[key]
        self._transfers.close(fetch)
        fetch.part.close()
        self._later(key, fetch.peer, fetch.kept, error)

    def _later(self, key: Key, peer: Peer, kept: int, error: Exception) -> None:
        log.warning("output of job %d cannot be kept: %s", key.job, error)
        offer = m.OutputOffer(*key, kept=kept)
        asyncio.get_running_loop().call_later(RETRY_S, self.offered, peer, offer)

    async def _in_thread(self, function: Callable[[A], T], argument: A) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, argument)
