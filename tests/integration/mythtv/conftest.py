"""Fixtures: MythTV's database on a real MariaDB server, with the recorded rows."""

from __future__ import annotations

import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from mythjobs.client import locate
from mythjobs.client.client import Client
from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.database.connection import MythDatabase
from tests.support.mythtv import database as mythtv_database


@pytest.fixture(scope="session")
def mariadb_socket() -> Iterator[Path]:
    programs = mythtv_database.find_server()
    if programs is None:
        pytest.skip("MariaDB is not installed (package mariadb-server)")
    with mythtv_database.run_server(programs) as socket:
        yield socket


@pytest.fixture(scope="session")
def mythtv_address(mariadb_socket: Path) -> DatabaseAddress:
    return mythtv_database.make_database(mariadb_socket, "mythconverg", with_rows=False)


@pytest.fixture
def mythtv(mythtv_address: DatabaseAddress) -> Iterator[MythDatabase]:
    """MythTV's database with the recorded rows."""
    with MythDatabase(mythtv_address) as database:
        mythtv_database.reset_rows(database)
        yield database


class RunningQueue(NamedTuple):
    root: Path
    client: Client


@pytest.fixture(scope="session")
def running_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQueue]:
    """A master with an agent, in a state directory of its own."""
    root = tmp_path_factory.mktemp("queue") / "s"
    root.mkdir(mode=0o700)
    with (root / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "mythjobs", "--state-dir", root, "up", "--port", "0",
             "--stop-jobs"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as stdout:
        ready, _, _ = select.select([stdout], [], [], 60)
        assert ready, "no line of `up`"
        assert b"is up" in stdout.readline(), (root / "log").read_text()
        client = Client(locate.find_socket(str(root)))
        deadline_s = time.monotonic() + 60
        while [each["state"] for each in client.get("machines")["machines"]] != ["up"]:
            assert time.monotonic() < deadline_s, (root / "log").read_text()
            time.sleep(0.02)
        yield RunningQueue(root, client)
        process.terminate()
        process.wait(60)
