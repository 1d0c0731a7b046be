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
# An agent for which more bytes than this are unsent is disconnected. No state is lost: the `hello`
# on its next connection has everything.
_MAX_UNSENT_BYTES: Final = 32 * 2**20
# Updates that can be merged (`grew`, `status`) are deferred while more bytes than this are unsent.
_BACKLOG_BYTES: Final = 256 * 1024
_RETRY_MS: Final = 1000
_UCRED: Final = struct.Struct("3i")


class AgentSocket:
    """Listening socket and the connection of one agent. `send` queues encoded messages, `flush`
    writes all queued messages as one line."""

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
        # Buffer for recv_into(). recv() allocates a buffer of this size for each call, which malloc
        # maps and unmaps each time.
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
    def has_queued(self) -> bool:
        return bool(self._queued)

    @property
    def is_backlogged(self) -> bool:
        return len(self._unsent) > _BACKLOG_BYTES

    def send(self, text: str) -> None:
        """Queue a message for the agent. Drop it if no agent is connected: the next one gets all
        state in `hello`."""
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
        """Disconnect an agent that no longer sends pings."""
        self._disconnect("it does not respond")

    def close(self) -> None:
        self._disconnect("")
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()

    def _listen(self) -> None:
        self._loop.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        """Accept the connection of an agent and stop listening. Another agent waits in the kernel's
        backlog until this one disconnects."""
        try:
            agent, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # No descriptor is free for the connection. Try again later: the end of a job frees its
            # descriptors.
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
        """Send as many bytes as the socket takes, and keep the rest in _unsent; watch the socket
        for WRITE while there is a rest."""
        was_waiting = bool(self._unsent)
        try:
            data = data[agent.send(data) :]
        except BlockingIOError:
            pass
        except OSError:
            # The agent has disconnected: drop what was to be sent, but keep reading its last
            # messages until end of file.
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
