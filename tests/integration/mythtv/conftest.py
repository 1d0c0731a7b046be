"""Fixtures: simulated MythTV backend; MythTV's database on a MariaDB server, with recorded rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.database.connection import MythDatabase
from mythjobs.mythtv.services.client import Services
from tests.support.mythtv import database as mythtv_database
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.services import FakeServices
from tests.support.running_queue import RunningQueue, run_queue


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    backend = FakeBackend()
    yield backend
    backend.close()


@pytest.fixture
def fake() -> Iterator[FakeServices]:
    fake = FakeServices()
    yield fake
    fake.close()


@pytest.fixture
def services(fake: FakeServices) -> Iterator[Services]:
    with Services("127.0.0.1", fake.port) as services:
        yield services


@pytest.fixture(scope="session")
def mariadb_socket() -> Iterator[Path]:
    programs = mythtv_database.find_server()
    if programs is None:
        pytest.skip("MariaDB is not installed (package mariadb-server)")
    with mythtv_database.run_server(programs) as server:
        yield server.socket


@pytest.fixture(scope="session")
def mythtv_address(mariadb_socket: Path) -> DatabaseAddress:
    return mythtv_database.make_database(mariadb_socket, "mythconverg", with_rows=False)


@pytest.fixture
def mythtv(mythtv_address: DatabaseAddress) -> Iterator[MythDatabase]:
    """MythTV's database with the recorded rows."""
    with MythDatabase(mythtv_address) as database:
        mythtv_database.reset_rows(database)
        yield database


@pytest.fixture(scope="session")
def running_queue(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningQueue]:
    with run_queue(tmp_path_factory.mktemp("queue") / "s") as running:
        yield running
