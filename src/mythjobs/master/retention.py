"""Retention service: deletes old jobs and output in slices, one slice per turn.

Output files are deleted before the rows that name them. If the master is killed in between, it
deletes them again later; in the other order, files without rows could be left for ever.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar

from mythjobs.clock import Now, master_now
from mythjobs.errors import DefinitionError, MythJobsError
from mythjobs.master import requests
from mythjobs.model import retention as r
from mythjobs.protocol import responses
from mythjobs.store.queries import retention as queries
from mythjobs.store.queries.retention import Attempt
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes.prune import SLICE_JOBS

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("mythjobs.master")

# Time from the master's start to the first pass; meanwhile the machines reconnect.
_FIRST_PASS_S: Final = 30.0
_PASS_S: Final = 600.0
# Interval of sweeps for unused job classes. It is long because a sweep reads all jobs.
_CLASS_SWEEP_S: Final = 86_400.0
# Minimum number of job classes for a sweep; fewer classes need no cleanup.
MIN_SWEPT_CLASSES: Final = 1000
# Pause between two deletions (slices), so that a long pass leaves disk time for other work.
_PAUSE_S: Final = 0.01
_START: Final = (-1, -1)


class RetentionStore(Protocol):
    """Interface of the master that the retention service needs."""

    async def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def read_long(self, function: Callable[[Transaction], T]) -> T: ...

    async def execute(self, request: requests.Request) -> Any: ...


class RetentionService:
    """Enforces the retention limits (ended jobs, output) of the whole queue and of each command.

    Runs in the master's event loop. clock, min_swept_classes: only tests set them.
    """

    def __init__(
        self,
        store: RetentionStore,
        remove_output: Callable[[Sequence[Attempt]], Any],
        limits: r.Retention,
        clock: Callable[[], Now] = master_now,
        *,
        min_swept_classes: int = MIN_SWEPT_CLASSES,
    ) -> None:
        self._clock = clock
        self._min_swept_classes = min_swept_classes
        self._store = store
        self._remove_output = remove_output
        self._limits = limits
        self._next_sweep_s = 0.0
        # Held from the read of the totals until the excess that they show is deleted. Otherwise a
        # prune could delete the same excess meanwhile, and fewer jobs than the limit would be left.
        self._deletion_lock = asyncio.Lock()
        self._deleted_jobs = 0
        self._deleted_bytes = 0
        self._last_pass_ms: int | None = None

    async def run(self) -> None:
        """Enforce the limits every ten minutes, until cancelled."""
        await asyncio.sleep(_FIRST_PASS_S)
        while True:
            try:
                await self.run_pass()
            except MythJobsError as error:
                log.warning("cannot delete old jobs and output: %s", error.sentence)
            except Exception:
                log.exception("cannot delete old jobs and output, trying again in 10 minutes")
            await asyncio.sleep(_PASS_S)

    async def run_pass(self) -> None:
        """Run one pass: delete all jobs and output that exceed the limits."""
        now = self._clock()
        totals = await self._store.read(queries.read_totals)
        limits = await self._read_limits({*totals.ended, *totals.output_bytes})
        for command_id, each in limits.items():
            before_ms = r.oldest_kept_ms(each, now.wall_ms)
            if before_ms is not None:
                await self._delete_jobs(command_id, before_ms)
            if each.jobs is not None:
                await self._delete_jobs(command_id, now.wall_ms + 1, keep=each.jobs)
        for command_id, each in limits.items():
            await self._delete_output(command_id, each.output_bytes)
        await self._delete_output(None, self._limits.output_bytes)
        await self._delete_attempts()
        await self._sweep_classes(now.steady_ms / 1000)
        self._last_pass_ms = now.wall_ms

    async def _read_limits(self, command_ids: set[int]) -> Mapping[int, r.Retention]:
        tables = await self._store.read(queries.read_retention_tables)
        own = {command_id: _parse(tables.get(command_id)) for command_id in command_ids}
        return r.limits_of_commands(self._limits, own)

    async def prune(
        self, before_ms: int, states: Sequence[str], is_cancelled: Callable[[], bool]
    ) -> int:
        """Delete jobs of all commands that ended before `before_ms`; return the number of jobs."""
        totals = await self._store.read(queries.read_totals)
        deleted = 0
        for command_id in totals.ended:
            deleted += await self._delete_jobs(
                command_id, before_ms, states=states, is_cancelled=is_cancelled
            )
        return deleted

    async def _delete_jobs(
        self,
        command_id: int,
        before_ms: int,
        *,
        states: Sequence[str] = (),
        keep: float = 0,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> int:
        """Delete jobs of a command that ended before `before_ms`, the oldest first, while more than
        `keep` ended jobs are left; return the number of deleted jobs."""
        start: tuple[int, int] | None = _START
        deleted = 0
        while start is not None and not is_cancelled():
            async with self._deletion_lock:
                most = await self._count_excess_jobs(command_id, keep) if keep else SLICE_JOBS
                if not most:
                    break
                found = await self._store.read(
                    queries.find_old_jobs, command_id, before_ms, start, SLICE_JOBS, states
                )
                ids = found.deletable[:most]
                if ids:
                    chosen = set(ids)
                    await self._remove_output([key for key in found.attempts if key[0] in chosen])
                    deleted += int(await self._store.execute(requests.DeleteJobs(ids)))
            if ids:
                await asyncio.sleep(_PAUSE_S)
            start = found.next
        self._deleted_jobs += deleted
        return deleted

    async def _count_excess_jobs(self, command_id: int, limit: float) -> int:
        if math.isinf(limit):
            return 0
        totals = await self._store.read(queries.read_totals)
        return r.find_excess(limit, totals.ended.get(command_id, 0))

    async def _delete_output(self, command_id: int | None, limit_bytes: float | None) -> None:
        """Delete the oldest output of a command, or of all for None, while there are more than
        `limit_bytes`."""
        if limit_bytes is None or math.isinf(limit_bytes):
            return
        while True:
            async with self._deletion_lock:
                sizes = (await self._store.read(queries.read_totals)).output_bytes
                size = sum(sizes.values()) if command_id is None else sizes.get(command_id, 0)
                excess = r.find_excess(limit_bytes, size)
                if not excess:
                    return
                attempts = await self._store.read(
                    queries.find_old_output, command_id, excess, SLICE_JOBS
                )
                if not attempts:
                    return
                await self._remove_output(attempts)
                freed = await self._store.execute(requests.DiscardOutput(attempts))
                self._deleted_bytes += int(freed)
            await asyncio.sleep(_PAUSE_S)

    async def _delete_attempts(self) -> None:
        """Delete the oldest attempts of open jobs that have more than MAX_ATTEMPTS attempts."""
        while found := await self._store.read(queries.find_first_attempts, SLICE_JOBS):
            for job_id, numbers in found:
                attempts = [(job_id, n) for n in numbers]
                await self._remove_output(attempts)
                await self._store.execute(requests.DiscardOutput(attempts))
                await self._store.execute(requests.DeleteAttempts(job_id, numbers[-1]))
                await asyncio.sleep(_PAUSE_S)

    async def _sweep_classes(self, now_s: float) -> None:
        """Delete job classes that have no jobs any more, because all their jobs were deleted."""
        if now_s < self._next_sweep_s:
            return
        if await self._store.read(queries.count_classes) < self._min_swept_classes:
            return
        self._next_sweep_s = now_s + _CLASS_SWEEP_S
        await self._store.execute(requests.BeginClassSweep())
        unused = await self._store.read_long(queries.find_unused_classes)
        for first in range(0, len(unused), SLICE_JOBS):
            await self._store.execute(requests.DeleteClasses(unused[first : first + SLICE_JOBS]))

    async def read_status(self) -> responses.RetentionStatus:
        totals = await self._store.read(queries.read_totals)
        limits = self._limits
        return {
            "age_s": _finite(limits.age_s),
            "jobs": _whole(limits.jobs),
            "output_limit_bytes": _whole(limits.output_bytes),
            "ended_jobs": sum(totals.ended.values()),
            "output_bytes": sum(totals.output_bytes.values()),
            "deleted_jobs": self._deleted_jobs,
            "deleted_output_bytes": self._deleted_bytes,
            "last_pass_ms": self._last_pass_ms,
        }


def _parse(table: object) -> r.Retention:
    try:
        return r.read_retention(table or {})
    except DefinitionError:
        return r.Retention()  # written by a newer version of mythjobs: apply no limits


def _finite(limit: float | None) -> float | None:
    return None if limit is None or math.isinf(limit) else limit


def _whole(limit: float | None) -> int | None:
    return None if limit is None or math.isinf(limit) else int(limit)
