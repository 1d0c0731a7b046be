"""The bridge as a program: its threads, signals and files."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Final

from mythjobs.client.client import Client
from mythjobs.client.locate import find_socket
from mythjobs.config import locks
from mythjobs.config.log_setup import set_up_logging
from mythjobs.config.os_errors import explain_os_error, is_disk_error
from mythjobs.mythtv.bridge.job_request import JobRequests
from mythjobs.mythtv.bridge.monitor import Monitor
from mythjobs.mythtv.bridge.queue_loop import QueueLoop
from mythjobs.mythtv.bridge.recordings_loop import CONNECTED, STOP, RecordingsLoop
from mythjobs.mythtv.bridge.removal_loop import RemovalLoop
from mythjobs.mythtv.bridge.shutdown_block import ShutdownBlock
from mythjobs.mythtv.bridge.state_files import StatusFile, load_progress
from mythjobs.mythtv.bridge.table_loop import TableLoop
from mythjobs.mythtv.bridge.takeover import is_mythtv_idle, load_takeover
from mythjobs.mythtv.bridge.watch import RecordingWatch
from mythjobs.mythtv.database.address import parse_url
from mythjobs.mythtv.database.connection import MythDatabase
from mythjobs.mythtv.database.queue_table import QueueDatabase
from mythjobs.mythtv.services.client import Services, open_services
from mythjobs.mythtv.settings import (
    BridgeDir,
    BridgeSettings,
    bridge_dir,
    load_settings,
    require_settings,
)

SYSTEM_EVENTS: Final = 3
OTHER_EVENTS: Final = 2
# How often it is checked whether the settings have changed, or a thread has failed.
_CHECK_S: Final = 2.0
# The bridge's statements read or change few rows.
_STATEMENT_TIMEOUT_S: Final = 20.0
# Time between two attempts to connect while the database is away, at most.
_MAX_BACKOFF_S: Final = 30.0
# How long the threads may take to end: a frozen server would hold one of them for a minute.
_END_TIMEOUT_S: Final = 5.0
log = logging.getLogger(__name__)
Stops = queue.SimpleQueue[bool]


def run_bridge(root: str, *, ends_with_stdin: bool = False) -> int:
    """Run the bridge until a signal; return the exit code.

    root: the state directory of the master. ends_with_stdin: also end at the end of stdin, which
    comes when the master that started the bridge has died.

    Raises ConfigError, AlreadyRunning.
    """
    directory = bridge_dir(root)
    require_settings(directory)
    set_up_logging("mythtv")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    # A signal handler may put into this queue at any instant; setting an Event could deadlock.
    stops: Stops = queue.SimpleQueue()
    with locks.acquire(directory.lock, "a bridge to MythTV"):
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stops.put(True))
        if ends_with_stdin:
            threading.Thread(target=_wait_for_end_of_stdin, args=(stops,), daemon=True).start()
        while True:
            with ExitStack() as stack:
                settings = require_settings(directory)
                program = _BridgeProgram(root, directory, settings, stack)
                code = program.run(stops)
            if code is not None:
                return code
            log.info("the settings have changed")


def _wait_for_end_of_stdin(stops: Stops) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    stops.put(True)


class _BridgeProgram:
    def __init__(
        self, root: str, directory: BridgeDir, settings: BridgeSettings, stack: ExitStack
    ) -> None:
        def open_client() -> Client:
            return Client(find_socket(root))

        self._stack = stack
        self._directory = directory
        self._settings = replace(settings, commands={})
        self._failure_code = 0
        self._is_stopping = False
        self._status = StatusFile(
            directory, pid=os.getpid(), started_ms=time.time_ns() // 1_000_000,
            backend=f"{settings.host}:{settings.port}", name=settings.name,
        )  # fmt: skip
        services = stack.enter_context(open_services(settings))
        # Each thread has a connection to the database of its own.
        databases = [
            stack.enter_context(
                MythDatabase(
                    parse_url(settings.database, "settings.toml"),
                    timeout_s=_STATEMENT_TIMEOUT_S,
                    max_backoff_s=_MAX_BACKOFF_S,
                )
            )
            for _ in range(2 if settings.database else 0)
        ]
        self._table = self._make_queue_loop(services, open_client, databases[1:])
        self._loop = RecordingsLoop(
            directory,
            RecordingWatch(load_progress(directory, time.time_ns() // 1_000_000)),
            services,
            JobRequests(settings, services, open_client, databases[0] if databases else None),
            self._status,
            runs_imported=lambda: is_mythtv_idle(directory, services),
            on_finished=self._table.wake,
        )
        self._shutdown_block = ShutdownBlock(settings, open_client)
        self._monitors = [self._make_monitor(settings, m) for m in (SYSTEM_EVENTS, OTHER_EVENTS)]

    def _make_queue_loop(
        self,
        services: Services,
        open_client: Callable[[], Client],
        databases: Sequence[MythDatabase],
    ) -> QueueLoop:
        """Return the loop of MythTV's queue: with its database, or by the Services API alone."""
        settings, directory, status = self._settings, self._directory, self._status
        if not databases:
            requests = JobRequests(settings, services, open_client)
            return RemovalLoop(
                settings, directory, services, requests, open_client, self._read_taken, status
            )
        [database] = databases
        requests = JobRequests(settings, services, open_client, database)
        table = QueueDatabase(database)
        return TableLoop(
            settings, directory, table, services, requests, open_client, self._read_taken, status
        )

    def run(self, stops: Stops) -> int | None:
        """Run until a stop comes in or a thread fails; return the exit code. None: the settings
        have changed."""
        monitors = [each.run for each in self._monitors]
        runs = (self._loop.run, self._table.run, self._shutdown_block.run, *monitors)
        threads = [threading.Thread(target=self._guarded(each), daemon=True) for each in runs]
        for thread in threads:
            thread.start()
        try:
            code = self._wait_for_end(stops)
        finally:
            self._is_stopping = True
            self._loop.inputs.put(STOP)
            self._table.stop()
            self._shutdown_block.stop()
            for monitor in self._monitors:
                monitor.stop()
            has_ended = _join_all(threads)
            if not has_ended:
                # To close a connection waits for the thread that reads from it.
                self._stack.pop_all()
            self._status.update(pid=0)
        # The rest of the threads ends with the program, which is then started again.
        return os.EX_TEMPFAIL if code is None and not has_ended else code

    def _wait_for_end(self, stops: Stops) -> int | None:
        while (found := load_settings(self._directory)) is not None:
            # `[commands]` is read when it is needed.
            if replace(found, commands={}) != self._settings:
                return None
            try:
                stops.get(timeout=_CHECK_S)
                return os.EX_OK
            except queue.Empty:
                if self._failure_code:
                    return self._failure_code
        log.info("no backend is configured any more")
        return os.EX_OK

    def _guarded(self, run: Callable[[], None]) -> Callable[[], None]:
        """Return a function that ends the program after an error in one of its threads, so that no
        partly working bridge remains: an internal one, or a full disk."""

        def run_guarded() -> None:
            try:
                run()
            except Exception as error:
                if self._is_stopping:  # its connections are closed already
                    return
                if isinstance(error, OSError) and is_disk_error(error):
                    explained = explain_os_error(error, self._directory.root)
                    log.error("%s; the bridge exits", explained.sentence)
                    self._failure_code = explained.exit_code
                else:
                    log.exception("internal error, the bridge exits")
                    self._failure_code = os.EX_SOFTWARE

        return run_guarded

    def _make_monitor(self, settings: BridgeSettings, mode: int) -> Monitor:
        name = f"monitor_{mode}"

        def on_connected(version: int) -> None:
            self._status.update(**{name: "connected", "protocol": version})
            log.info("monitor %d: connected to %s, protocol %d", mode, settings.host, version)
            self._loop.inputs.put(CONNECTED)

        return Monitor(
            settings,
            mode,
            on_connected=on_connected,
            on_event=self._loop.receive,
            on_lost=lambda sentence: self._status.update(**{name: sentence}),
        )

    def _read_taken(self) -> list[str] | None:
        found = load_takeover(self._directory)
        return found.taken if found.is_on else None


def _join_all(threads: Sequence[threading.Thread]) -> bool:
    """Wait until the threads have ended. Return False if not all end in time."""
    deadline_s = time.monotonic() + _END_TIMEOUT_S
    for thread in threads:
        thread.join(max(deadline_s - time.monotonic(), 0))
    return not any(each.is_alive() for each in threads)
