"""Monitor: keeps a connection for events, and connects again when it breaks."""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import Final

from mythjobs.errors import MythJobsError
from mythjobs.mythtv.protocol.connection import BackendConnection, open_connection
from mythjobs.mythtv.protocol.events import MonitorEvent, parse_event
from mythjobs.mythtv.settings import BridgeSettings

_MIN_BACKOFF_S: Final = 0.5
_MAX_BACKOFF_S: Final = 60.0
log = logging.getLogger(__name__)


class Monitor:
    """Receives the events of one mode. The callbacks are called in the thread of `run()`.

    on_connected: with the protocol version. on_lost: with the sentence of the error.
    """

    def __init__(
        self,
        settings: BridgeSettings,
        mode: int,
        *,
        on_connected: Callable[[int], object],
        on_event: Callable[[MonitorEvent], object],
        on_lost: Callable[[str], object],
    ) -> None:
        self._settings = settings
        self._mode = mode
        self._on_connected = on_connected
        self._on_event = on_event
        self._on_lost = on_lost
        self._stop = threading.Event()
        self._connection: BackendConnection | None = None

    def stop(self) -> None:
        """Let `run()` return, from another thread."""
        self._stop.set()
        if connection := self._connection:
            connection.interrupt()

    def run(self) -> None:
        """Receive events until `stop()`."""
        backoff_s, last = _MIN_BACKOFF_S, ""
        while not self._stop.is_set():
            began_s = time.monotonic()
            try:
                with open_connection(self._settings.host, self._settings.port) as connection:
                    connection.announce_monitor(self._settings.name, self._mode)
                    self._connection = connection
                    last = ""
                    self._on_connected(connection.version)
                    self._receive(connection)
            except MythJobsError as error:
                if self._stop.is_set():
                    return
                if error.sentence != last:
                    last = error.sentence
                    log.warning("monitor %d: %s", self._mode, last)
                self._on_lost(error.sentence)
            finally:
                self._connection = None
            # A backend may accept each connection and break it at once: each makes the bridge read
            # the list of recordings.
            if time.monotonic() - began_s >= _MAX_BACKOFF_S:
                backoff_s = _MIN_BACKOFF_S
            self._stop.wait(backoff_s * random.uniform(0.5, 1.0))
            backoff_s = min(2 * backoff_s, _MAX_BACKOFF_S)

    def _receive(self, connection: BackendConnection) -> None:
        while not self._stop.is_set():
            message = connection.receive_message(None)
            event = parse_event(message, connection.version) if message else None
            if event is not None:
                self._on_event(event)
