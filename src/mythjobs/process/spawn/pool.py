"""A few threads that spawn, and do what else may take its time; the loop must not wait."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed has only signal
import signal
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from mythjobs.process.spawn.vfork import Program, Spawn, spawners
from mythjobs.process.supervise.loop import log_exception

# vfork suspends its thread until the child has done its exec, which on a busy machine takes
# milliseconds. Measured with both cores of a machine full: 1 thread starts 1,200 programs a
# second, 2 start 2,000, 4 start 3,000, 8 start 5,500; idle, it is the same for all.
THREADS: Final = 8

Work = Callable[[Spawn], None]
# signal.pthread_sigmask() makes an enum of each of the 64, which takes 30 µs.
_set_mask: Final[Callable[[int, object], object]] = _signal.pthread_sigmask
_NONE: Final[frozenset[int]] = frozenset()
_ALL: Final = frozenset(map(int, signal.valid_signals()))


def block_signals() -> None:
    """In a thread that lives in somebody else's program: its signals are for its own threads,
    also those that it blocks everywhere to wait for them with sigwait(3)."""
    _set_mask(_signal.SIG_SETMASK, _ALL)


class Spawners:
    """The loop's own thread never spawns, not even when nothing else waits for it: what it
    started it would take for an orphan (orphans.py), and a program on a network disk that
    hangs would hang it, in exec(), together with everything that runs.

    As a guest in somebody's program, threads are made when there is work for them, and have
    their signals blocked but for the moment of a spawn: a child inherits the mask.

    Each thread has a mailbox of its own, and the one that became free last is the next: it is
    still in the caches. On one queue for all, each that takes something wakes another for nothing
    (SimpleQueue is one lock), which then competes for the interpreter with the one that spawns.
    """

    def __init__(self, guest: bool = False) -> None:
        self._spawner = spawners()
        self._guest = guest
        self._lock = threading.Lock()
        self._idle: list[SimpleQueue[Work | None]] = []
        # What came while no thread was idle.
        self._waiting: deque[Work | None] = deque()
        # They never end before the process does: a child dies with the thread that started
        # it if it asked for that (PR_SET_PDEATHSIG), and is the child of that thread.
        self._threads: list[threading.Thread] = []
        for _ in range(0 if guest else THREADS):
            self._add()

    def _add(self) -> None:
        name = f"spawner-{len(self._threads)}"
        thread = threading.Thread(target=self._serve, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def do(self, work: Work) -> None:
        """It must not raise."""
        self._give(work)

    def _give(self, work: Work | None) -> None:
        with self._lock:
            mailbox = self._idle.pop() if self._idle else None
            if mailbox is None:
                self._waiting.append(work)
                if self._guest and len(self._threads) < THREADS:
                    self._add()
        if mailbox is not None:
            mailbox.put(work)

    def finish(self) -> None:
        """Wait until all that was asked for is done."""
        for _ in self._threads:
            self._give(None)
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        spawn = self._spawner()
        if self._guest:
            block_signals()
            spawn = _unblocked(spawn)
        mailbox: SimpleQueue[Work | None] = SimpleQueue()
        while work := self._next(mailbox):
            try:
                work(spawn)
            except Exception:
                # A bug of ours must not cost the thread, of which there are few.
                log_exception()
            # It holds the child, and with it a file of output that may be dropped by now.
            del work

    def _next(self, mailbox: SimpleQueue[Work | None]) -> Work | None:
        """What is to be done; None when all is."""
        with self._lock:
            if self._waiting:
                return self._waiting.popleft()
            self._idle.append(mailbox)
        return mailbox.get()


def _unblocked(spawn: Spawn) -> Spawn:
    def spawn_unblocked(program: Program) -> int:
        _set_mask(_signal.SIG_SETMASK, _NONE)
        try:
            return spawn(program)
        finally:
            _set_mask(_signal.SIG_SETMASK, _ALL)

    return spawn_unblocked
