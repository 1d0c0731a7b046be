"""Everything that a reaper uses of its machine: event loop, threads, socket, files and children.

The simulation (docs/simulation.md) runs the reaper on a host of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

from mythjobs.process.cgroup.mounts import read_cgroup_mounts
from mythjobs.process.cgroup.pool import list_parents
from mythjobs.process.event_loop import EventLoop, log
from mythjobs.process.kernel import BootTimer
from mythjobs.process.reaper.attempt import ReaperAttempt
from mythjobs.process.reaper.connection import AgentSocket
from mythjobs.process.reaper.journal import ReaperJournal
from mythjobs.process.reaper.messages import Message
from mythjobs.process.reaper.native_journal import NativeJournal
from mythjobs.process.reaper.rmtree import remove_tree
from mythjobs.process.spawn.native import NativeSpawner
from mythjobs.process.spawn.pool import THREADS, SpawnPool
from mythjobs.process.supervise.child import ChildEvents
from mythjobs.process.supervise.supervisor import Supervisor

# A thread of the spawner is busy for up to ten milliseconds with each program that does not end at
# once.
_MAX_SPAWNER_THREADS: Final = 32


class ReaperHost:
    """The real machine. Each method creates the one object of its kind for a reaper."""

    def read_boot_id(self) -> str:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()

    def count_cpus(self) -> int:
        return len(os.sched_getaffinity(0))

    def list_cgroup_parents(self) -> list[Any]:
        return list_parents(read_cgroup_mounts())

    def create_loop(self) -> EventLoop:
        return EventLoop()

    def create_boot_timer(self) -> BootTimer:
        return BootTimer()

    def create_spawn_pool(self) -> SpawnPool:
        return SpawnPool()

    def create_supervisor(
        self, loop: EventLoop, spawn_pool: SpawnPool, events: ChildEvents[ReaperAttempt]
    ) -> Supervisor[ReaperAttempt]:
        spawner = None
        try:
            spawner = NativeSpawner(loop, THREADS, _MAX_SPAWNER_THREADS)
        except OSError as error:
            # It was not compiled, or threads are lacking. The spawn pool serves all starts then.
            log(f"no spawner in C: {error}")
        return Supervisor(loop, spawn_pool, events, spawner, keep_cgroup_files=spawner is not None)

    def create_journal(
        self,
        loop: EventLoop,
        directory: str,
        header: str,
        on_synced: Callable[[int], None],
        on_failed: Callable[[], None],
    ) -> ReaperJournal:
        path = os.path.join(directory, "journal")
        try:
            return NativeJournal(loop, path, header, on_synced, on_failed)
        except OSError as error:
            log(f"no appender in C: {error}")
            return ReaperJournal(path, header, on_synced, on_failed)

    def create_socket(
        self,
        loop: EventLoop,
        path: str,
        hello: Callable[[], str],
        receive: Callable[[list[Message]], None],
    ) -> AgentSocket:
        return AgentSocket(loop, path, hello, receive)

    def has_directory(self, directory: str) -> bool:
        """Return False if the reaper's directory was deleted."""
        try:
            os.stat(directory)
        except FileNotFoundError:
            return False
        except OSError:
            pass  # the disk fails: the directory may be there
        return True

    def remove_directory(self, directory: str) -> None:
        """Remove the reaper's directory with all that is in it."""
        remove_tree(directory)
