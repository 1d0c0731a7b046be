"""Loop that processes MythTV's queue at intervals, or at once when it is woken."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection

from mythjobs.errors import MythJobsError
from mythjobs.mythtv.bridge.state_files import StatusFile

log = logging.getLogger(__name__)


class QueueLoop(ABC):
    """Base class of the loops with MythTV's database and without it."""

    def __init__(self, poll_s: float, status: StatusFile) -> None:
        self._poll_s = poll_s
        self._status = status
        self._faulty: set[int] = set()
        self._stop = threading.Event()
        self._wake = threading.Event()

    @abstractmethod
    def look_once(self) -> bool:
        """Process the queue once. Return whether to repeat that at once.

        Raises MythJobsError.
        """

    def run(self) -> None:
        """Process the queue every `poll_s` seconds until `stop()`."""
        last = ""
        while not self._stop.is_set():
            try:
                while self.look_once():
                    pass
                last = ""
            except MythJobsError as error:
                if error.sentence != last:
                    last = error.sentence
                    log.warning("MythTV's queue: %s", last)
            self._status.update(table=last)
            self._wake.wait(self._poll_s)
            self._wake.clear()

    def stop(self) -> None:
        self._stop.set()
        self._wake.set()

    def wake(self) -> None:
        """Process the queue at once, because MythTV has probably queued jobs."""
        self._wake.set()

    def report_row(self, row_id: int, sentence: str, now_ms: int) -> None:
        """Report a problem of a row, once while it is the same."""
        self._faulty.add(row_id)
        if self._status.add_problem(_name(row_id), sentence, now_ms):
            log.warning("%s: %s", _name(row_id), sentence)

    def solve_row(self, row_id: int) -> None:
        if row_id in self._faulty:
            self._faulty.remove(row_id)
            self._status.solve_problem(_name(row_id))

    def forget_rows(self, present: Collection[int]) -> None:
        """Report problems of rows that are gone no more."""
        for row_id in self._faulty - set(present):
            self.solve_row(row_id)


def _name(row_id: int) -> str:
    return f"MythTV's job {row_id}"
