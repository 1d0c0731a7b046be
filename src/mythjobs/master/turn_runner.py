"""Turn runner: thread that runs queued requests and messages in turns, each one transaction."""

from __future__ import annotations

import logging
import queue
import threading
import time
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Final

import msgspec

from mythjobs.clock import Now
from mythjobs.errors import AlreadyRunning, MythJobsError, StoreFailed, StoreFull, StoreUnavailable
from mythjobs.master import requests
from mythjobs.master.core import MasterCore, TurnResult
from mythjobs.master.inbox import Arrival, Inbox
from mythjobs.master.isolation import OwnWork, describe_error
from mythjobs.master.metrics.observation import CountingCursor, TurnCost
from mythjobs.master.schedules import requests as schedule_requests
from mythjobs.protocol.messages import AgentMessage, Heartbeat
from mythjobs.store.open import Store
from mythjobs.store.transaction import RetryTransaction, Transaction

_log = logging.getLogger("mythjobs.master")

_RETRY_MS: Final = 1000
# Maximum time to wait for the next timer, then wait again. A job's start time can be so far away
# that queue.get() rejects the whole time as a timeout.
_MAX_WAIT_S: Final = 3600.0
# The same while there are schedules: a timeout does not count the time that the machine is
# suspended, nor does it notice that the clock is set.
_CLOCK_CHECK_S: Final = 60.0

# Errors of the store. The master stops after StoreFailed and AlreadyRunning; after the other
# errors it waits and tries again.
_STORE_ERRORS: Final = (StoreFailed, AlreadyRunning, StoreFull, StoreUnavailable)
_OWN_WORK: Final = (
    OwnWork.UPKEEP,
    OwnWork.DUE_JOBS,
    OwnWork.DEADLINES,
    OwnWork.DEFERRALS,
    OwnWork.SCHEDULES,
    OwnWork.PLACEMENT,
)
# Requests that are rejected while the store's disk is full, because they add data. The other
# requests are needed to finish running jobs.
_GROWING: Final = (
    requests.SubmitJob
    | requests.BeginBatch
    | requests.BatchSlice
    | requests.RerunJobs
    | requests.SetJobs
    | requests.DefineCommand
    | schedule_requests.DefineSchedule
    | schedule_requests.RunSchedule
    | schedule_requests.BackfillSchedule
)


@dataclass(slots=True)
class CommittedTurn:
    """A turn that was committed or has failed.

    After a failure `result` is None, and all responses are errors.
    failed_connections: connections to close, because a message on them could not be handled.
    """

    result: TurnResult | None
    responses: list[tuple[Future[Any], Any]]
    completed_batches: list[int] = field(default_factory=list)
    failed_connections: list[int] = field(default_factory=list)


class TurnRunner:
    """Runs turns on its own thread until closed.

    `on_commit` is called on that thread after each commit, `on_failure` once after a fatal error
    of the store or the core. The futures of requests belong to the caller's event loop: this thread
    only passes them to `on_commit`.
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
        self._logged: set[str] = set()  # errors logged since the last successful turn
        self._is_backing_off = False
        self._inbox = Inbox()
        self._thread = threading.Thread(target=self._run, name="turns", daemon=True)

    def start(self) -> None:
        self._store.run_transaction(lambda tx: self._core.load(tx, self._clock()))
        for what, error in self._core.state.problems:
            self._log_once(what, error)
        if full := self._store.describe_full_disk():
            _log.warning("%s", full)
        self._thread.start()

    def put_request(self, request: requests.Request, future: Future[Any]) -> None:
        """Queue a request; `on_commit` gets its response, or the MythJobsError it failed with."""
        self._inbox.put(Arrival(request, future))

    def put_message(self, message: requests.Message) -> None:
        self._inbox.put(Arrival(message))

    def close(self) -> None:
        """Process the queue, then stop. Blocks until the last commit."""
        self._inbox.put(None)
        if self._thread.ident is not None:  # None: start() failed before the thread started
            self._thread.join()

    def _run(self) -> None:
        arrived: list[Arrival] = []
        try:
            while self._inbox.receive(arrived, self._wait_s()):
                self._process(arrived)
                arrived = []
            if arrived:
                self._process(arrived)
        except BaseException as error:
            self._reject(arrived, error)
            self._on_failure(error)

    def _wait_s(self) -> float | None:
        state = self._core.state
        if self._is_backing_off:
            return _RETRY_MS / 1000
        if state.has_upkeep:
            return 0.0
        if state.next_due_ms is None:
            return _CLOCK_CHECK_S if state.schedules.by_id else None
        left_s = max(state.next_due_ms - self._clock().wall_ms, 0) / 1000
        return min(left_s, _CLOCK_CHECK_S if state.schedules.by_id else _MAX_WAIT_S)

    def _process(self, arrived: list[Arrival]) -> None:
        """Handle and remove all arrivals; wait while the store is full or unavailable.

        An internal error never ends this thread: a restart of the master does not help, because
        the same rows cause the same error.
        """
        self._is_backing_off = False
        while True:
            try:
                if not self._store.has_free_space():
                    full = self._store.describe_full_disk()
                    error = StoreFull(f"{full}; free space there, then try again")
                    self._reject_kind(arrived, _GROWING, error)
                if not self._run_together(arrived):
                    self._run_apart(arrived)
                break
            except (StoreFull, StoreUnavailable) as error:
                self._wait_for_store(arrived, error)
        if not self._is_backing_off:
            self._logged.clear()
        self._store.checkpoint()

    def _run_together(self, arrived: list[Arrival]) -> bool:
        """Run one turn for all arrivals. Return False if it was rolled back.

        If one unit of the turn's work (such as a job class) caused the rollback, the unit is set
        aside and the turn runs again.
        """
        while True:
            try:
                self._run_turn(arrived)
                arrived.clear()
                return True
            except _STORE_ERRORS:
                raise
            except Exception as error:
                if not self._set_aside(error):
                    if arrived:
                        self._log_once("turn rolled back; running its messages one by one", error)
                    return False

    def _run_apart(self, arrived: list[Arrival]) -> None:
        """Run each arrival, and each kind of OwnWork (such as placement), in a turn of its own."""
        while arrived:
            self._run_single(arrived[0])
            del arrived[0]
        for work in _OWN_WORK:
            self._run_own_work(work)

    def _run_own_work(self, work: OwnWork) -> None:
        while True:
            try:
                self._run_turn([], work=work)
                return
            except _STORE_ERRORS:
                raise
            except Exception as error:
                if not self._set_aside(error):
                    self._is_backing_off = True
                    name = str(work.name).lower().replace("_", " ")
                    self._log_once(f"{name} failed; retrying every second", error)
                    return

    def _set_aside(self, error: Exception) -> bool:
        if isinstance(error, RetryTransaction):
            return False
        unit = self._core.set_failed_unit_aside(error, self._clock())
        if unit is None:
            return False
        self._log_once(f"set aside {unit.kind} {unit.number} after an internal error", error)
        return True

    def _log_once(self, what: str, error: Exception) -> None:
        """Log an error, unless it was logged since the last successful turn: with its traceback if
        it is an internal error."""
        if (key := f"{what}: {error!r}") not in self._logged:
            self._logged.add(key)
            if isinstance(error, MythJobsError):
                _log.warning("%s: %s", what, error.sentence)
            else:
                _log.error("%s", what, exc_info=error)

    def _wait_for_store(self, arrived: list[Arrival], error: StoreFull | StoreUnavailable) -> None:
        """Wait a second before the store is tried again.

        Requests are rejected at once; messages of agents are kept until they can be stored.
        """
        if isinstance(error, StoreFull) and self._reject_kind(arrived, _GROWING, error):
            return
        if error.sentence not in self._logged:
            self._logged.add(error.sentence)
            _log.warning("%s; retrying every second", error.sentence)
        until_ms = self._clock().steady_ms + _RETRY_MS
        while True:
            self._reject_kind(arrived, requests.Request, error)
            try:
                left_s = max(until_ms - self._clock().steady_ms, 0) / 1000
                has_ended = not self._inbox.receive_one(arrived, left_s)
            except queue.Empty:
                return
            if has_ended:
                raise error

    def _reject_kind(
        self, arrived: list[Arrival], kind: type | UnionType, error: MythJobsError
    ) -> bool:
        """Reject and remove all queued requests of a kind. Return whether there were any."""
        rejected = [each for each in arrived if isinstance(each.item, kind)]
        if rejected:
            arrived[:] = [each for each in arrived if not isinstance(each.item, kind)]
            self._reject(rejected, error)
        return bool(rejected)

    def _run_turn(
        self,
        arrived: Sequence[Arrival],
        failed_connections: Sequence[int] = (),
        work: OwnWork = OwnWork.ALL,
    ) -> None:
        tries = 0
        cursor: CountingCursor | None = None
        began_s = time.perf_counter() if self._core.is_measured else None

        def body(tx: Transaction) -> TurnResult:
            nonlocal tries, cursor
            tries += 1
            if began_s is not None:
                tx.cursor = cursor = CountingCursor(tx.cursor)
            if tries > 1:
                self._core.clear_caches()
            return self._core.run_turn(tx, [each.item for each in arrived], self._clock(), work)

        try:
            result, completed = self._store.run_transaction(body)
        except BaseException:
            self._core.clear_caches()
            raise
        self._core.state = result.state
        if result.observations is not None and began_s is not None and cursor is not None:
            cost = TurnCost(time.perf_counter() - began_s, cursor.statements)
            result.observations.append(cost)
        for what, error in result.problems:
            self._log_once(what, error)
        responses = [
            (future, response)
            for number, response in result.responses.items()
            if (future := arrived[number].future) is not None
        ]
        self._on_commit(CommittedTurn(result, responses, completed, list(failed_connections)))

    def _run_single(self, each: Arrival) -> None:
        try:
            self._run_turn([each], work=OwnWork.NONE)
        except _STORE_ERRORS:
            raise
        except Exception as error:
            if isinstance(each.item, requests.FrameReceived):
                self._run_messages(each.item, error)
            else:
                self._log_once(f"cannot handle a {type(each.item).__name__}", error)
                self._reject([each], error)

    def _run_messages(self, received: requests.FrameReceived, error: Exception) -> None:
        """Handle each message of a frame in a separate turn, after a turn with all of them failed.

        A message that violates the protocol closes the connection. A message that the master fails
        to handle is skipped, because the agent repeats a message until it is acknowledged.
        """
        connection, frame = received.connection, received.frame
        for number, message in enumerate(frame.messages, 1):
            # Acknowledge the frame after its last message; before that, only the frame before it.
            no = frame.no if number == len(frame.messages) else frame.no - 1
            part = msgspec.structs.replace(frame, no=no, messages=[message])
            try:
                self._run_turn(
                    [Arrival(requests.FrameReceived(connection, part))], work=OwnWork.NONE
                )
            except _STORE_ERRORS:
                raise
            except Exception as failure:
                self._log_once(f"cannot handle a {type(message).__name__} message", failure)
                if not self._skip_message(connection, no, message, failure):
                    self._close_connection(connection)
                    return
        if not frame.messages:
            self._log_once("cannot handle an empty frame", error)
            self._close_connection(connection)

    def _skip_message(
        self, connection: int, no: int, message: AgentMessage, error: Exception
    ) -> bool:
        """Skip a message that the master failed to handle.

        Return False if the connection has to be closed instead.
        """
        if isinstance(error, MythJobsError) or isinstance(message, Heartbeat):
            return False
        failed = requests.FailedMessage(connection, no, message, describe_error(error))
        try:
            self._run_turn([Arrival(failed)], work=OwnWork.NONE)
        except _STORE_ERRORS:
            raise
        except Exception as failure:
            self._log_once(f"cannot skip a {type(message).__name__} message", failure)
            return False
        return True

    def _close_connection(self, connection: int) -> None:
        """Detach a machine and close its connection; the agent reconnects."""
        try:
            self._run_turn(
                [Arrival(requests.Detached(connection))], [connection], work=OwnWork.NONE
            )
        except _STORE_ERRORS:
            raise
        except Exception as error:
            self._log_once("cannot detach a machine", error)
            self._on_commit(CommittedTurn(None, [], [], [connection]))

    def _reject(self, arrived: Sequence[Arrival], error: BaseException) -> None:
        responses = [(each.future, error) for each in arrived if each.future is not None]
        self._on_commit(CommittedTurn(None, responses))
