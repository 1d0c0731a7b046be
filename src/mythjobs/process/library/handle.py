"""Handle of one started program: waiting, signals, limits, termination and usage."""

from __future__ import annotations

import math
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final

from mythjobs.clock import machine_now
from mythjobs.model.limits import Limits, Usage
from mythjobs.model.outcome import Outcome
from mythjobs.process.library.buffer import Buffer
from mythjobs.process.library.child import LibraryChild
from mythjobs.process.library.communicate import Communication, Output
from mythjobs.process.library.done import Done
from mythjobs.process.library.limit_values import check_limits
from mythjobs.process.library.pipes import Reader, Writer
from mythjobs.process.library.spec import CallerStreams
from mythjobs.process.library.thread import SupervisorThread
from mythjobs.process.supervise import usage as supervise_usage
from mythjobs.process.supervise.supervisor import Supervisor

if TYPE_CHECKING:
    import asyncio

# Longest accepted grace period: ten years.
_MAX_GRACE_S: Final = 3.2e8


@dataclass(frozen=True, slots=True)
class Stopping:
    """Progress of a stop: seconds since SIGTERM, seconds until SIGKILL, remaining processes."""

    since_s: float
    grace_left_s: float
    pids: tuple[int, ...]


class Process:
    """Handle of a started program. If the handle is dropped, the program continues, and is reaped.

    Leaving a `with` block closes the pipes and waits for the end of the program; if the block
    raised an exception, the program is terminated first. All methods may be called from any
    thread. In a forked child of this process they raise ValueError: the program is not its child.
    """

    def __init__(
        self, child: LibraryChild, streams: CallerStreams, thread: SupervisorThread | None
    ) -> None:
        """Create the handle of `child`. `thread` is the supervisor thread, or None if it could not
        be created; the child then counts as not started and has ended."""
        self._child = child
        self._streams = streams
        self._thread = thread
        self._owner_pid = os.getpid()
        self._communication = Communication(streams)

    # Properties for the program's standard streams.

    @property
    def stdin(self) -> Writer:
        """Writer to the program's stdin. Raises ValueError if stdin is not a PIPE."""
        if self._streams.stdin is None:
            raise ValueError("stdin is not a PIPE; start the program with stdin=PIPE")
        return self._streams.stdin

    @property
    def stdout(self) -> Reader | Buffer:
        """Output of the program. Raises ValueError if stdout is neither BUFFERED nor a PIPE."""
        return _require_stream(self._streams.stdout, "stdout")

    @property
    def stderr(self) -> Reader | Buffer:
        """Output of the program. Raises ValueError if stderr is neither BUFFERED nor a PIPE."""
        return _require_stream(self._streams.stderr, "stderr")

    # Methods that wait for the program, and its outcome.

    @property
    def pid(self) -> int | None:
        """The program's pid, or None if it could not be started. Blocks until exec has succeeded or
        failed."""
        self._check_same_process()
        self._wait_started()
        return self._child.pid if self._child.spawned_at else None

    @property
    def outcome(self) -> Outcome | None:
        """The program's outcome; None while any process of its tree exists."""
        self._check_same_process()
        return self._child.outcome() if self._child.is_done else None

    def wait(self, timeout_s: float | None = None) -> Outcome | None:
        """Wait for the end and return the outcome. Return None if the program still runs after
        `timeout_s`."""
        self._check_same_process()
        _check_seconds("timeout_s", timeout_s, least=-math.inf, most=math.inf)
        return self._child.outcome() if self._wait_ended(timeout_s) else None

    async def ended(self) -> Outcome:
        """Wait for the end in asyncio and return the outcome. Cancelling the waiting task does not
        affect the program."""
        self._check_same_process()
        # Imported here because programs without asyncio do not need it.
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
                # The asyncio loop was closed meanwhile, so no task waits any more.
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
            self._program_name(),
            child.outcome(),
            child.exit_code,
            child.usage,
            self._streams,
            tuple(child.unenforced_sentences),
        )

    def communicate(
        self, input: bytes | bytearray | memoryview | None = None, timeout_s: float | None = None
    ) -> Output | None:
        """Write `input` to stdin and close it, read all output, and wait for the end.

        Return (stdout, stderr). Return None if `timeout_s` passes first: the program then still
        runs, and another call without `input` continues without losing a byte.
        """
        self._check_same_process()
        _check_seconds("timeout_s", timeout_s, least=-math.inf, most=math.inf)
        if input is not None:
            self._communication.give(input)
        deadline_s = None
        if timeout_s is not None and timeout_s < math.inf:
            deadline_s = time.monotonic() + timeout_s
        if not self._communication.exchange(deadline_s):
            return None
        if self.wait(None if deadline_s is None else deadline_s - time.monotonic()) is None:
            return None
        return self._communication.collect()

    # Control methods. They return when they have taken effect, and do not affect an ended program.

    def signal(self, number: int) -> int:
        """Send a signal to all processes of the tree; return how many processes got it."""
        if not isinstance(number, int) or not 0 <= number < signal.NSIG:
            raise ValueError(f"a signal number must be from 0 to {signal.NSIG - 1}: {number!r}")
        count = self._call(lambda supervisor: supervisor.signal(self._child, number))
        return count if isinstance(count, int) else 0

    def pause(self) -> None:
        """Freeze all processes of the tree. Frozen time does not count against the limits `wall_s`
        and `idle_s`."""
        self._call(lambda supervisor: supervisor.set_freeze_holder(self._child, "user", True))

    def resume(self) -> None:
        self._call(lambda supervisor: supervisor.set_freeze_holder(self._child, "user", False))

    def limit(self, limits: Limits) -> None:
        """Replace the limits of the program. Time still counts from the start of the program."""
        check_limits(limits)
        self._call(lambda supervisor: supervisor.change_limits(self._child, limits))

    # Methods that terminate the process tree.

    def stop(self, grace_s: float | None = None, by: str = "user") -> None:
        """Send SIGTERM to all processes of the tree, and SIGKILL after the grace period. Do not
        wait for their end.

        `grace_s` None means the grace period in the program's limits. A second stop can only
        shorten the grace period.
        """
        self._check_same_process()
        _check_seconds("grace_s", grace_s, least=0, most=_MAX_GRACE_S)
        if self._thread:
            self._thread.stop(self._child, by, grace_s)

    def terminate(self, grace_s: float | None = None, by: str = "user") -> Outcome:
        """Stop the process tree as stop() does, and wait until no process of it is left."""
        self.stop(grace_s, by)
        self._wait_ended(None)
        return self._child.outcome()

    def kill(self, by: str = "user") -> Outcome:
        """Send SIGKILL to the whole tree, and wait until no process of it is left."""
        return self.terminate(0.0, by)

    @property
    def stopping(self) -> Stopping | None:
        """Progress of a stop; None if no stop was requested, or if the program has ended."""
        child = self._child
        if child.is_done or not child.term_ms:
            return None
        now_ms = machine_now().run_ms
        return Stopping(
            (now_ms - child.term_ms) / 1000,
            max(0, child.kill_at_ms - now_ms) / 1000,
            self.pids(),
        )

    # Methods that report the process tree and its usage.

    def pids(self) -> tuple[int, ...]:
        """Return the pids of the processes in the tree, the leader's first."""
        found = self._call(lambda supervisor: supervisor.list_tree(self._child))
        return tuple(each.pid for each in found) if isinstance(found, list) else ()

    @property
    def unenforced(self) -> tuple[str, ...]:
        """One sentence for each limit that cannot be enforced here; empty until the program has
        been started. A program with such a limit is started only with `best_effort`.
        """
        return tuple(self._child.unenforced_sentences)

    def usage(self) -> Usage:
        """Return the resources that the process tree has used so far, or in total after its end."""
        child = self._child
        if child.is_done or not child.spawned_at:
            return child.usage
        if child.cgroup is None:
            return supervise_usage.read_usage(child) or child.usage
        # Read the cgroup in the supervisor's thread: only that thread gives the cgroup to another
        # child once this child has ended, so it cannot do so during the read.
        found = self._call(lambda _: supervise_usage.read_usage(child))
        return found if isinstance(found, Usage) else child.usage

    def _call(self, function: Callable[[Supervisor[LibraryChild]], object]) -> object:
        """Run `function` in the supervisor's thread, and return its result; None if the program has
        ended. First wait until the supervisor has recorded the start of the program, because the
        caller may read the program's output before that."""
        self._check_same_process()
        self._wait_started()
        if self._thread is None or self._child.is_done:
            return None
        return self._thread.call(function)

    def _wait_started(self) -> None:
        if not self._child.started.is_set and self._thread:
            self._thread.wait(self._child.started, None)

    def _wait_ended(self, timeout_s: float | None) -> bool:
        if not self._child.ended.is_set and self._thread:
            return self._thread.wait(self._child.ended, timeout_s)
        return self._child.ended.is_set

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
        if self._owner_pid != os.getpid():
            # This is a forked child leaving the `with` block: only the process that started the
            # program may stop it.
            return
        if kind is not None:
            self.stop()
        self._wait_ended(None)

    def __repr__(self) -> str:
        child = self._child
        what: object = f"pid {child.pid}" if child.has_spawned else "starting"
        return f"<Process {self._program_name()}: {child.outcome() if child.is_done else what}>"

    def _program_name(self) -> str:
        spec = self._child.spec
        return os.fsdecode(spec.executable or spec.argv[0])


def _require_stream(stream: Reader | Buffer | None, name: str) -> Reader | Buffer:
    if stream is None:
        raise ValueError(f"{name} is neither PIPE nor BUFFERED, so it cannot be read here")
    return stream


def _check_seconds(name: str, value: float | None, least: float, most: float) -> None:
    """Raise ValueError unless `value` is None or a number from `least` to `most`; NaN is not."""
    if value is None:
        return
    if not isinstance(value, int | float) or not least <= value <= most:
        raise ValueError(f"{name} must be a number from {least:g} to {most:g}: {value!r}")
