"""The takeover of MythTV's queue by the Services API alone."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.mythtv.bridge.state_files import read_status
from mythjobs.mythtv.bridge.takeover import switch_off, switch_on
from mythjobs.mythtv.rules import RecordingRule
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import save_rules
from tests.support.disks import fill_disk, mount_small_disk
from tests.support.mythtv.bridge import RunningBridge, remove_commands, run_bridge, wait_for
from tests.support.running_queue import RunningQueue

pytestmark = pytest.mark.slow


@pytest.fixture
def bridge(running_queue: RunningQueue) -> Iterator[RunningBridge]:
    definition = {
        "name": "gated", "argv": ["true", "{title}"], "parameters": [{"name": "title"}],
    }  # fmt: skip
    running_queue.client.post("commands", {"definition": definition, "replace": True})
    with run_bridge(running_queue.root, running_queue.client, None) as bridge:
        save_rules(bridge.directory, [RecordingRule("none", "gated", titles=("nothing",))])
        yield bridge
    remove_commands(running_queue.client, "gated")


def look(bridge: RunningBridge, number: int) -> None:
    """Let the bridge look at the queue, as it does after each recording."""
    key = f"2026-11-25T0{number}:00:00Z"
    bridge.services.add_recording(20 + number, (1001, key))
    bridge.backend.finish_recording(1001, key)
    asked = "GET /Status/GetBackendStatus"
    before = bridge.services.requests.count(asked)
    wait_for(lambda: bridge.services.requests.count(asked) > before or None, bridge.log)


def make_directory(path: Path) -> bool:
    """Return False if a file has the name."""
    try:
        path.mkdir()
    except FileExistsError:
        return False
    return True


def test_an_internal_error_of_a_monitor_ends_the_bridge(bridge: RunningBridge) -> None:
    # The monitors write the status file; without them the bridge would be deaf but look alive.
    temporary = bridge.directory.status.with_suffix(".new")
    # The bridge may be writing it: it has just started.
    wait_for(lambda: make_directory(temporary), bridge.log)
    bridge.exit_code = os.EX_SOFTWARE
    bridge.backend.drop_clients()
    wait_for(lambda: "internal error, the bridge exits" in bridge.log or None, "no exit")
    temporary.rmdir()
    assert bridge.process.wait(60) == os.EX_SOFTWARE


def test_a_full_disk_ends_the_bridge_with_the_file_and_the_remedy(
    running_queue: RunningQueue, tmp_path: Path
) -> None:
    """Observed: a full disk was reported as an internal error, with a traceback."""
    with mount_small_disk(tmp_path) as disk:
        (disk / "s").symlink_to(running_queue.root)
        with run_bridge(disk / "s", running_queue.client, None) as bridge:
            recordings = bridge.directory.recordings
            wait_for(lambda: bool(bridge.log and recordings.exists()) or None, "no log")
            bridge.exit_code = os.EX_CANTCREAT
            fill_disk(disk)  # what else is logged still fits into the last page of the log
            bridge.services.add_recording(29, (1001, "2026-11-25T09:00:00Z"))
            bridge.backend.finish_recording(1001, "2026-11-25T09:00:00Z")
            assert bridge.process.wait(60) == os.EX_CANTCREAT, bridge.log
            directory = bridge.directory.root
            assert f"cannot use {directory}/recordings.json: No space left on device" in bridge.log
            assert f"cannot write {directory}/status.json: No space left on device" in bridge.log
            assert "Traceback" not in bridge.log


def test_rows_of_every_kind_are_handled_as_mythtv_would(bridge: RunningBridge) -> None:
    add_row = bridge.services.add_row
    bridge.services.add_recording(41, (1003, "2026-11-20T01:00:00Z"), RecGroup="Deleted")
    bridge.services.add_recording(42, (1003, "2026-11-20T02:00:00Z"), Status=-2)
    bridge.services.add_recording(43, (1003, "2026-11-20T03:00:00Z"))
    add_row(61, 1024, 1, "mythbox", SchedRunTime="2037-01-01T00:00:00Z")
    add_row(62, 1024, 5, "mythbox", Cmds=4)  # stopped while it waits
    add_row(63, 1024, 41, "mythbox")
    add_row(64, 1024, 42, "mythbox")
    with Services("127.0.0.1", bridge.services.port) as services:
        switch_on(bridge.directory, services)
        look(bridge, 5)
        # MythTV's tables ignore the case of host names.
        add_row(65, 1024, 43, "MythBox")
        look(bridge, 6)
        look(bridge, 7)
        wait_for(lambda: [each["Id"] for each in bridge.services.rows] == [64] or None, bridge.log)
        row_jobs = {
            each["key"].split(":")[2]: each
            for each in bridge.jobs("gated")
            if each["key"].split(":")[2] in ("61", "62", "63", "64", "65")
        }
        assert set(row_jobs) == {"61", "65"}
        job = bridge.client.get(f"jobs/{row_jobs['61']['id']}")
        assert (job["state"], job["hold"]) == ("queued", False)
        assert job["not_before_ms"] == 2_114_380_800_000
        switch_off(bridge.directory, services)


def test_rows_are_removed_and_run_here(bridge: RunningBridge) -> None:
    bridge.services.add_row(51, 1024, 1, "mythbox")
    bridge.services.add_row(52, 1024, 5, "otherbox")  # a foreign claim
    bridge.services.add_row(53, 256, 1, "master")  # without a command
    with Services("127.0.0.1", bridge.services.port) as services:
        switch_on(bridge.directory, services)
        look(bridge, 1)
        assert len(bridge.services.rows) == 3
        look(bridge, 2)
        job = wait_for(
            lambda: next((j for j in bridge.jobs("gated") if ":row:51:" in j["key"]), None),
            bridge.log,
        )
        wait_for(lambda: bridge.client.get(f"jobs/{job['id']}")["state"] == "succeeded", "it waits")
        assert [each["Id"] for each in bridge.services.rows] == [52, 53]
        assert job["arguments"] == {"title": "Große Reise"}
        [problem] = wait_for(lambda: read_status(bridge.directory)["problems"], bridge.log)
        assert problem["subject"] == "MythTV's job 53"
        # A row that its host takes at the last instant is that host's.
        bridge.services.add_row(54, 1024, 3, "mythbox")
        look(bridge, 3)
        bridge.services.refused = {54}
        look(bridge, 4)
        job = wait_for(
            lambda: next((j for j in bridge.jobs("gated") if ":row:54:" in j["key"]), None),
            bridge.log,
        )
        wait_for(lambda: bridge.client.get(f"jobs/{job['id']}")["state"] == "cancelled", "it runs")
        switch_off(bridge.directory, services)
