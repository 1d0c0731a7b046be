"""Import of the recorded installation into a real queue."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import pytest

from mythjobs.cli.main import run
from mythjobs.mythtv.database.connection import MythDatabase, RecordingKey, parse_ms
from mythjobs.mythtv.database.recordings import read_recording_by_key
from mythjobs.mythtv.parameters import RecordingContext, list_values, select_arguments
from mythjobs.mythtv.rules import RecordingRule
from mythjobs.mythtv.settings import (
    BridgeSettings,
    bridge_dir,
    load_rules,
    require_settings,
    save_rules,
    save_settings,
)
from tests.support.mythtv.bridge import remove_commands
from tests.support.mythtv.database import write_setting
from tests.support.mythtv.services import FakeServices
from tests.support.running_queue import RunningQueue


@pytest.fixture
def environment(mythtv: MythDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    address = mythtv.address
    password = quote(address.password, safe="")
    monkeypatch.setenv(
        "MYTHJOBS_MYTHTV_DATABASE",
        f"mysql://{address.user}:{password}@localhost/{address.name}?socket={address.socket}",
    )
    monkeypatch.delenv("MYTHJOBS_URL", raising=False)


@pytest.fixture
def queue(running_queue: RunningQueue) -> Iterator[RunningQueue]:
    """The queue without commands of an import."""
    yield running_queue
    names = [each["name"] for each in running_queue.client.get("commands")["commands"]]
    remove_commands(running_queue.client, *(each for each in names if each.startswith("mythtv-")))
    directory = bridge_dir(running_queue.root)
    for path in (directory.rules, directory.settings, directory.root / "import.json"):
        path.unlink(missing_ok=True)


def call(queue: RunningQueue, capfd: pytest.CaptureFixture[str], *arguments: str) -> Any:
    code = run(["--state-dir", str(queue.root), "mythtv", "import", *arguments, "--json"])
    out, err = capfd.readouterr()
    assert code == 0, err
    return json.loads(out)


def actions(report: Any, kind: str) -> set[str]:
    return {each["action"] for each in report["steps"] if each["kind"] == kind}


@pytest.mark.usefixtures("environment")
def test_an_import_twice(
    queue: RunningQueue, mythtv: MythDatabase, capfd: pytest.CaptureFixture[str]
) -> None:
    machine = queue.client.get("machines")["machines"][0]["name"]
    mythtv.execute(
        "INSERT INTO record (recordid, type, title, autocommflag, autouserjob1) "
        "VALUES (5, 4, 'News', 1, 1)"
    )
    directory = bridge_dir(queue.root)
    save_settings(directory, BridgeSettings("mythbox", commands={"preview": "own"}))
    save_rules(directory, [RecordingRule("mine", "run")])
    option = f"--machine=mythbox={machine}"

    shown = call(queue, capfd, option)
    assert actions(shown, "command") == {"add"}
    assert [each["name"] for each in queue.client.get("commands")["commands"]] == ["run"]

    call(queue, capfd, option, "--apply")
    commands = queue.client.get("commands")["commands"]
    assert len(commands) == 13
    assert queue.client.get(f"machines/{machine}")["settings"]["jobs"] == 2
    assert [each.name for each in load_rules(directory)] == [
        "mine", "mythtv-commflag", "mythtv-userjob1",
    ]  # fmt: skip
    assert require_settings(directory).commands["userjob4"] == "mythtv-userjob4"
    assert require_settings(directory).commands["preview"] == "own"

    again = call(queue, capfd, option, "--apply")
    assert {each["action"] for each in again["steps"] if each["kind"] != "schedule"} == {
        "unchanged"
    }
    assert queue.client.get("commands")["commands"] == commands

    # A changed setting of MythTV changes its command; what a user changed here stays.
    write_setting(mythtv, "UserJobDesc1", "Log more")
    write_setting(mythtv, "UserJobDesc2", "Fail more")
    mine = queue.client.get("commands/mythtv-userjob2")["definition"] | {"at_most": 1}
    queue.client.post("commands", {"definition": mine, "replace": True})
    third = call(queue, capfd, option, "--apply")
    changed = {each["name"]: each["action"] for each in third["steps"]}
    assert (changed["mythtv-userjob1"], changed["mythtv-userjob2"]) == ("change", "keep")
    assert queue.client.get("commands/mythtv-userjob2")["definition"]["at_most"] == 1
    fourth = call(queue, capfd, option, "--apply", "--replace")
    assert "at_most" not in queue.client.get("commands/mythtv-userjob2")["definition"]
    assert {each["name"]: each["action"] for each in fourth["steps"]}["mythtv-userjob2"] == "change"


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
def test_a_hostile_title_reaches_the_job_as_one_argument(
    queue: RunningQueue,
    mythtv: MythDatabase,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    program = tmp_path / "print"
    program.write_text(
        f"#!{sys.executable} -ISS\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n"
    )
    program.chmod(0o700)
    write_setting(mythtv, "UserJob1", f"{program} --title '%TITLE%' %SUBTITLE%")
    write_setting(mythtv, "UserJob2", f'cd / && {program} "%TITLE%" "%DESCRIPTION%"')
    call(queue, capfd, "--apply")
    state = read_recording_by_key(mythtv, RecordingKey(1001, parse_ms("2026-11-20 19:58:00") or 0))
    assert state is not None
    recording = state.recording
    assert "$(touch" in recording.title
    values = list_values(recording, RecordingContext("/srv/recordings"), ZoneInfo("Europe/Berlin"))
    for name, expected in (
        ("mythtv-userjob1", ["--title", recording.title, recording.subtitle]),
        ("mythtv-userjob2", [recording.title, recording.description]),
    ):
        definition = queue.client.get(f"commands/{name}")["definition"]
        names = [each["name"] for each in definition["parameters"]]
        job = queue.client.post(
            "jobs", {"command": name, "arguments": select_arguments(names, values)}
        )["id"]
        done = subprocess.run(
            [sys.executable, "-m", "mythjobs", "--state-dir", queue.root, "wait", str(job)],
            capture_output=True, text=True, env=os.environ, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        chunks: list[bytes] = []
        queue.client.stream(f"jobs/{job}/output", {}, chunks.append)
        assert json.loads(b"".join(chunks)) == expected
    assert not Path("/srv/jobs/log/PWNED-subst").exists()


@pytest.mark.usefixtures("environment")
def test_a_database_of_something_else(
    queue: RunningQueue, mythtv: MythDatabase, capfd: pytest.CaptureFixture[str]
) -> None:
    mythtv.execute("DELETE FROM settings WHERE value = 'DBSchemaVer'")
    code = run(["--state-dir", str(queue.root), "mythtv", "import"])
    assert code == os.EX_CONFIG
    assert "is not a database of MythTV" in capfd.readouterr().err


@pytest.mark.usefixtures("environment")
def test_the_report_for_people(queue: RunningQueue, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["--state-dir", str(queue.root), "mythtv", "import"]) == 0
    out = capfd.readouterr().out
    assert "  add         mythtv-userjob1  Log all tokens\n" in out
    assert "missing     mythbox  no machine of the queue has this name" in out
    assert "UserJob1, UserJob2, UserJob3: %JOBID% is 0" in out
    assert "changes to make; repeat the command with --apply" in out


def test_an_import_through_the_services_api(
    queue: RunningQueue, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MYTHJOBS_MYTHTV_DATABASE", raising=False)
    fake = FakeServices()
    try:
        # The takeover has switched the queue of the host off.
        fake.settings["mythbox"]["JobQueueMaxSimultaneousJobs"] = "0"
        directory = bridge_dir(queue.root)
        save_settings(directory, BridgeSettings("127.0.0.1", status_port=fake.port))
        directory.takeover.write_text('{"is_on": true, "hosts": {"mythbox": "3"}}')
        machine = queue.client.get("machines")["machines"][0]["name"]
        found = call(queue, capfd, f"--machine=mythbox={machine}", "--apply")
        directory.takeover.unlink()
    finally:
        fake.close()
    assert found["source"].startswith("127.0.0.1:")
    assert set(found["commands"]) == {
        "metadata", "commflag", "transcode", "transcode-27", "transcode-28", "transcode-29",
        "userjob1", "userjob2", "userjob3", "userjob4",
    }  # fmt: skip
    assert [(each["command"], each["recording_rules"]) for each in found["rules"]] == [
        ("mythtv-metadata", [3]), ("mythtv-commflag", [3]),
        ("mythtv-transcode-medium-quality", [3]), ("mythtv-userjob1", [3]),
        ("mythtv-userjob3", [3]),
    ]  # fmt: skip
    assert not [each for each in found["notes"] if "JobQueueMax" in each["item"]]


@pytest.mark.usefixtures("environment")
def test_housekeeping_becomes_schedules_that_begin_paused(
    queue: RunningQueue, mythtv: MythDatabase, capfd: pytest.CaptureFixture[str]
) -> None:
    write_setting(mythtv, "MythFillEnabled", "1")
    write_setting(mythtv, "MythFillMinHour", "2")
    write_setting(mythtv, "MythFillMaxHour", "5")
    name = "mythtv-mythfilldatabase"
    assert actions(call(queue, capfd, "--apply"), "schedule") == {"add"}
    found = queue.client.get(f"schedules/{name}")
    assert found["definition"]["between"] == "02:00-05:30"
    assert found["paused"]
    assert actions(call(queue, capfd, "--apply"), "schedule") == {"unchanged"}
    queue.client.post(f"schedules/{name}/paused", {"on": False})
    write_setting(mythtv, "MythFillMaxHour", "6")
    assert actions(call(queue, capfd, "--apply"), "schedule") == {"change"}
    queue.client.delete(f"schedules/{name}")
