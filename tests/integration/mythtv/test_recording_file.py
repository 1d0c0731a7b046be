"""Where a recording's file is: only where MythTV finds it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mythjobs.errors import Unreachable
from mythjobs.mythtv.bridge.recording_file import FileAway, FileMissing, find_directory
from mythjobs.mythtv.recording import Recording
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeSettings
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.samples import RECORDING
from tests.support.mythtv.services import FakeServices

NAME = RECORDING.basename


def find(backend: FakeBackend, fake: FakeServices, recording: Recording = RECORDING) -> str:
    settings = BridgeSettings("127.0.0.1", backend.port, fake.port, name="b")
    with Services("127.0.0.1", fake.port) as services:
        return find_directory(settings, services, recording)


def test_the_directory_is_that_in_which_mythtv_finds_the_file(
    backend: FakeBackend, fake: FakeServices
) -> None:
    assert find(backend, fake) == "/srv/recordings"
    assert f"QUERY_SG_FILEQUERY[]:[]mythbox[]:[]Default[]:[]{NAME}" in backend.requests
    moved = replace(RECORDING, basename="1002_20261124063000.ts")
    assert find(backend, fake, moved) == "/srv/recordings/livetv"


def test_the_only_directory_of_a_group_is_not_trusted(
    backend: FakeBackend, fake: FakeServices
) -> None:
    backend.missing.add(NAME)
    why = (
        f"the file {NAME} of recording 1 is not on mythbox .storage group Default: "
        "/srv/recordings.; restore it there"
    )
    with pytest.raises(FileMissing, match=why):
        find(backend, fake)


def test_a_file_outside_its_group_is_found_in_any_other(
    backend: FakeBackend, fake: FakeServices
) -> None:
    backend.missing.add(NAME)
    backend.elsewhere[NAME] = f"/mnt/old/{NAME}"
    assert find(backend, fake) == "/mnt/old"
    # The master searches its own groups only.
    with pytest.raises(FileMissing, match="is not on attic"):
        find(backend, fake, replace(RECORDING, hostname="attic"))


def test_the_file_of_a_backend_that_is_away_may_return(
    backend: FakeBackend, fake: FakeServices
) -> None:
    backend.away.add("attic")
    with pytest.raises(FileAway, match="the backend attic, which has the file of recording 1"):
        find(backend, fake, replace(RECORDING, hostname="attic"))


def test_a_recording_that_begins_has_no_file_yet(backend: FakeBackend, fake: FakeServices) -> None:
    backend.missing.add(NAME)
    with pytest.raises(FileAway, match="is not written yet"):
        find(backend, fake, replace(RECORDING, status=-2))


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/b.ts", "", ".", ".."])
def test_a_name_that_leads_out_of_the_directory_is_not_asked_for(
    backend: FakeBackend, fake: FakeServices, name: str
) -> None:
    # MythTV would answer with the path of a file outside its storage groups.
    with pytest.raises(FileMissing, match="is no file name of a recording"):
        find(backend, fake, replace(RECORDING, basename=name))
    assert backend.requests == []


def test_a_name_with_the_separator_of_the_protocol_is_not_asked_for(
    backend: FakeBackend, fake: FakeServices
) -> None:
    with pytest.raises(FileMissing, match="cannot name the file"):
        find(backend, fake, replace(RECORDING, basename="Show []:[] one.ts"))
    assert backend.requests == []


def test_a_backend_that_does_not_answer(backend: FakeBackend, fake: FakeServices) -> None:
    backend.close()
    with pytest.raises(Unreachable):
        find(backend, fake)
