"""Sender: the child process that sends messages, started when it is needed."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import sys
from contextlib import suppress
from typing import Any, Final, NamedTuple

# Maximum time for one message. Apprise's services have timeouts of their own, of 4 to 15 s.
TIMEOUT_S: Final = 45.0
# The child ends after this time without messages, because it takes 60 MB of memory.
IDLE_S: Final = 60.0
_MAX_LINE: Final = 2**20
log = logging.getLogger(__name__)


class SendResult(NamedTuple):
    """Result of a try to send a message.

    error: why the message was not sent, "" if it was. took_s: the time that the service took,
    without the start of the child.
    """

    error: str
    took_s: float


class Sender:
    """Sends messages in a child process. All methods are called in one event loop.

    A message whose service hangs is given up after `timeout_s`; the child is killed as soon as
    no other message is in it.
    """

    def __init__(self, *, timeout_s: float = TIMEOUT_S, idle_s: float = IDLE_S) -> None:
        self._timeout_s = timeout_s
        self._idle_s = idle_s
        self._child: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._numbers = itertools.count(1)
        self._pending: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._is_hung = False
        self._idle_timer: asyncio.TimerHandle | None = None
        self._starting = asyncio.Lock()

    async def send(self, url: str, title: str, body: str, level: str) -> SendResult:
        """Send a message to an apprise URL.

        level: "info", "success", "warning" or "failure".
        """
        fields = {"op": "send", "url": url, "title": title, "body": body, "level": level}
        return _to_send_result(await self._request(fields))

    async def call(self, url: str, timeout_s: float | None = None) -> SendResult:
        """Request a heartbeat URL. timeout_s: None is that of the sender."""
        return _to_send_result(await self._request({"op": "call", "url": url}, timeout_s))

    async def check(self, url: str) -> tuple[str, str]:
        """Return an apprise URL without secrets, and why it is invalid, "" if it is valid."""
        result = await self._request({"op": "check", "url": url})
        return result["shown"], result["error"]

    async def close(self) -> None:
        """End the child. Messages in it count as not sent."""
        # While this waits, the next message may start another child, and its task.
        child, self._child = self._child, None
        reading, self._reading = self._reading, None
        if self._idle_timer is not None:
            self._idle_timer.cancel()
        if child is not None:
            with suppress(ProcessLookupError):
                child.kill()
            await child.wait()
        if reading is not None:
            await reading

    async def _request(
        self, fields: dict[str, str], timeout_s: float | None = None
    ) -> dict[str, Any]:
        timeout_s = self._timeout_s if timeout_s is None else timeout_s
        try:
            child = await self._start()
        except OSError as error:
            return _fail(f"cannot start the sender: {error.strerror}")
        number = next(self._numbers)
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._pending[number] = future
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps({"id": number, **fields}).encode() + b"\n")
            async with asyncio.timeout(timeout_s):
                return await future
        except TimeoutError:
            self._is_hung = True
            return _fail(f"no answer for {timeout_s:g} s", timeout_s)
        finally:
            self._pending.pop(number, None)
            if not self._pending:
                await self._rest()

    async def _start(self) -> asyncio.subprocess.Process:
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None
        async with self._starting:
            if self._child is None:
                # -P: do not import modules from the current directory. In a session of its own
                # it gets no signal for Ctrl-C, and ends when the master closes its input.
                self._child = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-P",
                    "-m",
                    "mythjobs.master.notify.sender_program",
                    stdin=asyncio.subprocess.PIPE,
                    stdout=asyncio.subprocess.PIPE,
                    start_new_session=True,
                    limit=_MAX_LINE,
                )
                self._reading = asyncio.create_task(self._read(self._child))
            return self._child

    async def _read(self, child: asyncio.subprocess.Process) -> None:
        assert child.stdout is not None
        while line := await child.stdout.readline():
            result: dict[str, Any] = json.loads(line)
            future = self._pending.get(result["id"])
            if future is not None and not future.done():
                future.set_result(result)
        await child.wait()
        if self._child is child or self._child is None:
            self._child = None
            for future in self._pending.values():
                if not future.done():
                    future.set_result(_fail("the sender has ended"))

    async def _rest(self) -> None:
        """Kill a child that hangs; otherwise end it after a while without messages."""
        if self._is_hung:
            self._is_hung = False
            await self.close()
        elif self._child is not None:
            loop = asyncio.get_running_loop()
            self._idle_timer = loop.call_later(self._idle_s, self._end_idle)

    def _end_idle(self) -> None:
        if self._child is not None and not self._pending:
            assert self._child.stdin is not None
            self._child.stdin.close()
            self._child = None


def _fail(error: str, took_s: float = 0.0) -> dict[str, Any]:
    """Return a result as of the child, for a request without one."""
    return {"error": error, "shown": "", "took_s": took_s}


def _to_send_result(result: dict[str, Any]) -> SendResult:
    return SendResult(result["error"], result["took_s"])
