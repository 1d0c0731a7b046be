"""Simulated host of a reaper: event loop, threads and socket on simulated time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from mythjobs.clock import Now
from mythjobs.process.event_loop import EventLoop
from mythjobs.process.kernel import BootTimer
from mythjobs.process.reaper.attempt import ReaperAttempt
from mythjobs.process.reaper.connection import AgentSocket
from mythjobs.process.reaper.host import ReaperHost
from mythjobs.process.reaper.journal import ReaperJournal
from mythjobs.process.reaper.messages import LineReader, Message
from mythjobs.process.spawn.pool import SpawnPool, Work
from mythjobs.process.supervise.child import ChildEvents
from mythjobs.process.supervise.supervisor import Supervisor
from tests.simulation.simulator import ScheduledCall
from tests.simulation.supervisor import SimSupervisor

if TYPE_CHECKING:
    from tests.simulation.reaper import SimReaper

_SPAWN_MS: Final = 5
_RETRY_MS: Final = 1000
_TIMER_FD: Final = 1


class SimReaperHost(ReaperHost):
    def __init__(self, reaper: SimReaper) -> None:
        self._reaper = reaper

    def read_boot_id(self) -> str:
        return self._reaper.boot_id

    def count_cpus(self) -> int:
        return 1

    def list_cgroup_parents(self) -> list[Any]:
        return []

    def create_loop(self) -> EventLoop:
        return SimReaperLoop(self._reaper)

    def create_boot_timer(self) -> BootTimer:
        return SimBootTimer(self._reaper)

    def create_spawn_pool(self) -> SpawnPool:
        return SimSpawnPool(self._reaper)

    def create_supervisor(
        self, loop: EventLoop, spawn_pool: SpawnPool, events: ChildEvents[ReaperAttempt]
    ) -> Supervisor[ReaperAttempt]:
        return SimSupervisor(self._reaper, loop, spawn_pool, events)

    def create_journal(
        self,
        loop: EventLoop,
        directory: str,
        header: str,
        on_synced: Callable[[int], None],
        on_failed: Callable[[], None],
    ) -> ReaperJournal:
        return SimReaperJournal(self._reaper, header, on_synced, on_failed)

    def create_socket(
        self,
        loop: EventLoop,
        path: str,
        hello: Callable[[], str],
        receive: Callable[[list[Message]], None],
    ) -> AgentSocket:
        return SimAgentSocket(self._reaper, hello, receive)

    def has_directory(self, directory: str) -> bool:
        return True

    def remove_directory(self, directory: str) -> None:
        self._reaper.remove_directory()


class SimReaperLoop(EventLoop):
    """Each simulated event is one iteration of the loop."""

    def __init__(self, reaper: SimReaper) -> None:
        self._reaper = reaper
        self._pending_calls: deque[Callable[[], None]] = deque()
        self._is_running = False
        self._watched: dict[int, Callable[[], None]] = {}
        self.now: Now = reaper.clock.now()

    def watch(self, fd: int, callback: Callable[[], None], events: int = 0) -> None:
        self._watched[fd] = callback

    def unwatch(self, fd: int) -> None:
        del self._watched[fd]

    def call_at(self, run_ms: int, callback: Callable[[], None]) -> list[Callable[[], None]]:
        timer = [callback]
        self._reaper.call_at_steady(run_ms, self._run_timer, timer)
        return timer

    def _run_timer(self, timer: list[Callable[[], None]]) -> None:
        for callback in timer:
            self.iterate(callback)

    def call_soon(self, callback: Callable[[], None]) -> None:
        if self._is_running:
            self._pending_calls.append(callback)
        else:
            self._reaper.call_later(0, self.iterate, callback)

    def run_watched(self, fd: int) -> None:
        self.iterate(self._watched[fd])

    def iterate(self, callback: Callable[[], None]) -> None:
        self.now = self._reaper.clock.now()
        self._is_running = True
        callback()
        while self._pending_calls:
            self._pending_calls.popleft()()
        self._is_running = False
        self._reaper.end_turn()


class SimBootTimer(BootTimer):
    def __init__(self, reaper: SimReaper) -> None:
        self.fd = _TIMER_FD
        self._reaper = reaper
        self._call: ScheduledCall | None = None

    def arm(self, boot_ms: int | None) -> None:
        if self._call is not None:
            self._call.cancel()
            self._call = None
        if boot_ms is not None:
            self._call = self._reaper.call_at_steady(boot_ms, self._expire)

    def _expire(self) -> None:
        self._reaper.loop.run_watched(self.fd)

    def acknowledge(self) -> None:
        self._call = None

    def close(self) -> None:
        pass


class SimSpawnPool(SpawnPool):
    """Runs each work a few milliseconds later, as a thread of its own."""

    def __init__(self, reaper: SimReaper) -> None:
        self._reaper = reaper

    def submit(self, work: Work | None) -> None:
        assert work is not None
        delay_ms = self._reaper.sim.random.randrange(_SPAWN_MS)
        self._reaper.call_later(delay_ms, work, _spawn_nothing)

    def shut_down(self) -> None:
        pass


def _spawn_nothing(_: object) -> int:
    raise AssertionError("the simulated supervisor spawns no process")


class SimReaperJournal(ReaperJournal):
    """The real journal on the simulated disk. Syncs take time; its thread is simulated."""

    def __init__(
        self,
        reaper: SimReaper,
        header: str,
        on_synced: Callable[[int], None],
        on_failed: Callable[[], None],
    ) -> None:
        self._reaper = reaper
        self._seq = 0  # to sync
        self._is_busy = False
        super().__init__(reaper.journal_path, header, on_synced, on_failed, reaper.disk.files)

    def _start_thread(self) -> None:
        """Start no thread: requests are served by simulated calls."""

    def request_flush(self) -> None:
        self.request_sync(0)

    def request_sync(self, seq: int) -> None:
        self._seq = max(self._seq, seq)
        if not self._is_busy:
            self._is_busy = True
            self._reaper.call_later(0, self._serve)

    def _serve(self) -> None:
        if not self._write():
            self._reaper.call_later(_RETRY_MS, self._serve)
            return
        seq, self._seq = self._seq, 0
        if seq:
            self._reaper.call_later(self._reaper.disk.draw_sync_ms(), self._finish, seq)
        else:
            self._is_busy = False

    def _finish(self, seq: int) -> None:
        self._sync(seq)
        self._is_busy = False
        if self._seq:
            self.request_sync(self._seq)

    def close(self) -> None:
        self._write()


class SimAgentSocket(AgentSocket):
    """Connection to one agent, which decodes each line as a whole."""

    def __init__(
        self,
        reaper: SimReaper,
        hello: Callable[[], str],
        receive: Callable[[list[Message]], None],
    ) -> None:
        self._reaper = reaper
        self._hello = hello
        self._receive = receive
        self._queued: list[str] = []
        self._reader = LineReader()

    @property
    def is_connected(self) -> bool:
        return self._reaper.send_to_agent is not None

    @property
    def has_queued(self) -> bool:
        return bool(self._queued)

    @property
    def is_backlogged(self) -> bool:
        return False

    def accept(self) -> None:
        self._queued = [self._hello()]

    def receive(self, line: bytes) -> None:
        self._receive(self._reader.feed(line))

    def send(self, text: str) -> None:
        if self._reaper.send_to_agent is not None:
            self._queued.append(text)

    def flush(self) -> None:
        if self._queued and self._reaper.send_to_agent is not None:
            self._reaper.send_to_agent(f"[{','.join(self._queued)}]".encode("ascii"))
        self._queued.clear()

    def close(self) -> None:
        pass
