"""The master's loop: requests into turns, what turns say to agents and to those who wait."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import mythjobs
from mythjobs.clock import master_now
from mythjobs.config.state import StateDir
from mythjobs.errors import BadRequest, no_such_command
from mythjobs.master import requests
from mythjobs.master.catalog import read_command
from mythjobs.master.core import Core, Result
from mythjobs.master.explain import job as explain_job
from mythjobs.master.explain import machine as explain_machine
from mythjobs.master.explain import replay
from mythjobs.master.handlers import batches
from mythjobs.master.handlers.submit import own_words
from mythjobs.master.link.lease_timer import LeaseTimer
from mythjobs.master.link.server import LinkServer
from mythjobs.master.output.reader import AttemptOutput, OutputReader
from mythjobs.master.state import Memory
from mythjobs.master.turn_runner import Committed, Turns
from mythjobs.model.command import RUN, Command
from mythjobs.model.life import FINAL
from mythjobs.protocol.messages import MasterFrame
from mythjobs.protocol.requests import BatchSubmit
from mythjobs.store.open import open_store, redact_password
from mythjobs.store.queries.batches import read_batch
from mythjobs.store.queries.commands import read_queue_counts
from mythjobs.store.queries.job_details import find_attempt_machines, read_attempt_output
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import commands

P = ParamSpec("P")
T = TypeVar("T")


class Master:
    """Everything a face needs of a running master. Lives in one event loop.

    Raises what Store raises. `failed` completes, with its exception, if the store or the core
    cannot go on; nothing is acknowledged after that.
    """

    def __init__(
        self,
        state_dir: StateDir,
        key: Ed25519PrivateKey,
        *,
        allow_local: bool,
        local_jobs: int | None,
        store: str | Path | None = None,
    ) -> None:
        """`store` is a path or a URL, else the file of the state directory."""
        self.state_dir = state_dir
        self.store = redact_password(str(store or state_dir.store))
        self.key = key
        self.started_ms = master_now().wall_ms
        self._store = open_store(store or state_dir.store)
        self._core = Core(allow_local=allow_local, local_jobs=local_jobs)
        self.outputs = OutputReader(state_dir.output, self)
        self.links = LinkServer(key, self, self.outputs)
        self._lease_timer = LeaseTimer(lambda read_ms: self.post(requests.Tick(read_ms)))
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._waiters: dict[tuple[str, int], set[asyncio.Future[None]]] = {}
        self._turn_runner = Turns(
            self._store,
            self._core,
            master_now,
            committed=lambda turn: _call_in_loop(self._loop, self._publish, turn),
            failed=lambda error: _call_in_loop(self._loop, self._fail, error),
        )

    def start(self) -> None:
        self._turn_runner.start()
        self._lease_timer.set_due(self._core.memory.next_expiry_ms)

    async def close(self) -> None:
        self._lease_timer.close()
        await asyncio.to_thread(self._turn_runner.close)
        self._store.close()

    async def execute(self, request: requests.Request) -> Any:
        """Into the next turn; answered after its commit. Raises the MythJobsError of a refusal."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._turn_runner.ask(request, answer)
        return await answer

    def post(self, message: requests.Message) -> None:
        self._turn_runner.post(message)

    def _publish(self, committed: Committed) -> None:
        if committed.result is not None:
            self._send_frames(committed.result)
        for connection in committed.broken:
            self.links.close_connection(connection)
        # Grants go first: a machine can begin while the one who asked still reads its answer.
        for asked, answer in committed.answers:
            if asked.done():
                continue  # who asked is gone
            if isinstance(answer, BaseException):
                asked.set_exception(answer)
            else:
                asked.set_result(answer)
        for batch_id in committed.completed:
            self._wake_waiters("batch", batch_id)

    def _send_frames(self, result: Result) -> None:
        self._lease_timer.set_due(result.memory.next_expiry_ms)
        for connection in result.said.keys() | result.acks.keys():
            frame = MasterFrame(result.acks.get(connection, 0), result.said.get(connection, []))
            self.links.send_frame(connection, frame)
        if self._waiters:
            for job_id in result.over:
                self._wake_waiters("job", job_id)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    # Reads.

    async def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """function(tx, …) on a snapshot, in a thread."""

        def run() -> T:
            with self._store.snapshot() as tx:
                return function(tx, *args, **kwargs)

        return await asyncio.to_thread(run)

    async def read_status(self) -> dict[str, Any]:
        counts = await self.read(read_queue_counts)
        machines = await self.list_machines()
        return {
            "version": mythjobs.__version__,
            "pid": os.getpid(),
            "started_ms": self.started_ms,
            "store": self.store,
            **counts,
            "machines": [
                {name: each[name] for name in ("name", "state", "running", "jobs")}
                for each in machines["machines"]
            ],
        }

    async def list_machines(self) -> dict[str, Any]:
        now = master_now()
        machines = self._core.memory.machines.values()
        return {"machines": [explain_machine.machine_page(each, now) for each in machines]}

    @property
    def state(self) -> Memory:
        """As of the last commit; a snapshot that nobody changes."""
        return self._core.memory

    async def explain_job(self, job_id: int) -> dict[str, Any]:
        return await self.read(explain_job.why, self._core.memory, job_id, master_now())

    async def explain_machine(self, name: str) -> dict[str, Any]:
        """What a machine waits for. Raises NoSuchMachine."""
        memory, now = self._core.memory, master_now()
        return await self.read(explain_machine.why_machine, memory, name, now)

    async def replay(self, table: Mapping[str, object]) -> dict[str, Any]:
        """The last week's jobs against changed settings. Raises what whatif.what_if raises."""
        return await self.read(replay.what_if, self._core.memory, table, master_now())

    async def read_job(self, job_id: int) -> dict[str, Any]:
        """Raises NoSuchJob."""
        return await self.read(explain_job.job, self._core.memory, master_now(), job_id)

    async def list_jobs(self, **query: Any) -> dict[str, Any]:
        """Raises NoSuchCommand."""
        return await self.read(explain_job.jobs, self._core.memory, master_now(), **query)

    async def find_attempt_output(self, job: int, n: int | None) -> AttemptOutput:
        """What the store knows of an attempt's output. Raises NoSuchJob, BadRequest."""
        found = await self.read(read_attempt_output, job, n)
        machine = self._core.memory.machines[found["machine_id"]]
        over = found["state"] == "over"
        return AttemptOutput(found["n"], machine.machine_id, machine.name, over, found["output"])

    async def find_machines(self, of: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], int]:
        return await self.read(find_attempt_machines, list(of))

    # Waits.

    async def wait_job(
        self, job_id: int, seconds: float, gone: asyncio.Future[None] | None = None
    ) -> dict[str, Any]:
        """The job once it is over, or as it is after `seconds`, or when who asked is `gone`.
        Raises NoSuchJob."""
        page = partial(self.read_job, job_id)
        over = partial(self._wait_until_ended, "job", job_id, seconds, gone, page)
        return await over(lambda job: job["state"] in FINAL)

    async def wait_batch(
        self, batch_id: int, seconds: float, gone: asyncio.Future[None] | None = None
    ) -> dict[str, Any]:
        page = partial(self.read, read_batch, batch_id)
        over = partial(self._wait_until_ended, "batch", batch_id, seconds, gone, page)
        return await over(lambda batch: batch["over"])

    async def _wait_until_ended(
        self,
        kind: str,
        number: int,
        seconds: float,
        gone: asyncio.Future[None] | None,
        page: Callable[[], Awaitable[dict[str, Any]]],
        over: Callable[[dict[str, Any]], bool],
    ) -> dict[str, Any]:
        # Waiting begins before the first look, so that an end between the two is not missed.
        with self._register_waiter(kind, number) as ended:
            found = await page()
            if over(found):
                return found
            waits = [ended] if gone is None else [ended, gone]
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
            return await page()

    @contextlib.contextmanager
    def _register_waiter(self, kind: str, number: int) -> Iterator[asyncio.Future[None]]:
        waiters = self._waiters.setdefault((kind, number), set())
        future: asyncio.Future[None] = self._loop.create_future()
        waiters.add(future)
        try:
            yield future
        finally:
            waiters.discard(future)
            if not waiters:
                self._waiters.pop((kind, number), None)

    def _wake_waiters(self, kind: str, number: int) -> None:
        for future in self._waiters.get((kind, number), ()):
            if not future.done():
                future.set_result(None)

    # Batches.

    async def submit_batch(
        self, header: BatchSubmit, path: Path, submitter: str
    ) -> dict[str, int | list[int]]:
        """Submits a job for each line of a file. Raises BadRequest naming the line that is wrong;
        nothing is kept of such a batch."""
        defined = await self.read(commands.find_by_name, header.command)
        if defined is None:
            raise no_such_command(header.command)
        if header.command == RUN:
            raise BadRequest('"run" takes no batch file')
        command = read_command(defined.definition)
        jobs = await asyncio.to_thread(batches.count, path, command, header)
        slice_ = partial(
            requests.BatchSlice,
            command=header.command,
            revision_id=defined.revision_id,
            submitter=submitter,
            priority=header.priority,
            hold=header.hold,
            comment=header.comment,
            words=own_words(header),
            not_before_ms=header.not_before_ms,
            deadline_ms=header.deadline_ms,
        )
        if jobs <= batches.SLICE_JOBS:
            rows = list(batches.rows(path, command, header))
            place = await self.execute(slice_(place=None, offset=0, rows=rows, last=True))
        else:
            place = await self._submit_slices(slice_, header, path, command, jobs)
        return {"batch": place.batch, "ids": [place.first, place.first + jobs - 1], "jobs": jobs}

    async def _submit_slices(
        self,
        slice_: Callable[..., requests.BatchSlice],
        header: BatchSubmit,
        path: Path,
        command: Command,
        jobs: int,
    ) -> requests.BatchPlace:
        place: requests.BatchPlace = await self.execute(requests.BeginBatch(header.command, jobs))
        rows = batches.rows(path, command, header)
        try:
            for offset in range(0, jobs, batches.SLICE_JOBS):
                some = await asyncio.to_thread(lambda: list(islice(rows, batches.SLICE_JOBS)))
                last = offset + len(some) >= jobs
                await self.execute(slice_(place=place, offset=offset, rows=some, last=last))
        except BaseException:
            await asyncio.shield(self.execute(requests.DropBatch(place)))
            raise
        return place


def _call_in_loop(
    loop: asyncio.AbstractEventLoop, function: Callable[[T], None], argument: T
) -> None:
    # The loop may have ended while the last turn was committed: then nobody is left to tell.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, argument)
