"""One program that was started: waiting for it, steering it, ending it, and what it used."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from mythjobs.clock import machine_now
from mythjobs.model.limits import Limits, Usage
from mythjobs.model.outcome import Outcome
from mythjobs.process.library.buffer import Buffer
from mythjobs.process.library.child import Ends, Held
from mythjobs.process.library.pipes import Reader, Writer
from mythjobs.process.library.thread import Background
from mythjobs.process.supervise import usage as supervise_usage
from mythjobs.process.supervise.supervisor import Keeper

if TYPE_CHECKING:
    import asyncio


class Done:
    """A program that is over: its outcome, what it used, and what is kept of its output."""

    __slots__ = ("_stderr", "_stdout", "outcome", "unenforced", "usage")

    def __init__(
        self,
        outcome: Outcome,
        usage: Usage,
        stdout: Reader | Buffer | None,
        stderr: Reader | Buffer | None,
        unenforced: tuple[str, ...] = (),
    ) -> None:
        self.outcome = outcome
        self.usage = usage
        # Limits that could not be enforced, and why; only with best_effort.
        self.unenforced = unenforced
        self._stdout = stdout
        self._stderr = stderr

    @property
    def stdout(self) -> Buffer:
        """Raises ValueError if it was not BUFFERED."""
        return _buffered(self._stdout, "stdout")

    @property
    def stderr(self) -> Buffer:
        """Raises ValueError if it was not BUFFERED."""
        return _buffered(self._stderr, "stderr")

    def __repr__(self) -> str:
        return f"Done({self.outcome!r}, {self.usage!r})"


def _buffered(stream: Reader | Buffer | None, name: str) -> Buffer:
    if isinstance(stream, Buffer):
        return stream
    raise ValueError(f"{name} was not BUFFERED, so nothing of it is kept here")


@dataclass(frozen=True, slots=True)
class Stopping:
    """How far a stop has come: TERM was sent so long ago, KILL comes when the grace is over,
    and these processes are still there."""

    since_s: float
    grace_left_s: float
    pids: tuple[int, ...]


class Process:
    """One that was started. It may be dropped: it runs on, and is reaped when it ends.

    As a context manager it closes its pipes and waits for its end; if the block raises, it is
    terminated first. The methods may be called from any thread.
    """

    def __init__(self, child: Held, ends: Ends, keeper: Background) -> None:
        self._child = child
        self._ends = ends
        self._keeper = keeper
        self._owner_pid = os.getpid()

    # Its streams.

    @property
    def stdin(self) -> Writer:
        """Raises ValueError if stdin is no PIPE."""
        if self._ends.stdin is None:
            raise ValueError("stdin is no PIPE, so there is nothing to write into")
        return self._ends.stdin

    @property
    def stdout(self) -> Reader | Buffer:
        """Raises ValueError if stdout is neither BUFFERED nor a PIPE."""
        return _there(self._ends.stdout, "stdout")

    @property
    def stderr(self) -> Reader | Buffer:
        """Raises ValueError if stderr is neither BUFFERED nor a PIPE."""
        return _there(self._ends.stderr, "stderr")

    # Waiting.

    @property
    def pid(self) -> int | None:
        """Blocks until the kernel has answered its exec; None if it could not be started."""
        self._child.wait_started()
        return self._child.pid if self._child.born else None

    @property
    def outcome(self) -> Outcome | None:
        """None while anything of it is left."""
        return self._child.outcome() if self._child.is_over else None

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Its outcome, or None if it still runs after that time, unharmed."""
        self._check_ours()
        return self._child.outcome() if self._child.wait_ended(timeout_s) else None

    async def ended(self) -> Outcome:
        """The same for asyncio. To cancel it harms nothing but the waiting."""
        self._check_ours()
        # Whoever awaits has it already; the reaper, and programs without it, do without.
        from asyncio import get_running_loop

        loop = get_running_loop()
        over: asyncio.Future[None] = loop.create_future()

        def tell() -> None:
            if not over.done():
                over.set_result(None)

        def then() -> None:
            try:
                loop.call_soon_threadsafe(tell)
            except RuntimeError:
                # The loop that waited is closed.
                pass

        self._child.when_ended(then)
        try:
            await over
        finally:
            self._child.forget(then)
        return self._child.outcome()

    def done(self) -> Done:
        """All that is known of it. Blocks until it has ended."""
        self.wait()
        child = self._child
        return Done(
            child.outcome(),
            child.usage,
            self._ends.stdout,
            self._ends.stderr,
            tuple(child.shortcomings),
        )

    # Steering. Each returns once it is done, and does nothing to one that has ended.

    def signal(self, number: int) -> int:
        """Send a signal to its whole tree; how many processes got it."""
        count = self._ask(lambda keeper: keeper.signal(self._child, number))
        assert isinstance(count, int)
        return count

    def pause(self) -> None:
        """Freeze its whole tree; the time does not count for `wall_s` and `idle_s`."""
        self._ask(lambda keeper: keeper.hold(self._child, "user", True))

    def resume(self) -> None:
        self._ask(lambda keeper: keeper.hold(self._child, "user", False))

    def limit(self, limits: Limits) -> None:
        """Other limits from now on, counted from its start all the same."""
        check_limits(limits)
        self._ask(lambda keeper: keeper.change(self._child, limits))

    # Ending.

    def stop(self, grace_s: float | None = None, by: str = "user") -> None:
        """Ask for its end and do not wait: TERM to the whole tree, KILL after the grace (that
        of its limits, if none is given). One asked for again can only come sooner."""
        self._check_ours()
        self._keeper.stop(self._child, by, grace_s)

    def terminate(self, grace_s: float | None = None, by: str = "user") -> Outcome:
        """The same, and wait until nothing of it is left."""
        self.stop(grace_s, by)
        self._child.wait_ended(None)
        return self._child.outcome()

    def kill(self, by: str = "user") -> Outcome:
        """KILL to the whole tree, and wait until nothing of it is left."""
        return self.terminate(0.0, by)

    @property
    def stopping(self) -> Stopping | None:
        """How far its stop has come; None if there is none, or it has ended."""
        child = self._child
        if child.is_over or not child.term_ms:
            return None
        now_ms = machine_now().run_ms
        return Stopping(
            (now_ms - child.term_ms) / 1000,
            max(0, child.kill_at_ms - now_ms) / 1000,
            self.pids(),
        )

    # What it is and uses.

    def pids(self) -> tuple[int, ...]:
        """The processes of its tree, the leader first."""
        found = self._ask(lambda keeper: keeper.tree(self._child))
        assert isinstance(found, list)
        return tuple(each.pid for each in found)

    @property
    def unenforced(self) -> tuple[str, ...]:
        """Limits that cannot be enforced here, and why: only best_effort starts it all the
        same. Known once it has started."""
        return tuple(self._child.shortcomings)

    def usage(self) -> Usage:
        """What its tree uses now, or has used in all."""
        child = self._child
        if child.is_over or not child.born:
            return child.usage
        if child.tree is None:
            return supervise_usage.usage(child) or child.usage
        # The keeper gives its container to another child when this one is over.
        found = self._ask(lambda _: supervise_usage.usage(child))
        return found if isinstance(found, Usage) else child.usage

    def _ask(self, question: Callable[[Keeper[Held]], object]) -> object:
        """Once it has started: what it says may come before the keeper has seen it start."""
        self._check_ours()
        self._child.wait_started()
        return self._keeper.ask(question)

    def _check_ours(self) -> None:
        if self._owner_pid != os.getpid():
            raise ValueError("it belongs to the process that started it, not to its fork")

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in self._ends:
            if isinstance(stream, Reader | Writer):
                stream.close()
        if kind is not None:
            self.stop()
        self._child.wait_ended(None)

    def __repr__(self) -> str:
        what = self.outcome or f"pid {self._child.pid}" * self._child.known or "starting"
        return f"<Process {os.fsdecode(self._child.wanted.argv[0])}: {what}>"


def _there(stream: Reader | Buffer | None, name: str) -> Reader | Buffer:
    if stream is None:
        raise ValueError(f"{name} is neither PIPE nor BUFFERED, so there is nothing here to use")
    return stream


def check_limits(limits: Limits) -> None:
    """Raises ValueError for what cannot be meant."""
    mosts = (
        limits.wall_s, limits.cpu_s, limits.idle_s, limits.memory_bytes, limits.output_bytes,
        limits.processes, limits.grace_s,
    )  # fmt: skip
    if not all(most is None or 0 <= most < math.inf for most in mosts):
        raise ValueError(f"a limit is below zero, or no figure (None is none): {limits!r}")
