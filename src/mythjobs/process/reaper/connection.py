"""The reaper's end of its socket: one agent at a time, and never waiting for it."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Final

from mythjobs.errors import ProtocolError
from mythjobs.process.reaper.wire import LineReader, Message
from mythjobs.process.supervise.loop import READ, WRITE, Loop, log, log_exception

_CHUNK: Final = 256 * 1024
# An agent this far behind is cut off; the next one is told everything by `hello`.
_FURTHEST_BEHIND: Final = 32 * 2**20
# What can be said later in one go (output grew, status lines) waits while this much is unsent.
_BEHIND: Final = 256 * 1024
_RETRY_MS: Final = 1000
_UCRED: Final = struct.Struct("3i")


class Control:
    """`send` takes messages as JSON text; they leave with `flush`, one line for all of them."""

    def __init__(
        self,
        loop: Loop,
        path: str,
        hello: Callable[[], str],
        receive: Callable[[list[Message]], None],
    ) -> None:
        self._loop = loop
        self._hello = hello
        self._receive = receive
        self._agent: socket.socket | None = None
        self._reader = LineReader()
        # recv() would map and unmap as much for each message.
        self._buffer = bytearray(_CHUNK)
        self._view = memoryview(self._buffer)
        self._texts: list[str] = []
        self._unsent = memoryview(b"")
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(path)
        self._listener.listen(16)
        self._listen()

    @property
    def connected(self) -> bool:
        return self._agent is not None

    @property
    def behind(self) -> bool:
        return len(self._unsent) > _BEHIND

    def send(self, text: str) -> None:
        """Without an agent it is dropped: a new one hears all there is to know in `hello`."""
        if self._agent is not None:
            self._texts.append(text)

    def flush(self) -> None:
        if not self._texts or self._agent is None:
            return
        line = f"[{','.join(self._texts)}]\n".encode("ascii")
        self._texts.clear()
        if not self._unsent:
            self._write(self._agent, memoryview(line))
        elif len(self._unsent) + len(line) > _FURTHEST_BEHIND:
            self._drop("it does not read what it is sent")
        else:
            self._unsent = memoryview(bytes(self._unsent) + line)

    def close(self) -> None:
        if self._agent is not None:
            self._drop("")
        self._loop.unwatch(self._listener.fileno())
        self._listener.close()

    def _listen(self) -> None:
        self._loop.watch(self._listener.fileno(), self._accept)

    def _accept(self) -> None:
        """The next agent waits in the queue of the kernel until this one's words are read."""
        try:
            agent, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            # No descriptor is left: some job will give one back.
            log(f"no agent can be heard: {error}")
            self._loop.unwatch(self._listener.fileno())
            self._loop.at(self._loop.now.run_ms + _RETRY_MS, self._listen)
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
        self._loop.watch(agent.fileno(), self._ready)
        self.send(self._hello())

    def _ready(self) -> None:
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
            self._drop(str(error))
            return
        if not size:
            self._drop("")
            return
        try:
            self._receive(self._reader.feed(bytes(self._view[:size])))
        except ProtocolError as error:
            self._drop(error.sentence)
        except Exception:
            log_exception()
            self._drop("its message could not be carried out")

    def _write(self, agent: socket.socket, data: memoryview) -> None:
        """Send what the kernel takes; the rest waits, and we are told when there is room."""
        waiting = bool(self._unsent)
        try:
            data = data[agent.send(data) :]
        except BlockingIOError:
            pass
        except OSError:
            # It is gone; what it wrote last is still to be read, and then its end is seen.
            data = data[:0]
        self._unsent = data
        if bool(data) != waiting:
            self._loop.rewatch(agent.fileno(), READ | WRITE if data else READ)

    def _drop(self, why: str) -> None:
        agent, self._agent = self._agent, None
        if agent is None:
            return
        if why:
            log(f"the agent's connection was closed: {why}")
        self._loop.unwatch(agent.fileno())
        agent.close()
        self._texts.clear()
        self._unsent = memoryview(b"")
        self._listen()
