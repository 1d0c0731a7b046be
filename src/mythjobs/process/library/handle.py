"""Handle of one started program: waiting, signals, limits, termination and usage."""

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
from mythjobs.process.library.child import CallerStreams, LibraryChild
from mythjobs.process.library.pipes import Reader, Writer
from mythjobs.process.library.thread import SupervisorThread
from mythjobs.process.supervise import usage as supervise_usage
from mythjobs.process.supervise.supervisor import Supervisor

if TYPE_CHECKING:
    import asyncio


class Done:
    """An ended program: outcome, usage and kept output."""

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
        # One sentence per limit that could not be enforced; only with best_effort.
        self.unenforced = unenforced
        self._stdout = stdout
        self._stderr = stderr

    @property
    def stdout(self) -> Buffer:
        """Raises ValueError if it was not BUFFERED."""
        return _require_buffer(self._stdout, "stdout")

    @property
    def stderr(self) -> Buffer:
        """Raises ValueError if it was not BUFFERED."""
        return _require_buffer(self._stderr, "stderr")

    def __repr__(self) -> str:
        return f"Done({self.outcome!r}, {self.usage!r})"


def _require_buffer(stream: Reader | Buffer | None, name: str) -> Buffer:
    if isinstance(stream, Buffer):
        return stream
    raise ValueError(f"{name} was not BUFFERED, so none of it was kept")


@dataclass(frozen=True, slots=True)
class Stopping:
    """Progress of a stop: seconds since SIGTERM, seconds until SIGKILL, remaining processes."""

    since_s: float
    grace_left_s: float
    pids: tuple[int, ...]


class Process:
    """A started program. If the handle is dropped, the program continues and is reaped.

    Leaving the context manager closes the pipes and waits for the end; if the block raised, the
    program is terminated first. All methods may be called from any thread.
    """

    def __init__(
        self, child: LibraryChild, streams: CallerStreams, thread: SupervisorThread
    ) -> None:
        self._child = child
        self._streams = streams
        self._thread = thread
        self._owner_pid = os.getpid()

    # Standard streams.

    @property
    def stdin(self) -> Writer:
        """Raises ValueError if stdin is not a PIPE."""
        if self._streams.stdin is None:
            raise ValueError("stdin is not a PIPE; start the program with stdin=PIPE")
        return self._streams.stdin

    @property
    def stdout(self) -> Reader | Buffer:
        """Raises ValueError if stdout is neither BUFFERED nor a PIPE."""
        return _require_stream(self._streams.stdout, "stdout")

    @property
    def stderr(self) -> Reader | Buffer:
        """Raises ValueError if stderr is neither BUFFERED nor a PIPE."""
        return _require_stream(self._streams.stderr, "stderr")

    # Waiting.

    @property
    def pid(self) -> int | None:
        """The pid, once exec has succeeded or failed (blocks); None if it failed."""
        self._child.wait_started()
        return self._child.pid if self._child.spawned_at else None

    @property
    def outcome(self) -> Outcome | None:
        """None while any process of the tree is left."""
        return self._child.outcome() if self._child.is_done else None

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Wait for the outcome; None if the program still runs after `timeout_s`."""
        self._check_same_process()
        return self._child.outcome() if self._child.wait_ended(timeout_s) else None

    async def ended(self) -> Outcome:
        """Wait for the outcome in asyncio. Cancelling this cancels only the waiting."""
        self._check_same_process()
        # Imported here because the reaper, and programs without asyncio, do not need it.
        from asyncio import get_running_loop

        loop = get_running_loop()
        future: asyncio.Future[None] = loop.create_future()

        def set_result() -> None:
            if not future.done():
                future.set_result(None)

        def notify() -> None:
            try:
                loop.call_soon_threadsafe(set_result)
            except RuntimeError:
                # The event loop was closed meanwhile.
                pass

        self._child.add_done_callback(notify)
        try:
            await future
        finally:
            self._child.remove_done_callback(notify)
        return self._child.outcome()

    def done(self) -> Done:
        """Wait for the end; return outcome, usage and output."""
        self.wait()
        child = self._child
        return Done(
            child.outcome(),
            child.usage,
            self._streams.stdout,
            self._streams.stderr,
            tuple(child.unenforced_sentences),
        )

    # Control. Each method returns when it has taken effect; none affects an ended program.

    def signal(self, number: int) -> int:
        """Send a signal to the whole tree; return the number of processes that got it."""
        count = self._call(lambda supervisor: supervisor.signal(self._child, number))
        assert isinstance(count, int)
        return count

    def pause(self) -> None:
        """Freeze the whole tree. Frozen time does not count for `wall_s` and `idle_s`."""
        self._call(lambda supervisor: supervisor.set_freeze_holder(self._child, "user", True))

    def resume(self) -> None:
        self._call(lambda supervisor: supervisor.set_freeze_holder(self._child, "user", False))

    def limit(self, limits: Limits) -> None:
        """Replace the limits, which still count from the start of the program."""
        check_limits(limits)
        self._call(lambda supervisor: supervisor.change_limits(self._child, limits))

    # Termination.

    def stop(self, grace_s: float | None = None, by: str = "user") -> None:
        """Send SIGTERM to the whole tree, and SIGKILL after the grace period; do not wait.

        `grace_s` None is the grace of its limits. A second stop can only shorten the grace.
        """
        self._check_same_process()
        self._thread.stop(self._child, by, grace_s)

    def terminate(self, grace_s: float | None = None, by: str = "user") -> Outcome:
        """Stop the tree, and wait until no process of it is left."""
        self.stop(grace_s, by)
        self._child.wait_ended(None)
        return self._child.outcome()

    def kill(self, by: str = "user") -> Outcome:
        """Send SIGKILL to the whole tree, and wait until no process of it is left."""
        return self.terminate(0.0, by)

    @property
    def stopping(self) -> Stopping | None:
        """Progress of the stop; None if none was requested or the program has ended."""
        child = self._child
        if child.is_done or not child.term_ms:
            return None
        now_ms = machine_now().run_ms
        return Stopping(
            (now_ms - child.term_ms) / 1000,
            max(0, child.kill_at_ms - now_ms) / 1000,
            self.pids(),
        )

    # Process tree and usage.

    def pids(self) -> tuple[int, ...]:
        """Return the processes of the tree, the leader first."""
        found = self._call(lambda supervisor: supervisor.list_tree(self._child))
        assert isinstance(found, list)
        return tuple(each.pid for each in found)

    @property
    def unenforced(self) -> tuple[str, ...]:
        """One sentence per limit that cannot be enforced here; known after the start.

        Only with best_effort does such a program start.
        """
        return tuple(self._child.unenforced_sentences)

    def usage(self) -> Usage:
        """Return what the tree has used so far, or in total after its end."""
        child = self._child
        if child.is_done or not child.spawned_at:
            return child.usage
        if child.cgroup is None:
            return supervise_usage.read_usage(child) or child.usage
        # In the supervisor's thread, which reuses the cgroup for another child after this one.
        found = self._call(lambda _: supervise_usage.read_usage(child))
        return found if isinstance(found, Usage) else child.usage

    def _call(self, function: Callable[[Supervisor[LibraryChild]], object]) -> object:
        """Run `function` in the supervisor's thread, not before that has seen the start: output
        of the program may reach the caller earlier."""
        self._check_same_process()
        self._child.wait_started()
        return self._thread.call(function)

    def _check_same_process(self) -> None:
        if self._owner_pid != os.getpid():
            raise ValueError("a Process cannot be used in a fork of the process that started it")

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for stream in self._streams:
            if isinstance(stream, Reader | Writer):
                stream.close()
        if kind is not None:
            self.stop()
        self._child.wait_ended(None)

    def __repr__(self) -> str:
        what = self.outcome or f"pid {self._child.pid}" * self._child.has_spawned or "starting"
        return f"<Process {os.fsdecode(self._child.spec.argv[0])}: {what}>"


def _require_stream(stream: Reader | Buffer | None, name: str) -> Reader | Buffer:
    if stream is None:
        raise ValueError(f"{name} is neither PIPE nor BUFFERED, so it cannot be read here")
    return stream


def check_limits(limits: Limits) -> None:
    """Raises ValueError for a negative, infinite or NaN limit."""
    values = (
        limits.wall_s, limits.cpu_s, limits.idle_s, limits.memory_bytes, limits.output_bytes,
        limits.processes, limits.grace_s,
    )  # fmt: skip
    if not all(value is None or 0 <= value < math.inf for value in values):
        raise ValueError(f"limits must be finite and at least 0, or None for no limit: {limits!r}")
