"""The store's thread: takes all that has arrived, runs one turn, commits, hands on what it says."""

from __future__ import annotations

import logging
import queue
import threading
from asyncio import Future
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.errors import MythJobsError, StoreAway, StoreFailed, StoreFull, Taken
from mythjobs.master import requests
from mythjobs.master.core import Core, Result
from mythjobs.store.open import Store
from mythjobs.store.statement import Transaction

_log = logging.getLogger("mythjobs.master")

# Enough to share one fsync among all that a busy moment brings, few enough to keep a turn short.
_MOST_TOGETHER: Final = 512
_RETRY_MS: Final = 1000
# A job may wait for a year that no wait of the system knows.
_LONGEST_S: Final = 3600.0

# After these nothing is written any more.
_LAST: Final = (StoreFailed, Taken)
# What is refused while the disk is full: the rest is needed to finish what runs.
_GROWS: Final = (
    requests.SubmitJob
    | requests.BeginBatch
    | requests.BatchSlice
    | requests.RerunJobs
    | requests.Define
)
_NO_ROOM: Final = "the disk of the store is full; make room there, then ask again"


@dataclass(slots=True)
class Arrived:
    """One thing in the inbox; `answer` is for requests."""

    what: requests.Request | requests.Message
    answer: Future[Any] | None = None


@dataclass(slots=True)
class Committed:
    """A turn that is durable, or has failed: what to say, and to whom.

    `result` is None after a failure, `answers` then hold the exception. `broken` are
    connections that end, for a message that could not be handled.
    """

    result: Result | None
    answers: list[tuple[Future[Any], Any]]
    completed: list[int] = field(default_factory=list)  # batches
    broken: list[int] = field(default_factory=list)


class Turns:
    """Runs turns on a thread of its own until closed.

    `committed` is called on that thread after each commit, `failed` once if the store or the
    core cannot go on. Futures are only handed through: they belong to the caller's loop.
    """

    def __init__(
        self,
        store: Store,
        core: Core,
        clock: Callable[[], Now],
        *,
        committed: Callable[[Committed], None],
        failed: Callable[[BaseException], None],
    ) -> None:
        self._store = store
        self._core = core
        self._clock = clock
        self._committed = committed
        self._failed = failed
        self._told = ""  # what is being waited out
        self._rests = False
        self._inbox: queue.SimpleQueue[Arrived | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="turns", daemon=True)

    def start(self) -> None:
        self._store.transact(lambda tx: self._core.load(tx, self._clock()))
        self._thread.start()

    def ask(self, request: requests.Request, answer: Future[Any]) -> None:
        """The answer is handed on after the commit, or the MythJobsError why not."""
        self._inbox.put(Arrived(request, answer))

    def post(self, message: requests.Message) -> None:
        self._inbox.put(Arrived(message))

    def close(self) -> None:
        """Carries out what has arrived, then ends. Blocks until the last commit."""
        self._inbox.put(None)
        if self._thread.ident is not None:  # else its start failed, by the store's fault
            self._thread.join()

    def _run(self) -> None:
        arrived: list[Arrived] = []
        try:
            while self._take(arrived):
                self._turn(arrived)
                arrived = []
            if arrived:
                self._turn(arrived)
        except BaseException as error:
            self._refuse(arrived, error)
            self._failed(error)

    def _take(self, arrived: list[Arrived]) -> bool:
        """Waits for the first thing, then takes what is there too. False when it is over."""
        try:
            first = self._inbox.get(timeout=self._wait_s())
            while first is not None:
                arrived.append(first)
                if len(arrived) >= _MOST_TOGETHER:
                    return True
                first = self._inbox.get_nowait()
            return False
        except queue.Empty:
            return True

    def _wait_s(self) -> float | None:
        memory = self._core.memory
        if self._rests:
            return _RETRY_MS / 1000
        if memory.upkeep:
            return 0.0
        if memory.next_due_ms is None:
            return None
        left_s = max(memory.next_due_ms - self._clock().wall_ms, 0) / 1000
        return min(left_s, _LONGEST_S)

    def _turn(self, arrived: list[Arrived]) -> None:
        """Handles and removes what arrived; while the store cannot take it, waits with it."""
        together = True
        while True:
            try:
                if not self._store.has_room():
                    self._refuse_those(arrived, _GROWS, StoreFull(_NO_ROOM))
                if together:
                    self._together(arrived)
                    arrived.clear()
                while arrived:
                    self._alone(arrived[0])
                    del arrived[0]
                break
            except _LAST:
                raise
            except (StoreFull, StoreAway) as error:
                self._wait_out(arrived, error)
            except Exception as error:
                if not arrived:
                    self._rest(error)
                    return
                if not together:
                    raise
                _log.exception("a turn was rolled back; its messages run again one by one")
                together = False
        self._told, self._rests = "", False
        self._store.checkpoint()

    def _rest(self, error: Exception) -> None:
        """What was due could not be done, and nobody's message is at fault: said once, and tried
        again every second."""
        self._rests = True
        if self._told != (told := repr(error)):
            self._told = told
            _log.exception("what is due cannot be done; it is tried again every second")

    def _wait_out(self, arrived: list[Arrived], error: StoreFull | StoreAway) -> None:
        """Who asked is told at once; what machines said is kept until it can be written."""
        if isinstance(error, StoreFull) and self._refuse_those(arrived, _GROWS, error):
            return
        if self._told != error.sentence:
            self._told = error.sentence
            _log.warning("%s; tried again every second", error.sentence)
        until_ms = self._clock().steady_ms + _RETRY_MS
        while True:
            self._refuse_those(arrived, requests.Request, error)
            try:
                left_s = max(until_ms - self._clock().steady_ms, 0) / 1000
                more = self._inbox.get(timeout=left_s)
            except queue.Empty:
                return
            if more is None:
                raise error
            arrived.append(more)

    def _refuse_those(self, arrived: list[Arrived], kind: Any, error: MythJobsError) -> bool:
        """Whether there were any."""
        those = [each for each in arrived if isinstance(each.what, kind)]
        if those:
            arrived[:] = [each for each in arrived if not isinstance(each.what, kind)]
            self._refuse(those, error)
        return bool(those)

    def _together(self, arrived: Sequence[Arrived], broken: Sequence[int] = ()) -> None:
        tries = 0

        def body(tx: Transaction) -> Result:
            nonlocal tries
            tries += 1
            if tries > 1:
                self._core.book.clear()
            return self._core.turn(tx, [each.what for each in arrived], self._clock())

        try:
            result, completed = self._store.transact(body)
        except BaseException:
            self._core.book.clear()
            raise
        self._core.memory = result.memory
        answers = [
            (asked, answer)
            for number, answer in result.answers.items()
            if (asked := arrived[number].answer) is not None
        ]
        self._committed(Committed(result, answers, completed, list(broken)))

    def _alone(self, each: Arrived) -> None:
        try:
            self._together([each])
        except (*_LAST, StoreFull, StoreAway):
            raise
        except Exception as error:
            _log.exception("one message could not be handled")
            self._refuse([each], error)
            if isinstance(each.what, requests.AgentSaid):
                # The fault may be the connection's own; it ends, and the machine comes again.
                connection = each.what.connection
                self._together([Arrived(requests.Detached(connection))], [connection])

    def _refuse(self, arrived: Sequence[Arrived], error: BaseException) -> None:
        answers = [(each.answer, error) for each in arrived if each.answer is not None]
        self._committed(Committed(None, answers))
