"""The loop of recordings: catch-up of missed ones, and what cannot be examined."""

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
from mythjobs.mythtv.protocol.events import RecordingUpdated, SystemEvent
from mythjobs.mythtv.recording import parse_time
from mythjobs.mythtv.rules import RecordingRule
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeDir, BridgeSettings, bridge_dir, save_rules
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.services import FakeServices

START = "2026-11-25T10:00:00Z"


class Recorder(Client):
    """Client whose master has the command `flag`, and a new job for each submit."""

    def __init__(self, on_submit: Callable[[], object], names: tuple[str, ...] = ()) -> None:
        super().__init__(Address("", ""))
        self.keys: list[str] = []
        self._on_submit = on_submit
        self._parameters = [{"name": each} for each in names]

    def get(self, path: str, query: Any = None, **options: Any) -> dict[str, Any]:
        return {"definition": {"parameters": self._parameters}}

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


class Loop:
    """A loop with a clock that tests move. keys: those of its jobs."""

    def __init__(
        self,
        directory: BridgeDir,
        services: Services,
        backend_port: int,
        names: tuple[str, ...] = (),
    ) -> None:
        self.now_ms = parse_time(START) or 0
        client = Recorder(lambda: None, names)
        self.keys = client.keys
        settings = BridgeSettings("127.0.0.1", backend_port, name="b")
        self.loop = RecordingsLoop(
            directory,
            RecordingWatch(load_progress(directory, self.now_ms)),
            services,
            JobRequests(settings, services, lambda: client),
            StatusFile(directory),
            runs_imported=lambda: True,
            on_finished=lambda: None,
            now_ms=lambda: self.now_ms,
        )

    def finish(self, chanid: int, start: str) -> None:
        key = {"CHANID": str(chanid), "STARTTIME": start, "RECSTATUS": "-3"}
        self.loop.receive(SystemEvent("REC_FINISHED", key))

    def step(self, seconds: float) -> None:
        """Let time pass, and the loop do what is due."""
        self.now_ms += round(seconds * 1000)
        inputs = self.loop.inputs
        self.loop.handle([inputs.get_nowait() for _ in range(inputs.qsize())])


def count_look_ups(fake: FakeServices) -> int:
    return sum("GetRecorded?" in each for each in fake.requests)


def test_garbage_in_the_database_is_reported_once_and_looked_up_ever_less_often(
    fake: FakeServices, directory: BridgeDir, caplog: pytest.LogCaptureFixture
) -> None:
    broken = fake.add_recording(12, (1001, START), EndTs="0000-99-99T00:00:00Z")
    with Services("127.0.0.1", fake.port) as services:
        loop = Loop(directory, services, 1)
        loop.finish(1001, START)
        for _ in range(3600):
            loop.step(2)
        # Two hours: seconds apart first, then minutes, then an hour.
        assert 9 <= count_look_ups(fake) <= 12
        [problem] = read_status(directory)["problems"]
        assert problem["subject"] == "recording 1001_20261125100000"
        assert len([each for each in caplog.records if "0000-99-99" in each.message]) == 1
        # It is corrected in MythTV.
        broken["Recording"]["EndTs"] = "2026-11-25T11:00:00Z"
        for _ in range(13):
            loop.step(300)
        assert loop.keys == ["mythtv:1001_20261125100000:flag"]
        assert read_status(directory)["problems"] == []


def test_a_recording_on_a_backend_that_is_away_does_not_delay_the_others(
    fake: FakeServices, directory: BridgeDir
) -> None:
    backend = FakeBackend()
    backend.away.add("attic")
    fake.add_recording(11, (1001, START), HostName="attic", EndTs="2026-11-25T10:20:00Z")
    fake.add_recording(12, (1002, START), EndTs="2026-11-25T10:20:00Z")
    with Services("127.0.0.1", fake.port) as services:
        loop = Loop(directory, services, backend.port, names=("path",))
        loop.loop.inputs.put(CONNECTED)
        loop.step(0)
        assert loop.keys == ["mythtv:1002_20261125100000:flag"]
        [problem] = read_status(directory)["problems"]
        assert (
            "the backend attic, which has the file of recording 11, is not" in problem["sentence"]
        )
        backend.away.clear()
        loop.step(1)
        assert loop.keys[1:] == ["mythtv:1001_20261125100000:flag"]
        assert read_status(directory)["problems"] == []
    backend.close()


def test_a_recording_without_its_file_is_named(fake: FakeServices, directory: BridgeDir) -> None:
    backend = FakeBackend()
    backend.missing.add("1001_20260715181300.ts")
    fake.add_recording(11, (1001, START), EndTs="2026-11-25T10:20:00Z")
    with Services("127.0.0.1", fake.port) as services:
        loop = Loop(directory, services, backend.port, names=("path",))
        loop.finish(1001, START)
        loop.step(0)
        loop.step(1)
    backend.close()
    assert loop.keys == []
    [problem] = read_status(directory)["problems"]
    assert problem["subject"] == "rule flag, recording 1001_20261125100000"
    assert "is not on mythbox (storage group Default: /srv/recordings)" in problem["sentence"]


def test_a_flood_of_events_is_dropped_and_the_list_read_instead(
    fake: FakeServices, directory: BridgeDir
) -> None:
    fake.add_recording(11, (1001, START), EndTs="2026-11-25T10:20:00Z")
    with Services("127.0.0.1", fake.port) as services:
        loop = Loop(directory, services, 1)
        for number in range(30_000):
            loop.loop.receive(RecordingUpdated(1001, number, -3))
        assert loop.loop.inputs.qsize() == 10_000
        loop.finish(1001, START)
        loop.step(0)
    assert loop.keys == ["mythtv:1001_20261125100000:flag"]


def test_a_list_that_cannot_be_read_is_reported_once(
    fake: FakeServices, directory: BridgeDir, caplog: pytest.LogCaptureFixture
) -> None:
    fake.is_failing = True
    with Services("127.0.0.1", fake.port) as services:
        loop = Loop(directory, services, 1)
        loop.loop.inputs.put(CONNECTED)
        for _ in range(360):
            loop.step(10)
        assert 10 <= len(fake.requests) <= 20
        assert len([each for each in caplog.records if "failing" in each.message]) == 1
        fake.is_failing = False
        loop.step(300)
        assert read_status(directory)["problems"] == []
