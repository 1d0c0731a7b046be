"""Thread pool for spawning and other blocking work, so that the event loop never blocks."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed has only signal
import signal
import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final

from mythjobs.process.event_loop import log_exception
from mythjobs.process.native_thread import NativeThread
from mythjobs.process.spawn.program import Program
from mythjobs.process.spawn.vfork import Spawn, choose_spawn

# Number of spawning threads. vfork suspends the calling thread until the child's exec, which takes
# milliseconds on a busy machine. Programs started per second on two busy cores: 1 thread 1,200,
# 2 threads 2,000, 4 threads 3,000, 8 threads 5,500. On an idle machine there is no difference.
THREADS: Final = 8

Work = Callable[[Spawn], None]
# The C function under signal.pthread_sigmask(), which takes 30 µs to convert 64 signals to enums.
_set_mask: Final[Callable[[int, object], object]] = _signal.pthread_sigmask
_NONE: Final[frozenset[int]] = frozenset()
_ALL: Final = frozenset(map(int, signal.valid_signals()))


def block_signals() -> None:
    """Block all signals in the calling thread.

    A thread of this library in a host program must not take the program's signals. The program may
    have blocked a signal in all its threads to wait for it with sigwait(3).
    """
    _set_mask(_signal.SIG_SETMASK, _ALL)


class SpawnPool:
    """Threads that spawn programs, so that the event loop's thread never does, even if it is idle:
    an exec() that hangs on a network disk must not block other jobs, and children of that thread
    are treated as orphans (supervise/descendants.py).

    With `embedded` (in a host program) threads are created on demand, and block all signals
    except while they spawn, because a child inherits the mask.

    Each thread has its own queue, and the most recently idle thread is used next: its data is
    still in the CPU caches. With one shared queue (SimpleQueue is one lock) every get wakes a
    second thread for nothing, which then competes with the spawning thread for the interpreter.
    """

    def __init__(self, embedded: bool = False) -> None:
        self._embedded = embedded
        self._choice_lock = threading.Lock()
        self._make_spawn: Callable[[], Spawn] | None = None
        # Both are changed by atomic operations only. With a lock, the threads could not take the
        # work of a signal handler that interrupted submit(), and the handler may wait for it.
        self._idle: list[SimpleQueue[Work | None]] = []
        # Work that was submitted while no thread was idle.
        self._backlog: deque[Work | None] = deque()
        self._threads_started = 0
        # The threads must live as long as the process: a program with PR_SET_PDEATHSIG gets its
        # signal when the thread that spawned it ends (prctl(2)).
        self._threads: list[threading.Thread] = []
        for number in range(0 if embedded else THREADS):
            name = f"spawner-{number}"
            thread = threading.Thread(target=self._run_thread, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def submit(self, work: Work | None) -> None:
        """Run `work`, which must not raise, in a thread of the pool; None ends one thread.

        Raises RuntimeError, and will not run `work`, if no thread can be started for it.
        """
        if mailbox := self._take_idle():
            mailbox.put(work)
            return
        if self._embedded and self._threads_started < THREADS:
            self._try_start_thread()
        self._backlog.append(work)
        # Look for an idle thread again: one may have become idle just before `work` was added to
        # the backlog.
        if mailbox := self._take_idle():
            self._serve(mailbox)

    def _take_idle(self) -> SimpleQueue[Work | None] | None:
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def _serve(self, mailbox: SimpleQueue[Work | None]) -> None:
        """Give the first work of the backlog to an idle thread."""
        while True:
            try:
                mailbox.put(self._backlog.popleft())
                return
            except IndexError:
                # Another thread has taken the work: this thread is idle again.
                self._idle.append(mailbox)
            if not self._backlog or (other := self._take_idle()) is None:
                return
            mailbox = other

    def _try_start_thread(self) -> None:
        self._threads_started += 1
        try:
            # Not a threading.Thread: its start() takes a lock that a signal handler may need.
            NativeThread(self._run_thread).start()
        except RuntimeError:
            self._threads_started -= 1
            # Continue without a new thread if there are others, which run the work later.
            if not self._threads_started:
                raise

    def shut_down(self) -> None:
        """Finish all submitted work, then end the threads."""
        for _ in self._threads:
            self.submit(None)
        for thread in self._threads:
            thread.join()

    def _run_thread(self) -> None:
        spawn = self._spawn_in_thread()
        if self._embedded:
            block_signals()
            spawn = _with_unblocked_signals(spawn)
        mailbox: SimpleQueue[Work | None] = SimpleQueue()
        while work := self._next_work(mailbox):
            try:
                work(spawn)
            except Exception:
                # Log the error and go on: a bug in `work` must not end one of the few threads.
                log_exception()
            # Drop the reference now, not with the next work: it keeps the child alive, and with it
            # output files that may no longer be used.
            del work

    def _spawn_in_thread(self) -> Spawn:
        """Return the `spawn` function of this thread.

        The function opens the descriptors that it needs for the first program. If none is free,
        that program fails to start, and the next one tries again.
        """
        ready: Spawn | None = None

        def spawn(program: Program) -> int:
            nonlocal ready
            if ready is None:
                ready = self._choose_spawn()()
            return ready(program)

        return spawn

    def _choose_spawn(self) -> Callable[[], Spawn]:
        with self._choice_lock:
            if self._make_spawn is None:
                self._make_spawn = choose_spawn()
            return self._make_spawn

    def _next_work(self, mailbox: SimpleQueue[Work | None]) -> Work | None:
        """Wait for work and return it. None means that the thread must end."""
        while True:
            try:
                return self._backlog.popleft()
            except IndexError:
                self._idle.append(mailbox)
            if not self._backlog:
                return mailbox.get()
            # Work was submitted meanwhile.
            try:
                self._idle.remove(mailbox)
            except ValueError:
                # A submitter has the mailbox.
                return mailbox.get()


def _with_unblocked_signals(spawn: Spawn) -> Spawn:
    def spawn_unblocked(program: Program) -> int:
        _set_mask(_signal.SIG_SETMASK, _NONE)
        try:
            return spawn(program)
        finally:
            _set_mask(_signal.SIG_SETMASK, _ALL)

    return spawn_unblocked
