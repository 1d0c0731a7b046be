"""Keeps an idle backend from shutting down while jobs about its recordings run."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from mythjobs.client.client import Client
from mythjobs.errors import MythJobsError
from mythjobs.mythtv.protocol.connection import BackendConnection, open_connection
from mythjobs.mythtv.settings import BridgeSettings

# MythTV waits longer than this after it has become idle.
_POLL_S: Final = 20.0
_KEY_PREFIX: Final = "mythtv:"
log = logging.getLogger(__name__)


class ShutdownBlock:
    """Holds a connection with BLOCK_SHUTDOWN, which the backend forgets when it is closed."""

    def __init__(self, settings: BridgeSettings, open_client: Callable[[], Client]) -> None:
        self._settings = settings
        self._open_client = open_client
        self._connection: BackendConnection | None = None
        self._stop = threading.Event()

    def run(self) -> None:
        while not self._stop.is_set():
            try:
                self.look_once()
            except MythJobsError as error:
                # Backend or master is away; the monitors report it.
                log.debug("cannot block the shutdown: %s", error.sentence)
            self._stop.wait(_POLL_S)
        self._allow()

    def stop(self) -> None:
        self._stop.set()

    def look_once(self) -> None:
        """Block the shutdown if a job of the bridge runs, else allow it. Raises MythJobsError."""
        listed = self._open_client().get("jobs", {"state": "leased,running", "limit": 1000})
        if any((each["key"] or "").startswith(_KEY_PREFIX) for each in listed["jobs"]):
            self._block()
        else:
            self._allow()

    def _block(self) -> None:
        if self._connection is None:
            connection = open_connection(self._settings.host, self._settings.port)
            connection.announce_monitor(self._settings.name, 0)
            self._connection = connection
        try:
            # Repeated: so a broken connection is noticed and replaced.
            self._connection.request("BLOCK_SHUTDOWN")
        except MythJobsError:
            self._connection = None
            raise

    def _allow(self) -> None:
        connection, self._connection = self._connection, None
        if connection is None:
            return
        try:
            connection.request("ALLOW_SHUTDOWN")
        except MythJobsError:
            pass  # the backend has forgotten the block with the connection
        connection.close()
