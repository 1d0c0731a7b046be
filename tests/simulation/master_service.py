"""The coroutines of the master's process: retention, and the submit of batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from mythjobs.clock import Now
from mythjobs.errors import MythJobsError
from mythjobs.master import requests
from mythjobs.master.catalog import decode_command
from mythjobs.master.handlers.submit import encode_job_arguments
from mythjobs.master.retention import RetentionService
from mythjobs.model.retention import read_retention
from mythjobs.store.writes import commands
from tests.simulation.async_loop import SimEventLoop

if TYPE_CHECKING:
    from tests.simulation.master import MasterProcess

# Duration of a query in a thread.
_READ_MS: Final = 4

OnBatch = Callable[[Sequence[int]], None]


class SimMasterService:
    """Model of master/service.py for one process of the master; ends with the process.

    retention: the [retention] table of the queue; None switches retention off.
    """

    def __init__(self, process: MasterProcess, retention: dict[str, Any] | None) -> None:
        self._process = process
        self._sim = process.sim
        self.loop = SimEventLoop(  # type: ignore[abstract]  # what coroutines here never call
            process, self._report_crash
        )
        self._tasks: list[asyncio.Task[Any]] = []
        self._retention = _SimRetention(self, process.now, retention or {})
        if retention is not None:
            self._start(self._retention.run())

    def _start(self, coroutine: Any) -> None:
        self._tasks.append(self.loop.create_task(coroutine))

    def _report_crash(self, error: BaseException) -> None:
        self._sim.report_violation("CRASH", f"a task of the master raised {error!r}")

    # What RetentionService needs of the master.

    async def read(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        await asyncio.sleep(self._sim.random.randrange(1, _READ_MS) / 1000)
        with self._process.store.snapshot() as tx:
            return function(tx, *args, **kwargs)

    async def read_long(self, function: Callable[..., Any]) -> Any:
        return await self.read(function)

    async def execute(self, request: requests.Request) -> Any:
        """Return the response. Raises the MythJobsError with which the request is rejected."""
        answer = self.loop.create_future()

        def on_response(response: Any) -> None:
            if isinstance(response, MythJobsError):
                answer.set_exception(response)
            else:
                answer.set_result(response)

        self._process.put_request(request, on_response)
        return await answer

    # Requests of users.

    def prune(self, before_ms: int, states: Sequence[str]) -> None:
        self._start(self._retention.prune_for_user(before_ms, states))

    def submit_batch(self, batch: dict[str, Any], on_batch: OnBatch) -> None:
        """Call `on_batch` with the ids of the jobs; never if the batch is not submitted."""
        self._start(self._submit_batch(batch, on_batch))

    async def _submit_batch(self, batch: dict[str, Any], on_batch: OnBatch) -> None:
        """Submit a batch in slices, as Master.submit_batch() does with a long file."""
        defined = await self.read(commands.find_by_name, batch["command"])
        command = decode_command(defined.definition)
        rows = [
            requests.BatchRow(
                *encode_job_arguments(
                    command, row, None if row["about"] == "none" else row["about"]
                )
            )
            for row in batch["rows"]
        ]
        size = batch["slice"]
        try:
            ids = None
            if len(rows) > size:
                ids = await self.execute(requests.BeginBatch(batch["command"], len(rows)))
            for offset in range(0, len(rows), size):
                if batch["breaks_off"] and ids is not None and offset + size >= len(rows):
                    await self.execute(requests.DropBatch(ids))
                    return
                answer = await self.execute(
                    requests.BatchSlice(
                        ids,
                        batch["command"],
                        defined.revision_id,
                        "anna",
                        offset,
                        rows[offset : offset + size],
                        batch["priority"],
                        batch["hold"],
                        "",
                        offset + size >= len(rows),
                    )
                )
        except MythJobsError:
            if ids is not None:
                await self.execute(requests.DropBatch(ids))
            return
        on_batch(range(answer.first_job_id, answer.first_job_id + len(rows)))


class _SimRetention(RetentionService):
    """The real service. Job classes are swept however few there are."""

    def __init__(
        self, service: SimMasterService, now: Callable[[], Now], limits: dict[str, Any]
    ) -> None:
        self._service = service
        super().__init__(
            service, lambda _: _remove_no_output(), read_retention(limits), now, min_swept_classes=1
        )

    async def run_pass(self) -> None:
        """Run a pass. An unexpected exception, which the master would only log, is a violation."""
        try:
            await super().run_pass()
            self._service._sim.count("passes of retention")
        except MythJobsError:
            self._service._sim.count("passes of retention that failed")
        except Exception as error:
            self._service._report_crash(error)

    async def prune_for_user(self, before_ms: int, states: Sequence[str]) -> None:
        try:
            await self.prune(before_ms, states, lambda: False)
        except MythJobsError:
            self._service._sim.count("prunes that failed")


async def _remove_no_output() -> None:
    """Delete no output: simulated programs write none."""
