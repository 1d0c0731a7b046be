"""Jobs that run at low priority: what the kernel needs beyond a nice value and an I/O class."""

from __future__ import annotations

import os
from contextlib import suppress

from mythjobs.agent.core.attempt import Key


class BackgroundJobs:
    """Lowers the priority of jobs once they have started.

    With CONFIG_SCHED_AUTOGROUP, which most kernels have, a nice value counts only among the
    processes of one session: a job, which has a session of its own, gets as much of a core at nice
    19 as a program of another session at nice 0. The session itself has a nice value, too
    (sched(7)). A user without CAP_SYS_ADMIN may set one in 0.1 s, so the rest is tried again.
    """

    def __init__(self) -> None:
        self._starting: dict[Key, int] = {}  # nice values
        self._waiting: dict[Key, tuple[int, int]] = {}  # pids and nice values

    def add(self, key: Key, nice: int) -> None:
        """Note that a job is being started with this nice value, above 0."""
        self._starting[key] = nice

    def on_started(self, key: Key, pid: int) -> None:
        nice = self._starting.pop(key, 0)
        if not nice:
            return
        # Its children inherit this. The program may be gone already.
        with suppress(OSError):
            os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        self._waiting[key] = pid, nice
        self.retry()

    def on_ended(self, key: Key) -> None:
        self._starting.pop(key, None)
        self._waiting.pop(key, None)

    def retry(self) -> None:
        """Lower the sessions that could not be lowered at their start."""
        for key, (pid, nice) in list(self._waiting.items()):
            try:
                lower_session(pid, nice)
            except BlockingIOError:
                return
            except OSError:
                pass  # the kernel has no such groups, or the job is gone
            del self._waiting[key]


def lower_session(pid: int, nice: int) -> None:
    """Give the session of a process a nice value among all sessions. Raises OSError."""
    with open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as file:
        file.write(str(nice))
