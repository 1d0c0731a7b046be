"""Interruptions of the takeover by the Services API."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mythjobs.client.client import Client
from mythjobs.client.locate import Address
from mythjobs.mythtv.bridge.job_request import JobRequests
from mythjobs.mythtv.bridge.removal_loop import RemovalLoop
from mythjobs.mythtv.bridge.state_files import (
    StatusFile,
    load_row_jobs,
    read_status,
    save_row_jobs,
)
from mythjobs.mythtv.bridge.table import RowJob
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeDir, BridgeSettings, bridge_dir, save_settings
from tests.support.mythtv.services import FakeServices


class OneJob(Client):
    """Client whose master has the command `gated`, and has job 7 for each submit."""

    def __init__(self) -> None:
        super().__init__(Address("", ""))
        self.acts: list[str] = []

    def get(self, path: str, query: Any = None, **options: Any) -> dict[str, Any]:
        return {"definition": {"parameters": []}}

    def post(self, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        if path == "jobs":
            return {"id": 7, "new": False, "state": "queued"}
        assert body == {"ids": [7]}
        self.acts.append(path)
        return {"jobs": [{"error": None}]}


@contextmanager
def open_loop(
    fake: FakeServices, directory: BridgeDir, client: Client, row_jobs: dict[int, RowJob]
) -> Iterator[RemovalLoop]:
    """row_jobs: what an earlier bridge has saved about rows."""
    settings = BridgeSettings("127.0.0.1", 1, fake.port, commands={"userjob3": "gated"})
    save_settings(directory, settings)
    save_row_jobs(directory, row_jobs)
    with Services("127.0.0.1", fake.port) as services:
        yield RemovalLoop(
            settings, directory, services, JobRequests(settings, services, lambda: client),
            lambda: client, lambda: ["mythbox"], StatusFile(directory),
        )  # fmt: skip


@pytest.mark.parametrize("is_refused, act", [(False, "jobs/release"), (True, "jobs/cancel")])
def test_a_held_job_of_before_an_interruption_is_not_left_behind(
    fake: FakeServices, tmp_path: Path, is_refused: bool, act: str
) -> None:
    directory, client = bridge_dir(tmp_path), OneJob()
    fake.add_row(61, 1024, 1, "mythbox")
    fake.refused = {61} if is_refused else set()
    with open_loop(fake, directory, client, {61: RowJob(0, 1, 7)}) as loop:
        loop.look_once()
        assert client.acts == []
        loop.look_once()
    assert client.acts == [act]
    assert load_row_jobs(directory) == {}


def test_a_row_with_an_impossible_time_does_not_block_the_others(
    fake: FakeServices, tmp_path: Path
) -> None:
    directory, client = bridge_dir(tmp_path), OneJob()
    # The job of the malformed row is held: its row is still there, so it must stay so.
    row_jobs = {61: RowJob(0, 1, 8), 62: RowJob(0, 1, 7)}
    fake.add_row(61, 1024, 1, "mythbox", InsertTime="2026-13-45T00:00:00Z")
    fake.add_row(62, 1024, 3, "mythbox")
    with open_loop(fake, directory, client, row_jobs) as loop:
        loop.look_once()
        loop.look_once()
    assert client.acts == ["jobs/release"]
    assert load_row_jobs(directory) == {61: RowJob(0, 1, 8)}
    [problem] = read_status(directory)["problems"]
    assert problem["subject"] == "MythTV's job 61"
    assert 'sent "2026-13-45T00:00:00Z" as a time' in problem["sentence"]
