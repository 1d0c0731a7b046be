"""When a reaper without an agent exits."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue

import pytest

from mythjobs.process.event_loop import EventLoop
from mythjobs.process.reaper.attempt import AttemptDirectories
from mythjobs.process.reaper.host import ReaperHost
from mythjobs.process.reaper.server import Reaper
from tests.integration.process.reaper_agent import TIMEOUT_S, Agent

# Timers that are due later than this end the time without an agent.
_LONG_MS = 50_000


class SteppedLoop(EventLoop):
    """Runs long timers only when the test says that their time has come."""

    def __init__(self) -> None:
        super().__init__()
        self._long_timers: list[list[Callable[[], None]]] = []

    def call_at(self, run_ms: int, callback: Callable[[], None]) -> list[Callable[[], None]]:
        if run_ms - self.now.run_ms < _LONG_MS:
            return super().call_at(run_ms, callback)
        self._long_timers.append(timer := [callback])
        return timer

    def pass_long_time(self) -> None:
        """Wait until a long timer is set, and let all that are set run."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while not self._run_long_timers():
            assert time.monotonic() < deadline_s, "no timer is set"
            time.sleep(0.005)

    def _run_long_timers(self) -> int:
        """Run the long timers in the loop's thread; return their number."""
        ran: SimpleQueue[int] = SimpleQueue()

        def run_all() -> None:
            due, self._long_timers = self._long_timers, []
            callbacks = [callback for timer in due for callback in timer]
            for callback in callbacks:
                callback()
            ran.put(len(callbacks))

        self.call_soon(run_all)
        return ran.get(timeout=TIMEOUT_S)


class SteppedHost(ReaperHost):
    def create_loop(self) -> SteppedLoop:
        return SteppedLoop()


class ReaperThread:
    """A reaper in a thread of the test."""

    def __init__(self, base: Path) -> None:
        self.directory = base / "r1"
        self.directory.mkdir()
        self._null_fd = os.open(os.devnull, os.O_RDONLY)
        directories = AttemptDirectories(str(base), str(base), str(base), self._null_fd, 0o77)
        path = str(self.directory / "socket")
        self._reaper = Reaper(str(self.directory), path, directories, SteppedHost())
        self._thread = threading.Thread(target=self._reaper.run)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        return self._thread.is_alive()

    def pass_long_time(self) -> None:
        loop = self._reaper.loop
        assert isinstance(loop, SteppedLoop)
        loop.pass_long_time()

    def wait_exit(self) -> None:
        self._thread.join(TIMEOUT_S)
        assert not self.is_running, "the reaper did not exit"

    def close(self) -> None:
        self._reaper.on_sigterm()
        self.wait_exit()
        self._reaper.loop.close()
        os.close(self._null_fd)


@pytest.fixture
def reaper(tmp_path: Path) -> Iterator[ReaperThread]:
    reaper = ReaperThread(tmp_path)
    yield reaper
    reaper.close()


def test_a_reaper_keeps_unacknowledged_ends_for_the_next_agent(reaper: ReaperThread) -> None:
    first = Agent(reaper.directory)
    first.run(1, ["/no/such/program"])
    first.close()
    reaper.pass_long_time()
    reaper.pass_long_time()
    second = Agent(reaper.directory)
    [end] = second.hello["attempts"]
    second.ack(end)
    second.close()
    assert reaper.is_running
    reaper.pass_long_time()
    reaper.wait_exit()
    assert not reaper.directory.exists()


def test_a_reaper_whose_directory_was_deleted_exits_with_unacknowledged_ends(
    reaper: ReaperThread, capfd: pytest.CaptureFixture[str]
) -> None:
    # Seen: reapers of deleted state directories stayed until the machine was switched off.
    agent = Agent(reaper.directory)
    agent.run(1, ["/no/such/program"])
    shutil.rmtree(reaper.directory)
    agent.close()
    reaper.pass_long_time()
    reaper.wait_exit()
    assert f"{reaper.directory} was deleted: exiting with 1 unacknowledged ends" in (
        capfd.readouterr().err
    )
