"""Delivery service: sends stored messages, watches machines, calls the master's heartbeat URL."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar
from urllib.parse import urlsplit

from mythjobs.clock import Now, master_now
from mythjobs.config.sealing import Seal
from mythjobs.errors import ConfigError, MythJobsError
from mythjobs.master.notify import requests as r
from mythjobs.master.notify.addressing import decode_facts
from mythjobs.master.notify.last_lines import AttemptOutputReader, read_last_lines
from mythjobs.master.notify.retries import HEARTBEAT_MAX_AGE_MS
from mythjobs.master.notify.send_groups import SendGroups
from mythjobs.master.notify.sender import Sender, SendResult
from mythjobs.master.notify.watch import find_conditions
from mythjobs.master.requests import Message, Request
from mythjobs.master.state import MasterState
from mythjobs.model.message_text import render
from mythjobs.protocol.responses import FailingChannel
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import channels
from mythjobs.store.writes.channels import MessageRow, is_heartbeat

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("mythjobs.master")

WATCH_S: Final = 30.0
HEARTBEAT_S: Final = 60.0
_MAX_DUE: Final = 50
_MAX_PARALLEL: Final = 8
_RETRY_S: Final = 5.0
# Also the longest time until a clock that was set back is noticed.
_MAX_WAIT_S: Final = 600.0
_STEP_MS: Final = 60_000
_LEVELS: Final = {
    "failed": "failure",
    "lost": "failure",
    "channel": "failure",
    "recovered": "success",
    "returned": "success",
    "batch": "success",
}
# Kinds of messages that have the last lines of the job's output.
_WITH_LINES: Final = ("failed", "held")


class DeliveryStore(Protocol):
    """Interface of the master that the delivery service needs."""

    @property
    def state(self) -> MasterState: ...

    async def read(
        self, function: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...

    async def execute(self, request: Request) -> Any: ...

    def post(self, message: Message) -> None: ...


class DeliveryService:
    """Runs in the master's event loop. Messages are sent by a child process (Sender), so a turn
    never waits for a service. A message that was stored is sent at least once, also after a
    restart of the master, unless it fails for 22 hours."""

    def __init__(
        self,
        store: DeliveryStore,
        outputs: AttemptOutputReader,
        sender: Sender,
        seal: Seal,
        clock: Callable[[], Now] = master_now,
    ) -> None:
        self.sender = sender
        self.seal = seal
        self._store = store
        self._outputs = outputs
        self._clock = clock
        self._started_ms = clock().steady_ms
        self._is_woken = asyncio.Event()
        self._groups = SendGroups()
        self._tasks: set[asyncio.Task[None]] = set()
        self._checked: Now | None = None
        self._message_limit = asyncio.Semaphore(_MAX_PARALLEL)
        self._call_limit = asyncio.Semaphore(_MAX_PARALLEL)
        self._slow: set[tuple[int, int]] = set()

    def wake(self) -> None:
        """Have stored messages sent. Called after a turn has stored some."""
        self._is_woken.set()

    async def run(self) -> None:
        """Send messages, watch machines and call the heartbeat URL until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._send_messages())
            group.create_task(self._watch())
            group.create_task(self._call_heartbeat())

    async def close(self) -> None:
        tasks = [*self._tasks]
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.sender.close()

    async def _send_messages(self) -> None:
        while True:
            self._is_woken.clear()
            try:
                await self._check_clock()
                wait_s = await self.start_sending()
            except MythJobsError:  # the store is full or unreachable, which is logged elsewhere
                wait_s = _RETRY_S
            except Exception:
                log.exception("cannot send messages to channels, trying again in %g s", _RETRY_S)
                wait_s = _RETRY_S
            with suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._is_woken.wait()

    async def _check_clock(self) -> None:
        """Have messages sent that would wait for long because the clock was set back."""
        before, now = self._checked, self._clock()
        self._checked = now
        if before is None or now.wall_ms - before.wall_ms < now.run_ms - before.run_ms - _STEP_MS:
            if await self._store.read(channels.find_next_ms) is not None:
                await self._store.execute(r.HastenMessages())

    async def start_sending(self) -> float:
        """Start to send the messages whose time has come: those of each channel in order, and no
        channel waits for another. Return the seconds until there may be more to send."""
        loop_s = asyncio.get_running_loop().time()
        unavailable = self._groups.list_unavailable(loop_s)
        now_ms = self._clock().wall_ms
        due = await self._store.read(channels.read_due_messages, now_ms, _MAX_DUE, unavailable)
        groups: dict[int, list[MessageRow]] = {}
        for each in sorted(due, key=lambda row: row.message_id):
            groups.setdefault(each.channel_id, []).append(each)
        for channel_id, rows in groups.items():
            self._groups.begin(channel_id)
            task = asyncio.create_task(self._send_group(channel_id, rows))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        if len(due) == _MAX_DUE:
            return 0.0
        unavailable = self._groups.list_unavailable(loop_s)
        next_ms = await self._store.read(channels.find_next_ms, unavailable)
        waits_s = [_MAX_WAIT_S, self._groups.find_rest_s(loop_s)]
        if next_ms is not None:
            waits_s.append(max(next_ms - self._clock().wall_ms, 0) / 1000)
        return min(each for each in waits_s if each is not None)

    async def wait_until_idle(self) -> None:
        """Return when no message is being sent."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def _send_group(self, channel_id: int, rows: Sequence[MessageRow]) -> None:
        """Send messages one after the other, up to one for which the service hangs."""
        loop = asyncio.get_running_loop()
        limit = self._call_limit if is_heartbeat(channel_id) else self._message_limit
        try:
            for row in rows:
                async with limit:
                    error, took_s = await self._send(row)
                self._log_try(row, error)
                result = r.DeliveryResult(
                    row.message_id, channel_id, row.topic, row.created_ms, row.tries + 1, error
                )
                await self._record(result)
                if self._groups.record_try(
                    channel_id, failed=bool(error), took_s=took_s, now_s=loop.time()
                ):
                    break
        except Exception:
            log.exception("cannot send a message, trying again in %g s", _RETRY_S)
            await asyncio.sleep(_RETRY_S)
        finally:
            self._groups.end(channel_id)
            self.wake()

    def _log_try(self, row: MessageRow, error: str) -> None:
        if is_heartbeat(row.channel_id):
            channel = "heartbeat"
        else:
            targets = self._store.state.notify.targets.values()
            names = [e.row.name for e in targets if e.row.channel_id == row.channel_id]
            channel = names[0] if names else "a removed channel"
        fields = {"channel": channel, "kind": row.kind, "title": row.title, "error": error or None}
        if error:
            log.warning('cannot send "%s" to %s: %s', row.title, channel, error, extra=fields)
        elif not is_heartbeat(row.channel_id):
            log.info('sent "%s" to %s', row.title, channel, extra=fields)

    async def _record(self, result: r.DeliveryResult) -> None:
        """Store a result. While the store cannot be written, wait: a message whose result is not
        stored would be sent again."""
        while True:
            try:
                await self._store.execute(r.RecordDeliveries([result]))
                return
            except MythJobsError:
                await asyncio.sleep(_RETRY_S)

    async def _send(self, row: MessageRow) -> SendResult:
        if is_heartbeat(row.channel_id):
            if self._clock().wall_ms - row.created_ms > HEARTBEAT_MAX_AGE_MS:
                return SendResult("too late, the master was not running", 0.0)
            return await self.sender.call(json.loads(row.facts)["url"])
        targets = self._store.state.notify.targets.values()
        found = next((e.row for e in targets if e.row.channel_id == row.channel_id), None)
        if found is None:
            return SendResult("the channel was removed", 0.0)
        try:
            url = self.seal.decrypt(found.url)
        except ConfigError as error:
            return SendResult(error.sentence, 0.0)
        facts = decode_facts(row.facts)
        lines = ""
        first = facts[0]
        if row.kind in _WITH_LINES and first.job is not None:
            lines = await read_last_lines(self._outputs, first.job, first.n)
        since = datetime.fromtimestamp(min(e.since_ms for e in facts) / 1000).astimezone()
        title, body = render(facts, row.template, lines, f"{since:%Y-%m-%d %H:%M}")
        return await self.sender.send(url, title, body, _LEVELS.get(row.kind, "warning"))

    async def send_test(self, url: str, name: str) -> str:
        """Send a test message to an encrypted URL. Return why it was not sent, "" if it was."""
        body = f"This is a test of the notification channel {name}."
        try:
            plain = self.seal.decrypt(url)
        except ConfigError as error:
            return error.sentence
        return (await self.sender.send(plain, "mythjobs: test", body, "info")).error

    def describe_heartbeat(self) -> str:
        """Return the master's heartbeat URL without its path, "" if none is set."""
        if not (sealed := self._store.state.notify.heartbeat):
            return ""
        try:
            parts = urlsplit(self.seal.decrypt(sealed))
        except ConfigError:
            return "unreadable"
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…"

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                self.watch_once()
            except Exception:  # the master works without it
                log.exception("cannot look for lost machines, trying again in %g s", WATCH_S)

    def watch_once(self) -> None:
        """Post what has changed about machines and slow attempts, if anything has."""
        state = self._store.state
        found = find_conditions(state, self._clock(), self._started_ms, self._slow)
        live = {
            (job_id, attempt.n)
            for machine in state.machines.values()
            for job_id, attempt in machine.live_attempts.items()
        }
        self._slow = (self._slow & live) | {(each.job, each.n) for each in found.slow}
        if found.lost or found.returned or found.slow:
            self._store.post(found)

    async def _call_heartbeat(self) -> None:
        before = ""
        while True:
            error = ""
            if sealed := self._store.state.notify.heartbeat:
                try:
                    error = (await self.sender.call(self.seal.decrypt(sealed))).error
                except ConfigError as failure:
                    error = failure.sentence
                except Exception as failure:
                    error = repr(failure)
            if error and not before:
                log.warning("cannot call the heartbeat URL: %s", error)
            before = error
            await asyncio.sleep(HEARTBEAT_S)


def list_failing_channels(state: MasterState) -> list[FailingChannel]:
    """Return name, time and error of each channel on which messages fail."""
    return [
        {"name": row.name, "since_ms": row.failing_ms, "error": row.error}
        for row in (each.row for each in state.notify.targets.values())
        if row.failing_ms is not None
    ]
