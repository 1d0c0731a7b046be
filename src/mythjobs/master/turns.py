"""The store's thread: takes all that has arrived, runs one turn, commits, hands on what it says."""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.errors import MythJobsError, StoreFailed
from mythjobs.master import inbox
from mythjobs.master.core import Core, Result
from mythjobs.store.open import Store

_log = logging.getLogger("mythjobs.master")

# Enough to share one fsync among all that a busy moment brings, few enough to keep a turn short.
_MOST_TOGETHER: Final = 512


@dataclass(slots=True)
class Arrived:
    """One thing in the inbox; `answer` is for requests."""

    what: inbox.Request | inbox.Message
    answer: Future[Any] | None = None


@dataclass(slots=True)
class Committed:
    """A turn that is durable: what it says, and connections that broke the protocol."""

    result: Result
    completed: list[int]  # batches
    broken: dict[int, str]


class Turns:
    """Runs turns on a thread of its own until closed.

    `committed` is called on that thread after each commit, `failed` once if the store or the
    core cannot go on.
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
        self._inbox: queue.SimpleQueue[Arrived | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="turns", daemon=True)

    def start(self) -> None:
        with self._store.turn() as tx:
            self._core.load(tx, self._clock())
        self._thread.start()

    def ask(self, request: inbox.Request) -> Future[Any]:
        """The answer comes after the commit, or the MythJobsError why not."""
        answer: Future[Any] = Future()
        self._inbox.put(Arrived(request, answer))
        return answer

    def post(self, message: inbox.Message) -> None:
        self._inbox.put(Arrived(message))

    def close(self) -> None:
        """Carries out what has arrived, then ends. Blocks until the last commit."""
        self._inbox.put(None)
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
            _refuse(arrived, error)
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
        if memory.upkeep:
            return 0.0
        if memory.next_due_ms is None:
            # Nothing is due: a good moment to move the log into the file.
            if self._inbox.empty():
                self._store.checkpoint()
            return None
        return max(memory.next_due_ms - self._clock().wall_ms, 0) / 1000

    def _turn(self, arrived: Sequence[Arrived]) -> None:
        try:
            self._together(arrived, {})
        except StoreFailed:
            raise
        except Exception:
            _log.exception("a turn was rolled back; its messages run again one by one")
            for each in arrived:
                self._alone(each)
        self._store.checkpoint()

    def _together(self, arrived: Sequence[Arrived], broken: dict[int, str]) -> None:
        try:
            with self._store.turn() as tx:
                result = self._core.turn(tx, [each.what for each in arrived], self._clock())
        except BaseException:
            self._core.book.clear()
            raise
        self._core.memory = result.memory
        for number, answer in result.answers.items():
            _answer(arrived[number], answer)
        self._committed(Committed(result, tx.completed, broken))

    def _alone(self, each: Arrived) -> None:
        try:
            self._together([each], {})
        except StoreFailed:
            raise
        except Exception as error:
            _log.exception("one message could not be handled")
            _refuse([each], error)
            if isinstance(each.what, inbox.AgentSaid):
                # The fault may be the connection's own; it ends, and the machine comes again.
                self._together(
                    [Arrived(inbox.Detached(each.what.connection))],
                    {each.what.connection: str(error)},
                )


def _answer(arrived: Arrived, answer: Any) -> None:
    if arrived.answer is None:
        return
    if isinstance(answer, MythJobsError):
        arrived.answer.set_exception(answer)
    else:
        arrived.answer.set_result(answer)


def _refuse(arrived: Sequence[Arrived], error: BaseException) -> None:
    for each in arrived:
        if each.answer is not None and not each.answer.done():
            each.answer.set_exception(error)
