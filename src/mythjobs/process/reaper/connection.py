"""The reaper's socket: serves one agent at a time and never blocks on it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from mythjobs.errors import ProtocolError
from mythjobs.process.event_loop import READ, WRITE, EventLoop, log, log_exception
from mythjobs.process.reaper.messages import LineReader, Message

_READ_BYTES: Final = 256 * 1024
# An agent with more unsent bytes is disconnected; the next connection gets everything in `hello`.
_MAX_UNSENT_BYTES: Final = 32 * 2**20
# Updates that can be merged (`grew`, `status`) wait while more bytes are unsent.
_BACKLOG_BYTES: Final = 256 * 1024
_RETRY_MS: Final = 1000
_UCRED: Final = struct.Struct("3i")


class AgentSocket:
    """Queues encoded messages with `send` and writes them as one line with `flush`."""

    def __init__(
        self,
        loop: EventLoop,
        path: str,
        hello: Callable[[], str],
        receive: Callable[[list[Message]], None],
    ) -> None:
        self._loop = loop
        self._hello = hello
        self._receive = receive
        self._agent: socket.socket | None = None
        self._reader = LineReader()
        # recv() would map and unmap a buffer of this size for each message.
        self._buffer = bytearray(_READ_BYTES)
        self._view = memoryview(self._buffer)
        self._queued: list[str] = []
        self._unsent = memoryview(b"")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(path)
        self._listener.listen(16)
        self._listen()

    @property
    def is_connected(self) -> bool:
        return self._agent is not None

    @property
    def is_backlogged(self) -> bool:
        return len(self._unsent) > _BACKLOG_BYTES

    def send(self, text: str) -> None:
        """Queue a message; drop it without an agent, as the next one gets all state in `hello`."""
        if self._agent is not None:
            self._queued.append(text)

    def flush(self) -> None:
        if not self._queued or self._agent is None:
            return
        line = f"[{','.join(self._queued)}]\n".encode("ascii")
        self._queued.clear()
        if not self._unsent:
            self._write(self._agent, memoryview(line))
        elif len(self._unsent) + len(line) > _MAX_UNSENT_BYTES:
            self._disconnect(f"more than {_MAX_UNSENT_BYTES} bytes are unread")
        else:
            self._unsent = memoryview(bytes(self._unsent) + line)

    def disconnect_silent(self) -> None:
        """Disconnect an agent that has stopped to ping."""
        self._disconnect("it does not respond")

    def close(self) -> None:
        self._disconnect("")
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()

    def _listen(self) -> None:
        self._loop.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        """Accept one agent. The next one waits in the kernel's backlog until it disconnects."""
        try:
            agent, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # Out of descriptors: a job that ends frees some.
            log(f"cannot accept an agent: {error}")
            self._loop.unwatch(self._listener.fileno())
            self._loop.call_at(self._loop.now.run_ms + _RETRY_MS, self._listen)
            return
        raw = agent.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        _, user, _ = _UCRED.unpack(raw)
        if user not in (0, os.geteuid()):
            agent.close()
            return
        agent.setblocking(False)
        self._loop.unwatch(self._listener.fileno())
        self._agent = agent
        self._reader = LineReader()
        self._loop.watch(agent.fileno(), self._on_ready)
        self.send(self._hello())

    def _on_ready(self) -> None:
        agent = self._agent
        if agent is None:
            return
        if self._unsent:
            self._write(agent, self._unsent)
        try:
            size = agent.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError as error:
            self._disconnect(str(error))
            return
        if not size:
            self._disconnect("")
            return
        try:
            self._receive(self._reader.feed(bytes(self._view[:size])))
        except ProtocolError as error:
            self._disconnect(error.sentence)
        except Exception:
            log_exception()
            self._disconnect("internal error in the reaper; the traceback is above")

    def _write(self, agent: socket.socket, data: memoryview) -> None:
        """Send what fits into the socket; watch for WRITE while bytes are left."""
        was_waiting = bool(self._unsent)
        try:
            data = data[agent.send(data) :]
        except BlockingIOError:
            pass
        except OSError:
            # The agent has disconnected. Its last messages are still read, up to the end of file.
            data = data[:0]
        self._unsent = data
        if bool(data) != was_waiting:
            self._loop.modify(agent.fileno(), READ | WRITE if data else READ)

    def _disconnect(self, reason: str) -> None:
        agent, self._agent = self._agent, None
        if agent is None:
            return
        if reason:
            log(f"agent disconnected: {reason}")
        self._loop.unwatch(agent.fileno())
        agent.close()
        self._queued.clear()
        self._unsent = memoryview(b"")
        self._listen()
