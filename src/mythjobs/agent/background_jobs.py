"""Jobs that run at low priority: what the kernel needs beyond a nice value and an I/O class."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Final

from mythjobs.agent.core.attempt import Key

_LOWEST: Final = "19"


class BackgroundJobs:
    """Lowers the priority of jobs once they have started.

    With CONFIG_SCHED_AUTOGROUP, which most kernels have, a nice value counts only among the
    processes of one session: a job, which has a session of its own, gets as much of a core at nice
    19 as a program of another session at nice 0. The session itself has a nice value, too
    (sched(7)). A user without CAP_SYS_ADMIN may set one in 0.1 s, so the rest is tried again.
    """

    def __init__(self) -> None:
        self._starting: set[Key] = set()
        self._waiting: dict[Key, int] = {}

    def add(self, key: Key) -> None:
        """Note that a job is being started at low priority."""
        self._starting.add(key)

    def on_started(self, key: Key, pid: int) -> None:
        if key not in self._starting:
            return
        self._starting.discard(key)
        # Its children inherit this. The program may be gone already.
        with suppress(OSError):
            os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        self._waiting[key] = pid
        self.retry()

    def on_ended(self, key: Key) -> None:
        self._starting.discard(key)
        self._waiting.pop(key, None)

    def retry(self) -> None:
        """Lower the sessions that could not be lowered at their start."""
        for key, pid in list(self._waiting.items()):
            try:
                lower_session(pid)
            except BlockingIOError:
                return
            except OSError:
                pass  # the kernel has no such groups, or the job is gone
            del self._waiting[key]


def lower_session(pid: int) -> None:
    """Give the session of a process the lowest priority. Raises OSError."""
    with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as file:
        file.write(_LOWEST)
