"""The thread that keeps the children of a program that uses the library. One a process."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from mythjobs.model.outcome import Stopped
from mythjobs.process import kernel
from mythjobs.process.library.child import Ends, Held
from mythjobs.process.spawn import errors
from mythjobs.process.spawn.pool import Spawners, block_signals
from mythjobs.process.supervise.descendants import Guests
from mythjobs.process.supervise.loop import Loop, log_exception
from mythjobs.process.supervise.supervisor import Keeper

# How long the end of the program waits for children to go, after their grace.
_PATIENCE_S: Final = 5.0


class Background:
    """It installs no signal handler, waits for no child but its own, and takes no signal."""

    def __init__(self) -> None:
        self._loop = Loop()
        self._spawners = Spawners(guest=True)
        self._keeper: Keeper[Held] = Keeper(self._loop, self._spawners, self)
        self._kin = Guests(self._keeper.leaders)
        self._keeper.clearing.kin = self._kin
        # Children that are not over. Who drops its Process has it reaped all the same.
        self._live: set[Held] = set()
        self._thread = threading.Thread(target=self._run, name="mythsystem", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        block_signals()
        while True:
            try:
                self._loop.turn()
            except Exception:
                log_exception()

    # From any thread.

    def start(self, child: Held) -> Ends:
        self._live.add(child)
        try:
            ends = child.make_ends()
        except OSError as error:
            what = errors.at_preparing(error, "a pipe for it").outcome()
            self._loop.call_soon(partial(self._keeper.refuse, child, what))
            return Ends()
        self._keeper.spawn(child)
        return ends

    def stop(self, child: Held, by: str, grace_s: float | None) -> None:
        self._loop.call_soon(partial(self._keeper.stop, child, Stopped(by), grace_s))

    def ask(self, question: Callable[[Keeper[Held]], object]) -> object:
        """What the keeper answers in its own thread. Raises what that raises."""
        answers: list[object] = []
        done = threading.Lock()
        done.acquire()

        def answer() -> None:
            try:
                answers.append(question(self._keeper))
            except Exception as error:
                answers.append(error)
            finally:
                done.release()

        self._loop.call_soon(answer)
        with done:
            pass
        [found] = answers
        if isinstance(found, Exception):
            raise found
        return found

    def adopt_orphans(self) -> None:
        kernel.adopt_orphans()
        self._kin.adopting = True

    # The keeper tells (Owner).

    def spawned(self, child: Held) -> None:
        child.has_started()

    def lasting(self, child: Held) -> None:
        pass

    def let_go(self, child: Held) -> None:
        pass

    def over(self, child: Held) -> None:
        self._live.discard(child)
        child.has_ended()

    # The ends of the program, and of its twin.

    def end_all(self) -> None:
        """At the end of the program: end the children that are not to outlive it."""
        ending = [child for child in self._live.copy() if child.at_exit == "end"]
        for child in ending:
            self.stop(child, "exit", None)
        for child in ending:
            child.wait_ended(child.grace_s + _PATIENCE_S)
        self._keeper.close()

    def abandon(self) -> None:
        """In a forked child: what is here is its parent's."""
        for child in self._live:
            child.close_in_fork()
        self._loop.close()
        self._kin.close()


_one: Background | None = None
_lock = threading.Lock()


def background() -> Background:
    global _one
    if _one is None:
        with _lock:
            if _one is None:
                _one = Background()
    return _one


def _forked() -> None:
    global _one, _lock
    _lock = threading.Lock()
    abandoned, _one = _one, None
    if abandoned:
        abandoned.abandon()


def _at_exit() -> None:
    if _one:
        _one.end_all()


os.register_at_fork(after_in_child=_forked)
atexit.register(_at_exit)
