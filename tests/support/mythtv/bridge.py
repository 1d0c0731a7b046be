"""A running bridge: the real program, with a fake backend and MythTV's database on MariaDB."""

from __future__ import annotations

import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mythjobs.client.client import Client
from mythjobs.mythtv.bridge.discovery import format_database
from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.database.connection import MythDatabase
from mythjobs.mythtv.settings import BridgeDir, BridgeSettings, bridge_dir, save_settings
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.services import FakeServices
from tests.support.parent_death import bind_to_parent

T = TypeVar("T")
NAME = "mythjobs-test"
TIMEOUT_S = 60.0
# Reports progress, then waits until something is written into the FIFO named by its parameter.
GATED: dict[str, Any] = {
    "name": "gated",
    "shell": 'echo "progress 42" > "$MYTHJOBS_STATUS"; read n < "$MYTHJOBS_P_GATE"; exit "$n"',
    "progress": "status",
    "parameters": [
        {"name": "gate", "type": "text"},
        {"name": "chanid", "type": "int", "default": "0"},
        {"name": "starttime_utc", "type": "text", "default": ""},
        {"name": "title", "type": "text", "default": ""},
        {"name": "path", "type": "text", "default": ""},
        {"name": "jobid", "type": "int", "default": "0"},
        {"name": "use_cutlist", "default": ""},
    ],
}


def wait_for(find: Callable[[], T | None], what: str, timeout_s: float = TIMEOUT_S) -> T:
    """Return the first result that is neither None nor false."""
    deadline_s = time.monotonic() + timeout_s
    while True:
        if found := find():
            return found
        assert time.monotonic() < deadline_s, what
        time.sleep(0.02)


def remove_commands(client: Client, *names: str) -> None:
    """Remove commands with their jobs, so that other tests find the queue as it was."""
    for name in names:
        client.post("jobs/all", {"act": "cancel", "command": name})

        def has_ended(name: str = name) -> bool:
            counts = client.get("jobs/count", {"command": name})["counts"]
            return not counts["queued"] + counts["leased"] + counts["running"]

        wait_for(has_ended, f"jobs of {name} do not end")
        client.delete(f"commands/{name}")


@dataclass
class RunningBridge:
    """`log` is what the bridge has written to stderr. exit_code: with which it has to exit."""

    root: Path
    client: Client
    backend: FakeBackend
    services: FakeServices
    database: MythDatabase | None
    process: subprocess.Popen[bytes]
    exit_code: int = 0
    _seconds: Iterator[int] = field(default_factory=itertools.count)

    @property
    def directory(self) -> BridgeDir:
        return bridge_dir(self.root)

    @property
    def log(self) -> str:
        return (self.root / "bridge.log").read_text()

    def jobs(self, command: str) -> list[dict[str, Any]]:
        return list(self.client.get("jobs", {"command": command})["jobs"])

    def row(self, row_id: int) -> dict[str, Any]:
        assert self.database is not None
        found = self.database.query("SELECT * FROM jobqueue WHERE id = %s", row_id)
        return found[0] if found else {}

    def insert_row(self, **columns: Any) -> int:
        """Insert a row as MythTV's frontend does: queued, unclaimed, for recording 1."""
        assert self.database is not None
        values = {
            "chanid": 1001, "starttime": "2026-07-15 18:13:00", "type": 1024, "cmds": 0, "flags": 0,
            "status": 1, "hostname": "", "args": "", "comment": "",
        } | columns  # fmt: skip
        names = ", ".join(values)
        return self.database.insert(
            f"INSERT INTO jobqueue ({names}, inserttime, schedruntime) VALUES "
            f"({', '.join(['%s'] * len(values))}, UTC_TIMESTAMP() + INTERVAL %s SECOND, "
            "UTC_TIMESTAMP())",
            *values.values(),
            # Of rows of one recording and type the table wants different seconds.
            next(self._seconds),
        )

    def command_row(self, row_id: int, command: int) -> None:
        """Write a command as MythTV's screens do."""
        assert self.database is not None
        self.database.execute("UPDATE jobqueue SET cmds = %s WHERE id = %s", command, row_id)

    def wait_row(self, row_id: int, status: int, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
        def find() -> dict[str, Any] | None:
            found = self.row(row_id)
            return found if found.get("status") == status else None

        return wait_for(find, f"row {row_id} never got status {status}", timeout_s)


@contextmanager
def run_bridge(
    root: Path, client: Client, address: DatabaseAddress | None
) -> Iterator[RunningBridge]:
    """Run a bridge for the master of the state directory `root`, in a directory of its own: the
    master itself would start a bridge for settings in its directory."""
    own = Path(tempfile.mkdtemp(prefix="bridge", dir=root.parent))
    (own / "master.json").symlink_to(root / "master.json")
    root = own
    backend, services = FakeBackend(), FakeServices()
    database = MythDatabase(address) if address else None
    settings = BridgeSettings(
        "127.0.0.1", backend.port, services.port, name=NAME, poll_s=0.1,
        database=format_database(address) if address else "", commands={"userjob3": "gated"},
    )  # fmt: skip
    save_settings(bridge_dir(root), settings)
    with (root / "bridge.log").open("wb") as log:
        process = subprocess.Popen(
            bind_to_parent(
                sys.executable, "-P", "-m", "mythjobs", "--state-dir", root, "mythtv", "bridge"
            ),
            stdin=subprocess.DEVNULL, stderr=log, start_new_session=True,
        )  # fmt: skip
    bridge = RunningBridge(root, client, backend, services, database, process)
    try:
        for mode in (2, 3):
            backend.wait_for(mode, timeout_s=TIMEOUT_S)
        yield bridge
    finally:
        process.send_signal(signal.SIGTERM)
        code = process.wait(TIMEOUT_S)
        backend.close()
        services.close()
        if database is not None:
            database.close()
    assert code == bridge.exit_code, bridge.log
    assert "Traceback" not in bridge.log or bridge.exit_code
