"""Interruptions of a pass over MythTV's queue."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mythjobs.client.client import Client
from mythjobs.client.locate import Address
from mythjobs.errors import Unreachable
from mythjobs.mythtv.bridge.job_request import JobRequests
from mythjobs.mythtv.bridge.state_files import StatusFile, load_row_jobs, save_row_jobs
from mythjobs.mythtv.bridge.table import RowJob
from mythjobs.mythtv.bridge.table_loop import TableLoop
from mythjobs.mythtv.job_rows import JobRow, RowChange, RowState
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeSettings, bridge_dir, save_settings

# Rows of jobs without a recording.
ROW = JobRow(61, -1, 0, 5_000, 256, 0, 0, RowState.RUNNING, "bridge", "", "", 0, 0)


class Table:
    """QueueTable in memory. failing: a row whose write fails."""

    def __init__(self, *rows: JobRow) -> None:
        self.rows = {each.row_id: each for each in rows}
        self.failing = 0

    def read_rows(self) -> list[JobRow]:
        return list(self.rows.values())

    def claim(self, row_id: int, *, expected_host: str, host: str) -> bool:
        raise AssertionError

    def release(self, row_id: int, *, host: str) -> bool:
        raise AssertionError

    def write(self, row_id: int, *, host: str, state: int, change: RowChange) -> bool:
        if row_id == self.failing:
            raise Unreachable("MythTV's database is gone")
        if self.rows[row_id].state != state:
            return False
        if change.state is not None:
            self.rows[row_id] = replace(self.rows[row_id], state=change.state)
        return True

    def mark_in_use(self, keys: Collection[tuple[int, int]], *, host: str) -> None:
        pass


class Master(Client):
    """Client whose master has the command `gated`; all its jobs have succeeded."""

    def __init__(self) -> None:
        super().__init__(Address("", ""))
        self.keys: list[str] = []
        self.is_failing = False

    def get(self, path: str, query: Any = None, **options: Any) -> dict[str, Any]:
        if path == "jobs":
            return {"jobs": []}
        if path.startswith("jobs/"):
            return {"id": int(path[5:]), "state": "succeeded", "attempt": 1}
        return {"definition": {"parameters": []}}

    def post(self, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        self.keys.append(body["key"])
        if self.is_failing:
            raise Unreachable("the master is gone")
        return {"id": 9, "new": True, "state": "queued"}


@pytest.fixture
def services() -> Iterator[Services]:
    with Services("127.0.0.1", 1) as services:
        yield services


def make_loop(root: Path, services: Services, table: Table, client: Client) -> TableLoop:
    settings = BridgeSettings("127.0.0.1", name="bridge", commands={"userjob1": "gated"})
    directory = bridge_dir(root)
    save_settings(directory, settings)
    requests = JobRequests(settings, services, lambda: client)
    return TableLoop(
        settings, directory, table, services, requests, lambda: client,
        lambda: ["mythbox"], StatusFile(directory),
    )  # fmt: skip


def test_what_was_written_before_a_pass_broke_off_is_known_after_a_restart(
    tmp_path: Path, services: Services
) -> None:
    table, client = Table(ROW, replace(ROW, row_id=62)), Master()
    table.failing = 62
    make_loop(tmp_path, services, table, client)  # makes the directory
    save_row_jobs(bridge_dir(tmp_path), {61: RowJob(5_000, 1, 7), 62: RowJob(5_000, 1, 8)})
    with pytest.raises(Unreachable):
        make_loop(tmp_path, services, table, client).look_once()
    known = load_row_jobs(bridge_dir(tmp_path))
    assert (known[61].is_reported, known[62].is_reported) == (True, False)
    # Queued again from MythTV's screens while the bridge was away: it is a new run.
    table.rows[61] = replace(table.rows[61], state=RowState.QUEUED)
    table.failing = 0
    make_loop(tmp_path, services, table, client).look_once()
    assert client.keys == ["mythtv:row:61:5000:2"]
    assert table.rows[62].state == RowState.FINISHED


def test_a_submit_that_broke_off_is_repeated_with_the_same_key(
    tmp_path: Path, services: Services
) -> None:
    table, client = Table(replace(ROW, state=RowState.QUEUED)), Master()
    client.is_failing = True
    with pytest.raises(Unreachable):
        make_loop(tmp_path, services, table, client).look_once()
    assert load_row_jobs(bridge_dir(tmp_path)) == {61: RowJob(5_000, 1)}
    client.is_failing = False
    make_loop(tmp_path, services, table, client).look_once()
    assert client.keys == ["mythtv:row:61:5000:1"] * 2
    assert load_row_jobs(bridge_dir(tmp_path)) == {61: RowJob(5_000, 1, 9)}
