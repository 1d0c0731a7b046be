"""Output collector: copies ended attempts' kept output from the agents to the spool."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NamedTuple, TypeVar

from mythjobs.errors import MythJobsError, ProtocolError
from mythjobs.master.output.spool import OutputKey, OutputSpool, PartialFile
from mythjobs.master.output.transfers import CONNECTION_LOST, Transfer, TransferPeer, TransferTable
from mythjobs.protocol import messages as m
from mythjobs.protocol.codec import OutputChunk

# At 256 KiB of credit each, 16 concurrent transfers buffer at most 4 MiB.
MAX_TRANSFERS: Final = 16
# Delay before output that an agent offered is fetched again after a disk or store error.
RETRY_S: Final = 30.0
# Number of false offers of a connection that are logged, and of its offers that may wait.
_MAX_LOGGED: Final = 10
_MAX_OFFERS: Final = 100_000

# Function that returns the machine id of each attempt (job id, attempt number) that is in the
# store.
FindMachines = Callable[[Sequence[tuple[int, int]]], Awaitable[Mapping[tuple[int, int], int]]]
A = TypeVar("A")
T = TypeVar("T")
log = logging.getLogger(__name__)


class Offer(NamedTuple):
    key: OutputKey
    peer: TransferPeer
    kept_bytes: int


class SpoolTransfer(Transfer):
    """Transfer of one output stream into a spool file; resumes at the size the file has."""

    def __init__(self, number: int, offer: Offer, file: PartialFile, wake: asyncio.Event) -> None:
        super().__init__(number, offer.peer, file.size)
        self.offer = offer
        self.file = file
        self.unwritten: list[bytes] = []
        self._wake = wake

    def receive(self, chunk: OutputChunk) -> None:
        if chunk.offset != self.offset or chunk.offset + len(chunk.data) > self.offer.kept_bytes:
            raise ProtocolError(
                f"transfer {self.number} sent {len(chunk.data)} bytes at offset {chunk.offset}, "
                f"expected offset {self.offset} and an end of at most {self.offer.kept_bytes}"
            )
        super().receive(chunk)

    def store_chunk(self, chunk: OutputChunk) -> None:
        self.unwritten.append(chunk.data)
        self._wake.set()

    def finish(self, end: m.OutputEnd) -> None:
        super().finish(end)
        self._wake.set()

    @property
    def is_complete(self) -> bool:
        return self.file.size == self.offer.kept_bytes


class OutputCollector:
    """Fetches output that agents offer, and acknowledges it once it is durable in the spool.

    At most MAX_TRANSFERS streams are fetched at the same time.
    """

    def __init__(
        self, spool: OutputSpool, transfers: TransferTable, find_machines: FindMachines
    ) -> None:
        self._spool = spool
        self._transfers = transfers
        self._find_machines = find_machines
        # By connection too: an offer of a machine on which the attempt did not run must not replace
        # that of the right one.
        self._offers: dict[tuple[int, OutputKey], Offer] = {}
        self._offer_counts: Counter[int] = Counter()  # by connection
        self._false_counts: Counter[int] = Counter()
        self._overfull: set[int] = set()  # connections with offers that were left out
        self._active: dict[OutputKey, SpoolTransfer] = {}
        self._wake = asyncio.Event()
        # One thread writes to disk. Chunks that arrive during a write are written together next.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="spool")

    def receive_offer(self, offer: Offer) -> None:
        """Add an offer of an agent, unless too many of its offers wait.

        The others are not lost: the agent keeps the output, and offers it again on its next
        connection. To close this one instead would keep the machine from all jobs.
        """
        connection, name = offer.peer.connection_id, offer.peer.name
        if self._offer_counts[connection] < _MAX_OFFERS:
            self.add_offer(offer)
        elif connection not in self._overfull:
            self._overfull.add(connection)
            log.warning(
                "%s offers the output of more than %d streams; the others are fetched when it "
                "connects again",
                name,
                _MAX_OFFERS,
                extra={"machine": name},
            )

    def add_offer(self, offer: Offer) -> None:
        key = (offer.peer.connection_id, offer.key)
        if not offer.peer.is_closing:
            if key not in self._offers:
                self._offer_counts[key[0]] += 1
            self._offers[key] = offer
            self._wake.set()

    def drop_connection(self, connection_id: int) -> None:
        if self._offer_counts.pop(connection_id, 0):
            for each in [each for each in self._offers if each[0] == connection_id]:
                del self._offers[each]
        self._false_counts.pop(connection_id, None)
        self._overfull.discard(connection_id)

    def _take_offer(self, key: tuple[int, OutputKey]) -> Offer:
        self._offer_counts[key[0]] -= 1
        return self._offers.pop(key)

    async def run(self) -> None:
        try:
            # Start the thread now. Later the process may have too many threads, or no memory.
            await self._run_in_thread(len, ())
            while True:
                await self._wake.wait()
                self._wake.clear()
                await self._write_received()
                await self._start_transfers()
        finally:
            self._thread.shutdown()
            for transfer in self._active.values():
                transfer.file.close()

    async def _start_transfers(self) -> None:
        free = MAX_TRANSFERS - len(self._active)
        chosen: dict[OutputKey, tuple[int, OutputKey]] = {}
        for each in self._offers:
            if len(chosen) >= free:
                break  # without a look at the others, of which there may be many
            if each[1] not in self._active:
                chosen.setdefault(each[1], each)
        if not chosen:
            return
        offers = [self._take_offer(each) for each in chosen.values()]
        try:
            machines = await self._find_machines([(each.key.job, each.key.n) for each in offers])
        except (MythJobsError, RuntimeError) as error:
            # The store is unavailable, or a thread for the read cannot be started: try the offers
            # again later. Until then no output is lost, because agents keep output until the
            # master has acknowledged it.
            for offer in offers:
                self._retry_later(offer, error)
            return
        valid = [each for each in offers if self._check_machine(machines, each)]
        opened = await self._run_in_thread(self._open_files, valid)
        for offer, file in zip(valid, opened, strict=True):
            if isinstance(file, OSError):
                self._retry_later(offer, file)
            elif file is None:
                offer.peer.send(m.OutputKept(*offer.key))
            elif offer.peer.is_closing:
                file.close()
            else:
                self._start_transfer(offer, file)
        self._wake.set()

    def _check_machine(self, machines: Mapping[tuple[int, int], int], offer: Offer) -> bool:
        """Return whether the attempt ran on the machine that offers its output."""
        key, peer = offer.key, offer.peer
        machine_id = machines.get((key.job, key.n))
        if machine_id is None:
            # The job was pruned or the store restored: nobody can request this output any more.
            self._log_false(offer, logging.INFO, "%s may delete the output of unknown job %d%s")
            peer.send(m.OutputKept(*key))
        elif machine_id != peer.machine_id:
            what = "%s offered output of job %d, which ran elsewhere%s"
            self._log_false(offer, logging.WARNING, what)
        return machine_id == peer.machine_id

    def _log_false(self, offer: Offer, level: int, what: str) -> None:
        name, job, connection = offer.peer.name, offer.key.job, offer.peer.connection_id
        if offer.peer.is_closing:
            return
        self._false_counts[connection] += 1
        if (count := self._false_counts[connection]) <= _MAX_LOGGED:
            more = "; others of this connection are not logged" if count == _MAX_LOGGED else ""
            log.log(level, what, name, job, more, extra={"machine": name, "job": job})

    def _open_files(self, offers: list[Offer]) -> list[PartialFile | OSError | None]:
        opened: list[PartialFile | OSError | None] = []
        for offer in offers:
            try:
                opened.append(self._spool.open_partial(offer.key, offer.kept_bytes))
            except OSError as error:
                opened.append(error)
        return opened

    def _start_transfer(self, offer: Offer, file: PartialFile) -> None:
        transfer = SpoolTransfer(self._transfers.next_number(), offer, file, self._wake)
        self._active[offer.key] = transfer
        self._transfers.add(transfer)
        fetch = m.OutputFetch(transfer.number, *offer.key, offset=file.size, kept=True)
        offer.peer.send(fetch)

    async def _write_received(self) -> None:
        work = [
            (t, t.unwritten, t.end_message)
            for t in self._active.values()
            if t.unwritten or t.end_message
        ]
        for transfer, _, _ in work:
            transfer.unwritten = []
        if not work:
            return
        failed = await self._run_in_thread(self._write_and_sync, work)
        for transfer, pieces, end in work:
            if error := failed.get(transfer.file.key):
                self._abort_transfer(transfer, error)
            elif end is None:
                transfer.release_bytes(sum(map(len, pieces)))
            else:
                self._finish_transfer(transfer, end)

    def _write_and_sync(
        self, work: list[tuple[SpoolTransfer, list[bytes], m.OutputEnd | None]]
    ) -> dict[OutputKey, OSError]:
        """Write received bytes and make complete files durable; return errors by output stream.

        Runs in the writer thread.
        """
        failed: dict[OutputKey, OSError] = {}
        complete: list[PartialFile] = []
        for transfer, pieces, end in work:
            file = transfer.file
            try:
                file.write(b"".join(pieces))
            except OSError as error:
                failed[file.key] = error
                continue
            if end is not None and transfer.is_complete:
                complete.append(file)
            elif end is not None:
                file.close()
        try:
            self._spool.commit(complete)
        except OSError as error:
            # After a failed fsync the content on disk is unknown: delete the files, so that their
            # output is fetched again from its beginning.
            for file in complete:
                self._spool.discard_partial(file.key)
                failed[file.key] = error
        return failed

    def _finish_transfer(self, transfer: SpoolTransfer, end: m.OutputEnd) -> None:
        key = transfer.file.key
        del self._active[key]
        if transfer.is_complete:
            transfer.peer.send(m.OutputKept(*key))
        elif end.error != CONNECTION_LOST:
            reason = end.error or "the agent sent too few bytes"
            log.warning(
                "cannot collect output of job %d: %s", key.job, reason, extra={"job": key.job}
            )
            self._spool.discard_partial(key)
        self._wake.set()

    def _abort_transfer(self, transfer: SpoolTransfer, error: OSError) -> None:
        del self._active[transfer.file.key]
        self._transfers.stop(transfer)
        transfer.file.close()
        self._retry_later(transfer.offer, error)

    def _retry_later(self, offer: Offer, error: Exception) -> None:
        log.warning(
            "cannot collect output of job %d into %s, trying again in %g s: %s",
            offer.key.job,
            self._spool.path(offer.key),
            RETRY_S,
            getattr(error, "strerror", None) or error,
            extra={"job": offer.key.job},
        )
        asyncio.get_running_loop().call_later(RETRY_S, self.add_offer, offer)

    async def _run_in_thread(self, function: Callable[[A], T], argument: A) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, argument)
