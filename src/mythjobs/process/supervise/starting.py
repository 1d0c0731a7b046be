"""Start of children, by the spawner in C or in a thread of the spawn pool. The result is passed to
the supervisor in the event loop's thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Final, Generic, TypeVar

from mythjobs.clock import machine_now
from mythjobs.model.outcome import NotStarted
from mythjobs.model.output_window import SMALL_OUTPUT_BYTES
from mythjobs.process.event_loop import EventLoop, log_exception
from mythjobs.process.reserve import hold_reserve
from mythjobs.process.spawn import native
from mythjobs.process.spawn.errors import describe_failure
from mythjobs.process.spawn.native import NativeEnd, NativeSpawner, NativeStart
from mythjobs.process.spawn.native_request import OutputPipes, StartRecord
from mythjobs.process.spawn.pool import SpawnPool
from mythjobs.process.spawn.program import Program
from mythjobs.process.spawn.vfork import Spawn
from mythjobs.process.supervise import reaping, rlimits, tree_mark
from mythjobs.process.supervise.child import Child
from mythjobs.process.supervise.limits import CgroupAllocator, has_limit_at_start

# A child that ends within this time is short-lived: the spawner in C waits for its end. Without it,
# pipes are read only once, at the end, which saves four system calls and a wake-up.
SHORT_MS: Final = 10

C = TypeVar("C", bound=Child)


class Starter(Generic[C]):
    """Starts children. A failure is reported as the child's end."""

    def __init__(
        self,
        loop: EventLoop,
        spawn_pool: SpawnPool,
        spawner: NativeSpawner | None,
        cgroups: CgroupAllocator,
        report: Callable[[C, bool], None],
        report_end: Callable[[C, NativeEnd], None],
    ) -> None:
        """report: called in the event loop's thread with each child, once it runs or cannot be
        started, and with whether the event loop watches its pidfd already.

        report_end: called in place of `report` with a child that has ended and is reaped."""
        self.spawner = spawner
        self._loop = loop
        self._spawn_pool = spawn_pool
        self._cgroups = cgroups
        self._report = report
        self._report_end = report_end
        # RLIMIT_NOFILE (soft, hard) to set for children; None if this process has not changed it.
        self.nofile_for_children: tuple[int, int] | None = None

    def fail(self, child: C, reason: NotStarted) -> None:
        """Report that `child` has ended without having been started."""
        child.not_started = reason
        self._loop.call_soon(partial(self._report, child, False))

    def start(self, child: C) -> None:
        """Start `child`, whose `prepare` only returns the program, in the quickest way that its
        settings permit. Thread-safe."""
        is_native = (
            self.spawner is not None
            and not self._cgroups.is_needed_for(child)
            and native.can_start(child.prepare())
        )
        if is_native:
            self.spawn_natively(child, None)
        else:
            self.spawn(child)

    # Methods for starts in threads of the spawn pool.

    def spawn(self, child: C) -> None:
        """Spawn `child` in a thread of the pool. Thread-safe."""
        self._spawn_pool.submit(partial(self.spawn_here, child))

    def spawn_here(self, child: C, spawn: Spawn) -> None:
        """Spawn `child`, in a thread of the pool."""
        try:
            program = self._prepare(child)
            if child.stop_reason is None:
                child.spawn_ms = machine_now().steady_ms
                child.pid = spawn(program)
                child.spawned_at = machine_now()
                child.is_marked_late = child.rlimit_mark != 0
                if child.rlimit_mark and not tree_mark.set_mark(child.pid, child.rlimit_mark):
                    child.rlimit_mark = 0
                reaping.open_pidfd(child)
        except Exception as error:
            if child.spawned_at:
                # The program runs, so its outcome cannot be that it did not start.
                log_exception()
            else:
                child.not_started = describe_failure(error)
        finally:
            child.release_resources()
            self._loop.call_soon(partial(self._report, child, False))

    def _prepare(self, child: C) -> Program:
        """Create what the start needs; return the program. Raises CannotStart, OSError."""
        with suppress(OSError):
            hold_reserve()
        self._cgroups.assign(child)
        program = child.prepare()
        setup = rlimits.add_initial_rlimits(program.setup, child, self.nofile_for_children)
        if child.cgroup:
            setup = setup._replace(cgroup_files=tuple(child.cgroup.list_join_files()))
        return program._replace(setup=setup) if setup is not program.setup else program

    # Methods for starts by the spawner in C.

    def can_spawn_natively(self, child: C) -> bool:
        """Return whether `spawn_natively` is possible, and does not open the cgroup pool."""
        return self.spawner is not None and self._cgroups.is_ready_for(child)

    def spawn_natively(self, child: C, record: StartRecord | None) -> None:
        """Have the spawner in C write the record, if there is one, and spawn `child`, whose
        `prepare` must not block. Thread-safe for children without a cgroup."""
        assert self.spawner
        try:
            program = self._prepare(child)
            if child.rlimit_mark:
                setup, child.rlimit_mark = tree_mark.add_mark(program.setup, child.rlimit_mark)
                program = program._replace(setup=setup)
            cgroup_fd = child.cgroup.directory_fd if child.cgroup else -1
            report = partial(self._on_result, child)
            child.start_request = self.spawner.submit(
                program, cgroup_fd, record, report, self._choose_pipes(child)
            )
        except Exception as error:
            self._loop.call_soon(partial(self._on_result, child, error))

    def _choose_pipes(self, child: C) -> OutputPipes:
        count = child.native_pipe_count
        events_fd = child.cgroup.events_fd if child.cgroup else -1
        can_see_descendants = child.cgroup is None or events_fd >= 0
        if not count or not can_see_descendants or has_limit_at_start(child.limits):
            return OutputPipes(count)
        return OutputPipes(count, SHORT_MS, events_fd, SMALL_OUTPUT_BYTES)

    def _on_result(self, child: C, result: NativeStart | Exception | None) -> None:
        child.start_request = None
        child.release_resources()
        if not isinstance(result, NativeStart):
            if result:
                child.not_started = describe_failure(result)
            self._report(child, False)
            return
        child.pid, child.pidfd = result.pid, result.pidfd
        child.spawn_ms, child.spawned_at = result.spawn_ms, result.spawned_at
        end = result.end
        # Without output, a child that has ended needs no streams.
        if child.native_pipe_count and (not end or end.output or max(result.pipes) >= 0):
            child.add_pipes(result.pipes[: child.native_pipe_count])
        if end:
            self._report_end(child, end)
        else:
            self._report(child, result.is_watched)
