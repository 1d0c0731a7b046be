"""Agent for tests: sends requests to a reaper's socket and waits for its messages."""

from __future__ import annotations

import os
import select
import signal
import socket
import time
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from mythjobs.model.output_window import OutputWindow
from mythjobs.process.reaper.launch import find_socket_path, launch_reaper
from mythjobs.process.reaper.messages import LineReader, Message, encode_line
from mythjobs.process.reaper.output_file import read_window, stream_path

TIMEOUT_S = 60.0
ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8"}


class Home:
    """The directories of one agent."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.reapers = base / "reapers"
        self.output = base / "output"
        self.scratch = base / "scratch"
        self.runtime = base / "runtime"

    def launch(self, name: str = "r1") -> Path:
        directory = self.reapers / name
        launch_reaper(directory, output=self.output, scratch=self.scratch, runtime=self.runtime)
        return directory

    def read_output(self, end: Message, stream: int = 1) -> bytes:
        """Return all stored output of a stream of an ended attempt."""
        if "data" in end:
            return b64decode(end["data"][stream - 1])
        window = OutputWindow(*end["output"][stream - 1])
        path = stream_path(self.output, end["job"], end["n"], stream)
        data = b""
        while part := read_window(path, window, len(data), 2**20):
            data += part
        return data


class Agent:
    """One connection. `received` holds the messages that no wait has consumed."""

    def __init__(self, directory: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(str(find_socket_path(directory)))
        self._reader = LineReader()
        self.received: list[Message] = []
        # The disk of the reaper hangs, for test_hung_disk.py.
        self.is_frozen = False
        self.hello = self.wait_for("hello")
        self._process = os.pidfd_open(self.hello["pid"])

    def send(self, *messages: Message) -> None:
        self.socket.sendall(encode_line(messages))

    def start(self, job: int, argv: list[str], **more: Any) -> None:
        self.send(start(job, argv, **more))

    def wait_for(
        self, kind: str, job: int | None = None, where: Callable[[Message], bool] = bool
    ) -> Message:
        """Return the next message of this kind, about this job, that satisfies `where`."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while True:
            for each in self.received:
                if each["type"] == kind and job in (None, each.get("job")) and where(each):
                    self.received.remove(each)
                    return each
            assert time.monotonic() < deadline_s, f"no {kind} message: {self.received}"
            assert self.receive(), f"connection closed before {kind}: {self.received}"

    def receive(self) -> bool:
        """Receive the next messages; return False at the end of the connection."""
        data = self.socket.recv(2**20)
        self.received += self._reader.feed(data)
        return bool(data)

    def wait_ended(self, job: int) -> Message:
        return self.wait_for("ended", job)

    def ack(self, *ends: Message) -> None:
        self.send({"type": "ack", "ends": [[end["job"], end["n"]] for end in ends]})

    def wait_synced(self, end: Message) -> None:
        self.wait_for("synced", where=lambda each: each["seq"] >= end["seq"])

    def run(self, job: int, argv: list[str], **more: Any) -> Message:
        self.start(job, argv, **more)
        return self.wait_ended(job)

    def close(self) -> None:
        self.socket.close()
        if self._process >= 0:
            os.close(self._process)
            self._process = -1

    def stop_reaper(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal to the reaper and wait for its exit. TERM stops its jobs first."""
        signal.pidfd_send_signal(self._process, number)
        self.wait_reaper_exit()

    def wait_reaper_exit(self) -> None:
        """Wait until the reaper has exited and released all descriptors."""
        assert select.select([self._process], [], [], TIMEOUT_S)[0], "the reaper did not exit"
        self.close()


def start(job: int, argv: list[str], **more: Any) -> Message:
    n = more.get("n", 1)
    env = {**ENV, "MYTHJOBS_JOB": str(job), "MYTHJOBS_ATTEMPT": str(n), **more.pop("env", {})}
    message = {
        "type": "start", "job": job, "n": n, "argv": argv, "env": env, "cwd": "", "stdin": "",
        "streams": 1, "keep": [2**20, 2**20], "wall_s": None, "grace_s": 10.0, "watch": False,
        "scratch": False, "status": False,
    }  # fmt: skip
    return {**message, **more}


def sh(text: str, *args: str) -> list[str]:
    return ["/bin/sh", "-c", text, "sh", *args]


@contextmanager
def reaper(home: Home, name: str = "r1") -> Iterator[Agent]:
    """Launch a reaper and connect an agent; terminate both afterwards."""
    directory = home.launch(name)
    agent = Agent(directory)
    process = os.pidfd_open(agent.hello["pid"])
    try:
        yield agent
    finally:
        agent.close()
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGTERM)
        assert select.select([process], [], [], TIMEOUT_S)[0], "the reaper did not exit"
        os.close(process)


def read_to_end(fd: int) -> bytes:
    """Read until the last process that holds the other end has exited."""
    with open(fd, "rb") as file:
        return file.read()
