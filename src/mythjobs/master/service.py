"""Master service for the HTTP API: runs requests in turns, answers queries, waits for jobs."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, Final, ParamSpec, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import mythjobs
from mythjobs.clock import master_now
from mythjobs.config.sealing import Seal
from mythjobs.config.state import StateDir
from mythjobs.config.time_zone import find_time_zone
from mythjobs.master import requests
from mythjobs.master.core import MasterCore, TurnResult
from mythjobs.master.explain.job import explain_job, list_set_aside
from mythjobs.master.explain.job_pages import list_jobs_with_reasons, read_job_with_reason
from mythjobs.master.explain.machine import explain_machine, summarize_machine
from mythjobs.master.explain.replay import read_replay
from mythjobs.master.link.lease_timer import LeaseTimer
from mythjobs.master.link.server import LinkServer
from mythjobs.master.long_reads import LongReads
from mythjobs.master.lost_store import has_other_store, skip_ids_of_other_store
from mythjobs.master.metrics.service import MetricsService
from mythjobs.master.notify.delivery import DeliveryService, list_failing_channels
from mythjobs.master.notify.sender import Sender
from mythjobs.master.output.reader import AttemptOutput, OutputReader
from mythjobs.master.retention import RetentionService
from mythjobs.master.schedules.overview import list_unusable
from mythjobs.master.state import MasterState
from mythjobs.master.turn_runner import CommittedTurn, TurnRunner
from mythjobs.master.waiters import Waiters, wait_first
from mythjobs.model.life import FINAL
from mythjobs.model.retention import DEFAULT as DEFAULT_RETENTION
from mythjobs.model.retention import Retention
from mythjobs.protocol import machine_responses, responses
from mythjobs.protocol.messages import MasterFrame
from mythjobs.store.open import open_store, redact_password
from mythjobs.store.queries.batches import read_batch
from mythjobs.store.queries.commands import read_queue_counts
from mythjobs.store.queries.filters import find_lost_jobs
from mythjobs.store.queries.job_details import find_attempt_machines, read_attempt_output
from mythjobs.store.queries.notifications import count_unread
from mythjobs.store.transaction import Transaction

P = ParamSpec("P")
T = TypeVar("T")

# Time after the master's start during which requests may wait for the local agent to connect.
_LOCAL_AGENT_STARTS_S: Final = 10.0
# Time in which long reads end after the master has interrupted them, unless they only compute.
_INTERRUPT_S: Final = 1.0
# Requests that wait for the local agent: their response reports if no machine is connected.
_EXPLAINED: Final = (requests.SubmitJob, requests.DefineCommand)


class Master:
    """A running master, as the HTTP API uses it. All methods are called in one event loop.

    All methods may raise the store's errors. The future `failed` gets an exception if the store
    or the core cannot continue; the master acknowledges nothing after that.
    """

    def __init__(
        self,
        state_dir: StateDir,
        key: Ed25519PrivateKey,
        *,
        allow_local: bool,
        local_jobs: int | None,
        store: str | Path | None = None,
        local_agent_wait_s: float = 0.0,
        retention: Retention = DEFAULT_RETENTION,
    ) -> None:
        """Open the store and create a master; start() starts it.

        store: path or URL, by default the file in the state directory.
        local_agent_wait_s: maximum time for which a request waits for the agent that is started
        together with the master, before its response says that no machine is connected.
        retention: limits for ended jobs and output of the whole queue.
        """
        self.state_dir = state_dir
        self.store = redact_password(str(store or state_dir.store))
        self.key = key
        self.started_ms = master_now().wall_ms
        location = store or state_dir.store
        has_traces = has_other_store(state_dir, location)
        self._store = open_store(location)
        self._warning = ""
        if has_traces:
            output = state_dir.output
            self._warning = skip_ids_of_other_store(self._store, self.store, output)
        self._core = MasterCore(
            allow_local=allow_local, local_jobs=local_jobs, zone=find_time_zone(os.environ)
        )
        self.outputs = OutputReader(state_dir.output, self)
        self.links = LinkServer(key, self, self.outputs)
        self.retention = RetentionService(self, self.outputs.remove, retention)
        self._lease_timer = LeaseTimer(lambda read_ms: self.post(requests.LeaseTick(read_ms)))
        self._loop = asyncio.get_running_loop()
        self.failed: asyncio.Future[None] = self._loop.create_future()
        self._local_agent_wait_s = local_agent_wait_s
        self._long_reads = LongReads()
        self._machine_joined = asyncio.Event()  # set when the first machine accepts jobs
        self._waiters = Waiters()
        self.metrics = MetricsService(self, self._core.measure)
        self.delivery = DeliveryService(self, self.outputs, Sender(), Seal(state_dir.secrets_key))
        self._turn_runner = TurnRunner(
            self._store,
            self._core,
            master_now,
            on_commit=lambda turn: _call_in_loop(self._loop, self._publish, turn),
            on_failure=lambda error: _call_in_loop(self._loop, self._fail, error),
        )

    def start(self) -> None:
        self._turn_runner.start()
        self._lease_timer.set_due(self._core.state.next_expiry_ms)

    async def close(self) -> None:
        self._lease_timer.close()
        await self.delivery.close()
        await asyncio.to_thread(self._store.interrupt_long_snapshots)
        await asyncio.to_thread(self._turn_runner.close)
        await self._long_reads.wait_ended(_INTERRUPT_S)
        self._store.close()

    async def execute(self, request: requests.Request) -> Any:
        """Run a request in the next turn; return its response after the commit.

        Raises the MythJobsError with which the handler rejects the request.
        """
        if isinstance(request, _EXPLAINED) and not self._machine_joined.is_set():
            await self._wait_for_local_agent()
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._turn_runner.put_request(request, answer)
        return await answer

    async def _wait_for_local_agent(self) -> None:
        """Shortly after the start, wait until a machine accepts jobs, normally the local agent."""
        since_start_s = (master_now().wall_ms - self.started_ms) / 1000
        if 0 <= since_start_s < _LOCAL_AGENT_STARTS_S:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._local_agent_wait_s):
                    await self._machine_joined.wait()

    def post(self, message: requests.Message) -> None:
        """Queue a message for the next turn. Unlike a request, a message gets no response."""
        self._turn_runner.put_message(message)

    def _publish(self, committed: CommittedTurn) -> None:
        if committed.result is not None:
            self._send_frames(committed.result)
            if not self._machine_joined.is_set():
                if any(each.is_ready for each in committed.result.state.machines.values()):
                    self._machine_joined.set()
        for connection_id in committed.failed_connections:
            self.links.close_connection(connection_id)
        # Responses follow after grants: a machine starts a job while the client reads its response.
        for future, answer in committed.responses:
            if future.done():
                continue  # the client disconnected
            if isinstance(answer, BaseException):
                future.set_exception(answer)
            else:
                future.set_result(answer)
        for batch_id in committed.completed_batches:
            self._waiters.wake("batch", batch_id)

    def _send_frames(self, result: TurnResult) -> None:
        self._lease_timer.set_due(result.state.next_expiry_ms)
        for connection_id in result.outgoing.keys() | result.acks.keys():
            messages = result.outgoing.get(connection_id, [])
            frame = MasterFrame(result.acks.get(connection_id, 0), messages)
            self.links.send_frame(connection_id, frame)
        self._waiters.wake_ended(result.ended, has_held=bool(result.held))
        if result.has_messages:
            self.delivery.wake()
        if result.observations is not None:
            self.metrics.add(result.observations)

    def _fail(self, error: BaseException) -> None:
        if not self.failed.done():
            self.failed.set_exception(error)

    # Methods that read the store or the state.

    async def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a query, function(tx, …), on a snapshot of the store in a thread."""

        def run() -> T:
            with self._store.snapshot() as tx:
                return function(tx, *args, **kwargs)

        return await asyncio.to_thread(run)

    async def read_long(self, function: Callable[[Transaction], T]) -> T:
        """Run function(tx) like read(); it may take minutes, and ends when the master stops."""

        def run() -> T:
            with self._store.snapshot(long=True) as tx:
                return function(tx)

        return await self._long_reads.run(run)

    async def read_status(self) -> responses.Status:
        counts = await self.read(read_queue_counts)
        machines = await self.list_machines()
        set_aside = await self.read(list_set_aside, self.state) if self.state.set_aside else []
        return {
            "version": mythjobs.__version__,
            "pid": os.getpid(),
            "started_ms": self.started_ms,
            "store": self.store,
            **counts,
            "machines": [
                {
                    "name": each["name"],
                    "state": each["state"],
                    "running": each["running"],
                    "jobs": each["jobs"],
                    "by_load": each["by_load"],
                    "control": each["control"],
                }
                for each in machines["machines"]
            ],
            "set_aside": set_aside,
            "lost": await self.read(find_lost_jobs),
            "retention": await self.retention.read_status(),
            "notifications": await self.read(count_unread),
            "failing_channels": list_failing_channels(self.state),
            "unusable_schedules": list_unusable(self.state),
            "warnings": self._list_warnings(),
        }

    def _list_warnings(self) -> list[str]:
        full = self._store.describe_full_disk()
        if full:
            full += "; until then no new jobs, commands and schedules are accepted"
        return [each for each in (self._warning, full) if each]

    async def list_machines(self) -> machine_responses.Machines:
        now = master_now()
        machines = [each for each in self.state.machines.values() if each.is_listed]
        return {"machines": [summarize_machine(each, now) for each in machines]}

    @property
    def state(self) -> MasterState:
        """The master's state as of the last commit; a turn replaces it and never modifies it."""
        return self._core.state

    async def explain_job(self, job_id: int) -> responses.Why:
        return await self.read(explain_job, self.state, job_id, master_now())

    async def explain_machine(self, name: str) -> machine_responses.WhyMachine:
        """Return why a machine does not run more jobs. Raises NoSuchMachine."""
        return await self.read(explain_machine, self.state, name, master_now())

    async def what_if(self, table: Mapping[str, object]) -> responses.WhatIf:
        """Replay the last week's jobs under changed settings.

        Raises DefinitionError, NoSuchMachine, NoSuchCommand.
        """
        state, now = self.state, master_now()
        found = await self.read_long(lambda tx: read_replay(tx, state, table, now))
        return await self._long_reads.run(found.run)

    async def read_job(self, job_id: int) -> responses.Job:
        """Return a job with the current reason why it waits. Raises NoSuchJob."""
        return await self.read(read_job_with_reason, self.state, master_now(), job_id)

    async def list_jobs(self, **query: Any) -> responses.Jobs:
        """Return a page of jobs, newest first. Raises NoSuchCommand."""
        return await self.read(list_jobs_with_reasons, self.state, master_now(), **query)

    async def find_attempt_output(self, job: int, n: int | None) -> AttemptOutput:
        """Return which machine has an attempt's output. Raises NoSuchJob, BadRequest."""
        found = await self.read(read_attempt_output, job, n)
        machine = self.state.machines[found["machine_id"]]
        ended = found["state"] == "over"
        return AttemptOutput(
            found["n"], machine.machine_id, machine.name, ended, found["output"], found["data"]
        )

    async def find_machines(self, of: Sequence[tuple[int, int]]) -> Mapping[tuple[int, int], int]:
        return await self.read(find_attempt_machines, list(of))

    # Methods that wait for the end of a job or batch.

    async def wait_job(
        self,
        job_id: int,
        wait_s: float,
        disconnected: asyncio.Future[None] | None = None,
        *,
        until_held: bool = False,
    ) -> responses.Job:
        """Return a job once it has ended, or after `wait_s`, or when the client disconnects.

        until_held: also return if the job is held, and when any other job becomes held, because
        this job may depend on the other one.
        Raises NoSuchJob.
        """
        kind = "job or hold" if until_held else "job"
        with self._waiters.register(kind, job_id) as ended:
            job = await self.read_job(job_id)
            if job["state"] not in FINAL and not (until_held and job["hold"]):
                await wait_first(ended, disconnected, wait_s)
                job = await self.read_job(job_id)
            return job

    async def wait_batch(
        self, batch_id: int, wait_s: float, disconnected: asyncio.Future[None] | None = None
    ) -> responses.Batch:
        """Return a batch once its jobs have ended, or after `wait_s`, or on a disconnect."""
        with self._waiters.register("batch", batch_id) as ended:
            batch = await self.read(read_batch, batch_id)
            if not batch["over"]:
                await wait_first(ended, disconnected, wait_s)
                batch = await self.read(read_batch, batch_id)
            return batch


def _call_in_loop(
    loop: asyncio.AbstractEventLoop, function: Callable[[T], None], argument: T
) -> None:
    # call_soon_threadsafe() raises RuntimeError if the event loop was closed while the last turn
    # was committed.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, argument)
