"""The catch-up: recordings that ended while no event could arrive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mythjobs.client.client import Client
from mythjobs.client.locate import Address
from mythjobs.mythtv.bridge.job_request import JobRequests
from mythjobs.mythtv.bridge.recordings_loop import CONNECTED, STOP, RecordingsLoop
from mythjobs.mythtv.bridge.state_files import StatusFile, load_progress, read_status
from mythjobs.mythtv.bridge.watch import RecordingWatch
from mythjobs.mythtv.recording import parse_time
from mythjobs.mythtv.rules import RecordingRule
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeDir, BridgeSettings, bridge_dir, save_rules
from tests.support.mythtv.services import FakeServices

START = "2026-11-25T10:00:00Z"


class Recorder(Client):
    """Client whose master has the command `flag`, and a new job for each submit."""

    def __init__(self, on_submit: Callable[[], object]) -> None:
        super().__init__(Address("", ""))
        self.keys: list[str] = []
        self._on_submit = on_submit

    def get(self, path: str, query: Any = None, **options: Any) -> dict[str, Any]:
        return {"definition": {"parameters": []}}

    def post(self, path: str, body: Any = None, **options: Any) -> dict[str, Any]:
        self.keys.append(body["key"])
        self._on_submit()
        return {"id": 7, "new": True, "state": "queued"}


@pytest.fixture
def directory(tmp_path: Path) -> BridgeDir:
    directory = bridge_dir(tmp_path)
    save_rules(directory, [RecordingRule("flag", "flag", include=("short",))])
    return directory


def catch_up(fake: FakeServices, directory: BridgeDir) -> list[str]:
    """Run the loop until it has submitted the first job; return the keys of the jobs."""
    began_ms = parse_time(START)
    assert began_ms is not None
    client = Recorder(lambda: loop.inputs.put(STOP))
    settings = BridgeSettings("127.0.0.1", 1, fake.port)
    with Services("127.0.0.1", fake.port) as services:
        loop = RecordingsLoop(
            directory,
            RecordingWatch(load_progress(directory, began_ms)),
            services,
            JobRequests(settings, services, lambda: client),
            StatusFile(directory),
            runs_imported=lambda: True,
            on_finished=lambda: None,
            now_ms=lambda: began_ms,
        )
        loop.inputs.put(CONNECTED)
        thread = threading.Thread(target=loop.run)
        thread.start()
        thread.join(60)
        loop.inputs.put(STOP)
        thread.join(60)
        assert not thread.is_alive()
    return client.keys


@pytest.mark.parametrize("time", ["2026-13-45T99:00:00Z", "9999-12-31T23:59:59-05:00"])
@pytest.mark.parametrize("field", ["StartTs", "EndTs"])
def test_a_recording_with_an_impossible_time_does_not_block_the_others(
    fake: FakeServices, directory: BridgeDir, time: str, field: str
) -> None:
    fake.add_recording(11, (1001, "2026-11-25T10:10:00Z"), EndTs="2026-11-25T10:20:00Z")
    broken = fake.add_recording(12, (1001, "2026-11-25T10:30:00Z"))
    broken["Recording"][field] = time
    broken["Title"] = "News"
    assert catch_up(fake, directory) == ["mythtv:1001_20261125101000:flag"]
    [problem] = read_status(directory)["problems"]
    assert problem["subject"] == 'recording 12 "News"'
    assert problem["sentence"].startswith(f'the backend sent "{time}" as a time, so it gets no')


def test_an_infinite_number_does_not_block_the_others(
    fake: FakeServices, directory: BridgeDir
) -> None:
    fake.add_recording(11, (1001, "2026-11-25T10:10:00Z"), EndTs="2026-11-25T10:20:00Z")
    fake.add_recording(12, (1001, "2026-11-25T10:30:00Z"), FileSize=float("inf"))
    assert catch_up(fake, directory) == ["mythtv:1001_20261125101000:flag"]
    [problem] = read_status(directory)["problems"]
    assert 'sent "inf" as FileSize' in problem["sentence"]
