"""Loop that processes MythTV's queue at intervals, or at once when it is woken."""

from __future__ import annotations

import logging
import threading
from abc import ABC, abstractmethod

from mythjobs.errors import MythJobsError
from mythjobs.mythtv.bridge.state_files import StatusFile

log = logging.getLogger(__name__)


class QueueLoop(ABC):
    """Base class of the loops with MythTV's database and without it."""

    def __init__(self, poll_s: float, status: StatusFile) -> None:
        self._poll_s = poll_s
        self._status = status
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
