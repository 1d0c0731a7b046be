"""Turn runner: the store's thread, which runs queued requests and messages in transactions."""

from __future__ import annotations

import logging
import queue
import threading
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.errors import AlreadyRunning, MythJobsError, StoreFailed, StoreFull, StoreUnavailable
from mythjobs.master import requests
from mythjobs.master.core import MasterCore, TurnResult
from mythjobs.store.open import Store
from mythjobs.store.transaction import Transaction

_log = logging.getLogger("mythjobs.master")

# Enough to share one fsync in a burst, few enough to keep a turn short.
_MAX_BATCH: Final = 512
_RETRY_MS: Final = 1000
# A job's start time may be so far away that the system rejects it as a timeout.
_MAX_WAIT_S: Final = 3600.0

# The master stops after these errors.
_FATAL: Final = (StoreFailed, AlreadyRunning)
# Rejected while the disk is full. The other requests are needed to finish running jobs.
_GROWING: Final = (
    requests.SubmitJob
    | requests.BeginBatch
    | requests.BatchSlice
    | requests.RerunJobs
    | requests.DefineCommand
)
_DISK_FULL: Final = "the disk of the store is full; free space there, then try again"


@dataclass(slots=True)
class Arrival:
    """An item of the queue; a request has a `future` for its response."""

    item: requests.Request | requests.Message
    future: Future[Any] | None = None


@dataclass(slots=True)
class CommittedTurn:
    """A turn that is durable, or has failed; then `result` is None and the responses are errors.

    failed_connections: to be closed, because a message on them could not be handled.
    """

    result: TurnResult | None
    responses: list[tuple[Future[Any], Any]]
    completed_batches: list[int] = field(default_factory=list)
    failed_connections: list[int] = field(default_factory=list)


class TurnRunner:
    """Runs turns on its own thread until closed.

    `on_commit` is called on that thread after each commit, `on_failure` once after a fatal error
    of the store or the core. Futures belong to the caller's event loop and are only passed on.
    """

    def __init__(
        self,
        store: Store,
        core: MasterCore,
        clock: Callable[[], Now],
        *,
        on_commit: Callable[[CommittedTurn], None],
        on_failure: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._core = core
        self._clock = clock
        self._on_commit = on_commit
        self._on_failure = on_failure
        self._logged_error = ""  # logged once while turns are retried
        self._is_backing_off = False
        self._inbox: queue.SimpleQueue[Arrival | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="turns", daemon=True)

    def start(self) -> None:
        self._store.run_transaction(lambda tx: self._core.load(tx, self._clock()))
        self._thread.start()

    def put_request(self, request: requests.Request, future: Future[Any]) -> None:
        """Queue a request; `on_commit` gets its response, or the MythJobsError it failed with."""
        self._inbox.put(Arrival(request, future))

    def put_message(self, message: requests.Message) -> None:
        self._inbox.put(Arrival(message))

    def close(self) -> None:
        """Process the queue, then stop. Blocks until the last commit."""
        self._inbox.put(None)
        if self._thread.ident is not None:  # None: start() failed at the store
            self._thread.join()

    def _run(self) -> None:
        arrived: list[Arrival] = []
        try:
            while self._receive(arrived):
                self._process(arrived)
                arrived = []
            if arrived:
                self._process(arrived)
        except BaseException as error:
            self._reject(arrived, error)
            self._on_failure(error)

    def _receive(self, arrived: list[Arrival]) -> bool:
        """Wait for an item, then take all that are queued. Return False after close()."""
        try:
            first = self._inbox.get(timeout=self._wait_s())
            while first is not None:
                arrived.append(first)
                if len(arrived) >= _MAX_BATCH:
                    return True
                first = self._inbox.get_nowait()
            return False
        except queue.Empty:
            return True

    def _wait_s(self) -> float | None:
        state = self._core.state
        if self._is_backing_off:
            return _RETRY_MS / 1000
        if state.has_batch_upkeep:
            return 0.0
        if state.next_due_ms is None:
            return None
        left_s = max(state.next_due_ms - self._clock().wall_ms, 0) / 1000
        return min(left_s, _MAX_WAIT_S)

    def _process(self, arrived: list[Arrival]) -> None:
        """Handle and remove all arrivals; wait while the store is full or unavailable."""
        together = True
        while True:
            try:
                if not self._store.has_free_space():
                    self._reject_kind(arrived, _GROWING, StoreFull(_DISK_FULL))
                if together:
                    self._run_turn(arrived)
                    arrived.clear()
                while arrived:
                    self._run_single(arrived[0])
                    del arrived[0]
                break
            except _FATAL:
                raise
            except (StoreFull, StoreUnavailable) as error:
                self._wait_for_store(arrived, error)
            except Exception as error:
                if not arrived:
                    self._back_off(error)
                    return
                if not together:
                    raise
                _log.exception("turn rolled back; retrying its messages one by one")
                together = False
        self._logged_error, self._is_backing_off = "", False
        self._store.checkpoint()

    def _back_off(self, error: Exception) -> None:
        """Log once that timers, upkeep or placement failed; the next turn is in a second."""
        self._is_backing_off = True
        if self._logged_error != (text := repr(error)):
            self._logged_error = text
            _log.exception("timers or placement failed; retrying every second")

    def _wait_for_store(self, arrived: list[Arrival], error: StoreFull | StoreUnavailable) -> None:
        """Reject requests at once; keep messages of agents until they can be stored."""
        if isinstance(error, StoreFull) and self._reject_kind(arrived, _GROWING, error):
            return
        if self._logged_error != error.sentence:
            self._logged_error = error.sentence
            _log.warning("%s; retrying every second", error.sentence)
        until_ms = self._clock().steady_ms + _RETRY_MS
        while True:
            self._reject_kind(arrived, requests.Request, error)
            try:
                left_s = max(until_ms - self._clock().steady_ms, 0) / 1000
                more = self._inbox.get(timeout=left_s)
            except queue.Empty:
                return
            if more is None:
                raise error
            arrived.append(more)

    def _reject_kind(self, arrived: list[Arrival], kind: Any, error: MythJobsError) -> bool:
        """Reject and remove all arrivals of a kind. Return whether there were any."""
        rejected = [each for each in arrived if isinstance(each.item, kind)]
        if rejected:
            arrived[:] = [each for each in arrived if not isinstance(each.item, kind)]
            self._reject(rejected, error)
        return bool(rejected)

    def _run_turn(self, arrived: Sequence[Arrival], failed_connections: Sequence[int] = ()) -> None:
        tries = 0

        def body(tx: Transaction) -> TurnResult:
            nonlocal tries
            tries += 1
            if tries > 1:
                self._core.clear_caches()
            return self._core.run_turn(tx, [each.item for each in arrived], self._clock())

        try:
            result, completed = self._store.run_transaction(body)
        except BaseException:
            self._core.clear_caches()
            raise
        self._core.state = result.state
        responses = [
            (future, response)
            for number, response in result.responses.items()
            if (future := arrived[number].future) is not None
        ]
        self._on_commit(CommittedTurn(result, responses, completed, list(failed_connections)))

    def _run_single(self, each: Arrival) -> None:
        try:
            self._run_turn([each])
        except (*_FATAL, StoreFull, StoreUnavailable):
            raise
        except Exception as error:
            _log.exception("cannot handle a %s", type(each.item).__name__)
            self._reject([each], error)
            if isinstance(each.item, requests.FrameReceived):
                # The agent may have sent an invalid frame: close the connection, it reconnects.
                connection = each.item.connection
                self._run_turn([Arrival(requests.Detached(connection))], [connection])

    def _reject(self, arrived: Sequence[Arrival], error: BaseException) -> None:
        responses = [(each.future, error) for each in arrived if each.future is not None]
        self._on_commit(CommittedTurn(None, responses))
