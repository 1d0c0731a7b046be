"""Requests for jobs of recordings: values that come from the backend."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mythjobs.client.client import Client
from mythjobs.client.locate import Address
from mythjobs.errors import BadRequest
from mythjobs.mythtv.bridge.job_request import JobRequests
from mythjobs.mythtv.parameters import PARAMETERS
from mythjobs.mythtv.recording import Recording
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeSettings
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.services import FakeServices
from tests.unit.mythtv.test_rules import a_recording


class CommandList(Client):
    """Client whose master has one command, which declares every parameter but the file's path."""

    def __init__(self) -> None:
        super().__init__(Address("", ""))

    def get(self, path: str, query: Any = None, **options: Any) -> dict[str, Any]:
        names = [each for each in PARAMETERS if each not in ("dir", "path")]
        return {"definition": {"parameters": [{"name": each} for each in names]}}


@pytest.fixture
def fake() -> Iterator[FakeServices]:
    fake = FakeServices()
    fake.answers = {
        "Dvr/GetRecordedCutList": {"CutList": {"Cuttings": [{"Mark": 1, "Offset": 90}]}},
        "Dvr/GetRecordedCommBreak": {
            "CutList": {"Cuttings": [{"Mark": 5, "Offset": 40}, {"Mark": 4, "Offset": 600}]}
        },
        "Dvr/GetRecordedMarkup": {"MarkupList": {"Mark": []}},
        "Myth/GetTimeZone": {"TimeZoneInfo": {"TimeZoneID": "Europe/Berlin", "UTCOffset": 3600}},
    }
    yield fake
    fake.close()


@pytest.fixture
def requests(backend: FakeBackend, fake: FakeServices) -> Iterator[JobRequests]:
    settings = BridgeSettings("127.0.0.1", backend.port, fake.port, name="b")
    with Services("127.0.0.1", fake.port) as services:
        yield JobRequests(settings, services, CommandList)


def list_arguments(requests: JobRequests, recording: Recording) -> dict[str, str]:
    return dict(requests.describe("any", recording, key="k")["arguments"])


def test_ranges_that_are_open_at_one_end_stay_ranges(requests: JobRequests) -> None:
    found = list_arguments(requests, a_recording())
    assert found["cutlist_frames"] == "90-"
    assert found["skiplist_frames"] == "0-40,600-"


def test_local_times_are_those_of_the_day_of_the_recording(requests: JobRequests) -> None:
    # 02:30 occurs twice on the day on which summer time ends.
    for start_ms, local, offset in (
        (1_792_888_200_000, "20261025023000", "20261025003000"),
        (1_792_891_800_000, "20261025023000", "20261025013000"),
    ):
        found = list_arguments(requests, a_recording(start_ms=start_ms))
        assert (found["starttime"], found["starttime_utc"]) == (local, offset)


def test_a_zone_that_is_not_known_here_has_its_present_offset(
    requests: JobRequests, fake: FakeServices
) -> None:
    fake.answers["Myth/GetTimeZone"] = {
        "TimeZoneInfo": {"TimeZoneID": "localtime-of-attic", "UTCOffset": 7200}
    }
    start_ms = 1_792_888_200_000
    assert list_arguments(requests, a_recording(start_ms=start_ms))["starttime"].endswith("023000")


def test_no_job_is_made_with_times_of_another_zone(
    requests: JobRequests, fake: FakeServices
) -> None:
    fake.answers["Myth/GetTimeZone"] = None
    with pytest.raises(BadRequest, match="Myth/GetTimeZone"):
        list_arguments(requests, a_recording())
