"""A few threads that spawn, and do what else may take its time; the loop must not wait."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from mythjobs.process.spawn import Spawn, spawners

# vfork suspends its thread until the child has done its exec, which on a busy machine takes
# milliseconds. Measured with both cores of a machine full: 1 thread starts 1,200 programs a
# second, 2 start 2,000, 4 start 3,000, 8 start 5,500; idle, it is the same for all.
THREADS: Final = 8


class Spawners:
    """The loop's own thread never spawns, not even when nothing else waits for it: what it
    started it would take for an orphan (orphans.py), and a program on a network disk that
    hangs would hang it, in exec(), together with everything that runs.
    """

    def __init__(self) -> None:
        self._work: SimpleQueue[Callable[[Spawn], None] | None] = SimpleQueue()
        self._spawner = spawners()
        # They never end before the process does: a child dies with the thread that started
        # it if it asked for that (PR_SET_PDEATHSIG), and is the child of that thread.
        self._threads = [
            threading.Thread(target=self._serve, name=f"spawner-{i}", daemon=True)
            for i in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def do(self, work: Callable[[Spawn], None]) -> None:
        """It must not raise."""
        self._work.put(work)

    def finish(self) -> None:
        """Wait until all that was asked for is done."""
        for _ in self._threads:
            self._work.put(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        spawn = self._spawner()
        while work := self._work.get():
            work(spawn)
