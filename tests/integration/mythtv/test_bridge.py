"""The bridge as a program: events, MythTV's queue, takeover."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mythjobs.mythtv.bridge.state_files import read_status
from mythjobs.mythtv.bridge.takeover import SETTING, load_takeover, switch_off, switch_on
from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.database.connection import MythDatabase
from mythjobs.mythtv.rules import IMPORT_ORIGIN, RecordingRule
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import (
    bridge_dir,
    load_settings,
    require_settings,
    save_rules,
    save_settings,
)
from tests.support.mythtv import database as mythtv_database
from tests.support.mythtv import transcripts
from tests.support.mythtv.bridge import (
    GATED,
    NAME,
    RunningBridge,
    remove_commands,
    run_bridge,
    wait_for,
)
from tests.support.running_queue import RunningQueue

pytestmark = pytest.mark.slow
KEY = (1001, "2026-11-24T07:36:00Z")  # of the recorded recording
FINISHED, ABORTED, ERRORED, CANCELLED = 272, 288, 304, 320


@pytest.fixture(scope="module")
def bridge(running_queue: RunningQueue, mythtv_address: DatabaseAddress) -> Iterator[RunningBridge]:
    with MythDatabase(mythtv_address) as database:
        mythtv_database.reset_rows(database)
        # As if the bridge had been killed while a job ran.
        database.execute(
            "INSERT INTO inuseprograms (chanid, starttime, recusage, lastupdatetime, hostname, "
            "rechost) VALUES (1002, '2026-11-22 17:00:00', 'jobqueue', UTC_TIMESTAMP(), %s, 'x')",
            NAME,
        )
    client = running_queue.client
    client.post("commands", {"definition": GATED, "replace": True})
    copy = {"name": "note", "argv": ["true", "{title}"], "parameters": [
        {"name": "title", "dash": True}, {"name": "preset", "default": "slow"}]}  # fmt: skip
    client.post("commands", {"definition": copy, "replace": True})
    with run_bridge(running_queue.root, client, mythtv_address) as bridge:
        yield bridge
    remove_commands(client, "gated", "note")


@pytest.fixture
def gate(bridge: RunningBridge, tmp_path: Path) -> Iterator[Path]:
    """A FIFO for which the jobs of MythTV's user job 3 wait, while the takeover is on."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    parameters = [dict(each) for each in GATED["parameters"]]
    parameters[0]["default"] = str(path)
    definition = GATED | {"parameters": parameters}
    bridge.client.post("commands", {"definition": definition, "replace": True})
    with services_of(bridge) as services:
        switch_on(bridge.directory, services)
        yield path
        if load_takeover(bridge.directory).is_on:
            switch_off(bridge.directory, services)


def services_of(bridge: RunningBridge) -> Services:
    return Services("127.0.0.1", bridge.services.port)


def a_rule(**given: Any) -> RecordingRule:
    return RecordingRule("note", "note", include=("short",), **given)


def find_job(bridge: RunningBridge, recording: str) -> dict[str, Any] | None:
    jobs = [each for each in bridge.jobs("note") if each["key"] == f"mythtv:{recording}:note"]
    return jobs[0] if jobs else None


def wait_running(bridge: RunningBridge) -> dict[str, Any]:
    """Return the job that runs. The row says so as soon as it is leased."""
    [job] = wait_for(
        lambda: [each for each in bridge.jobs("gated") if each["state"] == "running"], bridge.log
    )
    return job


def find_uses(bridge: RunningBridge) -> list[dict[str, Any]]:
    assert bridge.database is not None
    return bridge.database.query("SELECT * FROM inuseprograms WHERE hostname = %s", NAME)


def test_marks_of_use_of_an_earlier_bridge_are_removed(bridge: RunningBridge, gate: Path) -> None:
    # Otherwise MythTV would keep the recording from being expired for an hour.
    wait_for(lambda: not find_uses(bridge), "the mark stays")


def test_a_finished_recording_is_a_job_at_once(bridge: RunningBridge) -> None:
    save_rules(bridge.directory, [a_rule(arguments={"preset": "fast"})])
    bridge.services.add_recording(11, KEY, EndTs="2026-11-24T07:37:29Z")
    sent_ms = 0
    for frame in transcripts.events("10-recording-short.mode3-bridge3"):
        if b"REC_FINISHED" in frame:
            sent_ms = time.time_ns() // 1_000_000
        bridge.backend.send_frame(frame)
    job = wait_for(lambda: find_job(bridge, "1001_20261124073600"), bridge.log)
    assert job["arguments"] == {"title": "Große Reise", "preset": "fast"}
    assert job["subject"] == "recording:1001_20261124073600"
    # Half a second is the wait for the row. A busy machine may need more, but the look at all
    # recordings comes only every quarter of an hour.
    assert job["submitted_ms"] - sent_ms < 30_000
    # The update of the row, and the whole conversation again, make no second job.
    for name in ("2-bridge2", "3-bridge3", "3-bridge3"):
        for frame in transcripts.events(f"10-recording-short.mode{name}"):
            bridge.backend.send_frame(frame)
    bridge.services.add_recording(12, (1001, "2026-11-24T08:00:00Z"))
    bridge.backend.finish_recording(1001, "2026-11-24T08:00:00Z")
    wait_for(lambda: find_job(bridge, "1001_20261124080000"), bridge.log)
    assert sum("20261124073600" in each["key"] for each in bridge.jobs("note")) == 1


def test_recordings_that_end_while_the_backend_is_gone_are_found(bridge: RunningBridge) -> None:
    save_rules(bridge.directory, [a_rule()])
    now = time.strftime("%Y-%m-%dT%H:%M:00Z", time.gmtime(time.time() + 60))
    bridge.services.add_recording(13, (1002, now), EndTs=now)
    bridge.backend.drop_clients()
    name = "1002_" + "".join(each for each in now if each.isdigit())
    job = wait_for(lambda: find_job(bridge, name), bridge.log)
    assert job["arguments"]["title"] == "Große Reise"
    for mode in (2, 3):
        bridge.backend.wait_for(mode)


def test_a_rule_for_a_missing_command_is_a_problem_to_solve(bridge: RunningBridge) -> None:
    save_rules(bridge.directory, [RecordingRule("lost", "nosuch", include=("short",)), a_rule()])
    bridge.services.add_recording(14, (1001, "2026-11-24T09:00:00Z"))
    bridge.backend.finish_recording(1001, "2026-11-24T09:00:00Z")
    wait_for(lambda: find_job(bridge, "1001_20261124090000"), bridge.log)
    [problem] = [p for p in read_status(bridge.directory)["problems"] if "lost" in p["subject"]]
    assert 'there is no command "nosuch"' in problem["sentence"]


def test_a_job_from_mythtvs_screens_runs_here_and_is_shown_there(
    bridge: RunningBridge, gate: Path
) -> None:
    row_id = bridge.insert_row(flags=1)
    row = bridge.wait_row(row_id, 4)
    assert row["hostname"] == NAME
    wait_for(lambda: bridge.row(row_id)["comment"] == "42 % completed" or None, bridge.log)
    job = wait_running(bridge)
    arguments = job["arguments"]
    assert (arguments["title"], arguments["jobid"]) == ("Große Reise", str(row_id))
    assert arguments["use_cutlist"] == "yes"
    assert arguments["path"] == "/srv/recordings/1001_20260715181300.ts"
    [use] = wait_for(lambda: find_uses(bridge), "the recording is not marked as in use")
    assert (use["chanid"], use["recusage"]) == (1001, "jobqueue")

    bridge.command_row(row_id, 1)  # pause
    row = bridge.wait_row(row_id, 6)
    assert row["cmds"] == 0
    assert row["comment"] == "paused; 42 % completed"
    bridge.command_row(row_id, 2)  # resume
    bridge.wait_row(row_id, 4)
    gate.write_text("0\n")
    row = bridge.wait_row(row_id, FINISHED)
    assert row["comment"] == "Successfully Completed."
    wait_for(lambda: not find_uses(bridge), "the recording stays in use")

    # Queued again from the screen of the job queue.
    assert bridge.database is not None
    bridge.database.execute("UPDATE jobqueue SET status = 1, cmds = 0 WHERE id = %s", row_id)
    bridge.wait_row(row_id, 4)
    gate.write_text("3\n")
    row = bridge.wait_row(row_id, ERRORED)
    assert "exit code 3" in row["comment"]


def test_a_stop_reaches_the_process_and_a_restart_runs_it_again(
    bridge: RunningBridge, gate: Path
) -> None:
    row_id = bridge.insert_row()
    bridge.wait_row(row_id, 4)
    job = wait_running(bridge)
    bridge.command_row(row_id, 8)  # restart
    wait_for(
        lambda: [j for j in bridge.jobs("gated") if j["state"] == "running" and j != job
                 and j["id"] != job["id"]],
        bridge.log,
    )  # fmt: skip
    bridge.wait_row(row_id, 4)
    bridge.command_row(row_id, 4)  # stop
    row = bridge.wait_row(row_id, ABORTED)
    assert row["cmds"] == 0
    assert {each["state"] for each in bridge.jobs("gated")} <= {"succeeded", "failed", "cancelled"}


def test_an_automatic_job_is_made_once(bridge: RunningBridge, gate: Path) -> None:
    now = time.gmtime()
    start = time.strftime("%Y-%m-%d %H:%M:00", now)
    rule = RecordingRule("auto", "gated", include=("short",), origin=IMPORT_ORIGIN)
    save_rules(bridge.directory, [rule])
    key = start.replace(" ", "T") + "Z"
    bridge.services.add_recording(15, (1001, key), EndTs=time.strftime("%Y-%m-%dT%H:%M:%SZ", now))
    # MythTV queues its own job 0.1 s after the event.
    bridge.backend.finish_recording(1001, key)
    row_id = bridge.insert_row(starttime=start)
    bridge.wait_row(row_id, 4)
    subject = "recording:1001_" + "".join(each for each in start if each.isdigit())
    wait_for(
        lambda: (
            "finished 1001_" + subject[15:]
            in json.loads(bridge.directory.recordings.read_bytes())["examined"]
        ),
        bridge.log,
    )
    [job] = [each for each in bridge.jobs("gated") if each["subject"] == subject]
    assert job["key"].startswith("mythtv:auto:")
    gate.write_text("0\n")
    bridge.wait_row(row_id, FINISHED)


def test_imported_rules_rest_while_mythtv_runs_its_jobs(bridge: RunningBridge) -> None:
    assert not load_takeover(bridge.directory).is_on
    imported = RecordingRule("auto", "note", include=("short",), origin=IMPORT_ORIGIN)
    save_rules(bridge.directory, [imported, a_rule()])
    bridge.services.add_recording(16, (1001, "2026-11-24T10:00:00Z"))
    bridge.backend.finish_recording(1001, "2026-11-24T10:00:00Z")
    wait_for(lambda: find_job(bridge, "1001_20261124100000"), bridge.log)
    assert not [each for each in bridge.jobs("note") if "mythtv:auto:" in each["key"]]


def test_a_deleted_row_cancels_its_waiting_job(bridge: RunningBridge, gate: Path) -> None:
    later = "2037-01-01 00:00:00"
    assert bridge.database is not None
    row_id = bridge.insert_row()
    other_id = bridge.insert_row(chanid=1002, starttime="2026-11-22 17:00:00")
    bridge.database.execute(
        "UPDATE jobqueue SET schedruntime = %s, hostname = '', status = 1 WHERE id = %s",
        later, other_id,
    )  # fmt: skip
    bridge.wait_row(row_id, 4)
    bridge.database.execute("DELETE FROM jobqueue WHERE id IN (%s, %s)", row_id, other_id)
    wait_for(
        lambda: all(
            each["state"] in ("succeeded", "failed", "cancelled") for each in bridge.jobs("gated")
        ),
        bridge.log,
    )


def test_foreign_claims_and_unknown_types(bridge: RunningBridge, gate: Path) -> None:
    foreign = bridge.insert_row(hostname="otherbox")
    pinned = bridge.insert_row(hostname="mythbox", chanid=1002, starttime="2026-11-22 17:00:00")
    unknown = bridge.insert_row(type=512)
    lost = bridge.insert_row(chanid=9999)
    row = bridge.wait_row(unknown, ERRORED)
    assert row["comment"] == "mythjobs has no command for userjob2; run mythjobs mythtv import"
    assert bridge.wait_row(lost, ERRORED)["comment"] == "there is no such recording"
    assert bridge.wait_row(pinned, 4)["hostname"] == NAME
    assert (bridge.row(foreign)["hostname"], bridge.row(foreign)["status"]) == ("otherbox", 1)
    bridge.command_row(pinned, 4)
    bridge.wait_row(pinned, ABORTED)


def test_a_job_for_a_recording_that_goes_on_waits_for_its_end(
    bridge: RunningBridge, gate: Path
) -> None:
    bridge.services.add_recording(17, (1001, "2026-11-24T12:00:00Z"), Status=-2)
    row_id = bridge.insert_row(starttime="2026-11-24 12:00:00")
    wait_for(
        lambda: bridge.row(row_id)["comment"] == "waits: the recording has not ended", bridge.log
    )
    assert bridge.row(row_id)["status"] == 1
    bridge.command_row(row_id, 4)
    row = bridge.wait_row(row_id, CANCELLED)
    assert (row["cmds"], row["comment"]) == (0, "stopped before it started")


def test_a_row_that_cannot_be_handled_does_not_delay_the_others(
    bridge: RunningBridge, gate: Path
) -> None:
    bridge.services.add_recording(20, (1001, "2026-11-24T15:00:00Z"), EndTs="never")
    try:
        bad = bridge.insert_row(starttime="2026-11-24 15:00:00")
        good = bridge.insert_row(chanid=1002, starttime="2026-11-22 17:00:00")
        bridge.wait_row(good, 4)
        problems = {each["subject"] for each in read_status(bridge.directory)["problems"]}
        assert f"MythTV's job {bad}" in problems
        bridge.command_row(good, 4)
        bridge.command_row(bad, 4)
        bridge.wait_row(bad, CANCELLED)
        bridge.wait_row(good, ABORTED)
    finally:
        del bridge.services.programs[20]


def test_flagging_waits_for_the_end_unless_mythtv_flags_while_recording(
    bridge: RunningBridge, gate: Path
) -> None:
    settings = require_settings(bridge.directory)
    save_settings(bridge.directory, replace(settings, commands={"commflag": "gated"}))
    bridge.services.add_recording(19, (1001, "2026-11-24T14:00:00Z"), Status=-2)
    bridge.services.settings[""]["AutoCommflagWhileRecording"] = "0"
    waiting = bridge.insert_row(type=2, starttime="2026-11-24 14:00:00")
    wait_for(
        lambda: bridge.row(waiting)["comment"] == "waits: the recording has not ended", bridge.log
    )
    bridge.services.settings[""]["AutoCommflagWhileRecording"] = "1"
    started = bridge.insert_row(type=2, starttime="2026-11-24 14:00:00")
    bridge.wait_row(started, 4)
    bridge.command_row(started, 4)
    bridge.command_row(waiting, 4)
    bridge.wait_row(waiting, CANCELLED)
    bridge.wait_row(started, ABORTED)
    bridge.services.settings[""]["AutoCommflagWhileRecording"] = "0"
    save_settings(bridge.directory, settings)


def test_a_job_for_a_deleted_recording_is_cancelled(bridge: RunningBridge, gate: Path) -> None:
    bridge.services.add_recording(18, (1001, "2026-11-24T13:00:00Z"), RecGroup="Deleted")
    row = bridge.wait_row(bridge.insert_row(starttime="2026-11-24 13:00:00"), CANCELLED)
    assert row["comment"] == "the recording has been deleted"


def test_switching_off_restores_mythtv_and_gives_rows_back(
    bridge: RunningBridge, gate: Path
) -> None:
    assert bridge.services.settings["mythbox"][SETTING] == "0"
    row_id = bridge.insert_row()
    bridge.wait_row(row_id, 4)
    # The second job of the recording waits for the first.
    waiting = bridge.insert_row(type=1024, comment="second")
    wait_for(lambda: bridge.row(waiting)["hostname"] == NAME or None, bridge.log)
    wait_for(lambda: "waits" in bridge.row(waiting)["comment"] or None, bridge.log)
    with services_of(bridge) as services:
        assert switch_off(bridge.directory, services) == {"mythbox": "restored to 2 at once"}
    assert bridge.services.settings["mythbox"][SETTING] == "2"
    wait_for(lambda: bridge.row(waiting)["hostname"] == "" or None, bridge.log)
    assert bridge.row(waiting)["status"] == 1
    # The job that runs here ends here.
    gate.write_text("0\n")
    bridge.wait_row(row_id, FINISHED)
    assert bridge.row(waiting)["hostname"] == ""


def test_changed_settings_are_used_without_a_restart(bridge: RunningBridge) -> None:
    directory = bridge_dir(bridge.root)
    settings = load_settings(directory)
    assert settings is not None
    before = bridge.backend.requests.count("ANN Monitor another 3")
    save_settings(directory, replace(settings, name="another"))
    wait_for(
        lambda: bridge.backend.requests.count("ANN Monitor another 3") > before or None, bridge.log
    )
    save_settings(directory, settings)
