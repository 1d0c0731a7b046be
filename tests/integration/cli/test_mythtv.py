"""`mythjobs mythtv setup`, `rules`, `takeover`, `status` and `fetch` with a fake backend."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mythjobs.cli.main import run
from mythjobs.config import locks
from mythjobs.mythtv.bridge.state_files import StatusFile
from mythjobs.mythtv.bridge.takeover import SETTING
from mythjobs.mythtv.settings import bridge_dir, load_rules, load_settings
from tests.integration.cli.conftest import Done
from tests.support.mythtv.backend import FakeBackend
from tests.support.mythtv.services import FakeFile, FakeServices

Call = Callable[..., Done]


@pytest.fixture
def backend() -> Iterator[FakeBackend]:
    backend = FakeBackend()
    yield backend
    backend.close()


@pytest.fixture
def services() -> Iterator[FakeServices]:
    services = FakeServices()
    yield services
    services.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "s"
    root.mkdir(mode=0o700)
    return root


@pytest.fixture
def call(root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    for each in ("MYTHJOBS_URL", "MYTHJOBS_MYTHTV_DATABASE", "MYTHJOBS_STATUS"):
        monkeypatch.delenv(each, raising=False)

    def called(*arguments: str | int) -> Done:
        code = run(["--state-dir", str(root), "mythtv", *map(str, arguments)])
        return Done(code, *capfd.readouterr())

    return called


@pytest.fixture
def connected(call: Call, backend: FakeBackend, services: FakeServices) -> Done:
    # The machine may have a config.xml of MythTV.
    return call(
        "setup", "--host", "127.0.0.1", "--port", backend.port, "--status-port", services.port,
        "--no-database",
    )  # fmt: skip


def test_setup_checks_the_backend_and_keeps_what_is_not_given(
    connected: Done, call: Call, root: Path, backend: FakeBackend
) -> None:
    assert connected.code == 0, connected.err
    assert "connected to MythTV v35-Pre-142-g8dbc67e783 on 127.0.0.1" in connected.out
    assert "no database: MythTV's screens do not show jobs that run here" in connected.out
    assert call("setup", "--poll", "5s", "--no-database").code == 0
    settings = load_settings(bridge_dir(root))
    assert settings is not None
    assert (settings.port, settings.poll_s) == (backend.port, 5.0)


def test_setup_refuses_what_cannot_work(connected: Done, call: Call, root: Path) -> None:
    before = load_settings(bridge_dir(root))
    done = call("setup", "--name", "mythbox", "--no-database")
    assert (done.code, done.err) == (
        2,
        'mythjobs: "mythbox" is the name of a host of MythTV; choose another one with --name, '
        "because the bridge marks MythTV's jobs as its own by its name\n",
    )
    done = call("setup", "--pin", "0000")
    assert done.code == 77
    assert "does not tell its database for this pin" in done.err
    assert load_settings(bridge_dir(root)) == before


def test_the_pin_is_read_from_stdin(
    connected: Done, call: Call, services: FakeServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert connected.code == 0
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"0000\n")))
    assert "does not tell its database for this pin" in call("setup", "--pin", "-").err
    assert any("GetConnectionInfo?Pin=0000" in each for each in services.requests)


@pytest.mark.parametrize(
    "option, value, message",
    [
        ("--name", "a[]:[]b", "must be a host name of at most 64 letters, digits"),
        ("--name", "", "must be a host name of at most 64 letters, digits"),
        ("--name", "x" * 65, "must be a host name of at most 64 letters, digits"),
        ("--host", "a[]:[]b", "must be a host name or an address, without a port"),
        ("--host", "", "must be a host name or an address, without a port"),
    ],
)
def test_setup_refuses_names_that_mythtv_cannot_read(
    connected: Done, call: Call, root: Path, option: str, value: str, message: str
) -> None:
    before = load_settings(bridge_dir(root))
    done = call("setup", option, value, "--no-database")
    assert done.code == 2
    assert done.err.startswith(f'mythjobs: {option} "{value}" {message}')
    assert load_settings(bridge_dir(root)) == before


def test_setup_needs_a_host(call: Call) -> None:
    assert call("setup").err == "mythjobs: name the MythTV backend with --host\n"
    done = call("status")
    assert (done.code, done.err) == (
        78,
        "mythjobs: no MythTV backend is configured; run `mythjobs mythtv setup --host HOST` "
        "first\n",
    )


def test_rules_are_added_listed_and_removed(call: Call, root: Path) -> None:
    done = call(
        "rules", "add", "news", "--command", "transcode", "--title", "News*", "--min-duration",
        "10m", "--param", "preset=fast", "--include", "failed",
    )  # fmt: skip
    assert done.code == 0, done.err
    assert call("rules", "add", "news", "--command", "x").code == 2
    [rule] = load_rules(bridge_dir(root))
    assert (rule.titles, rule.min_duration_s, rule.arguments) == (
        ("News*",), 600.0, {"preset": "fast"},
    )  # fmt: skip
    assert call("rules", "disable", "news").code == 0
    assert "news  no  transcode" in call("rules", "list").out
    assert call("rules", "enable", "news").code == 0
    assert json.loads(call("rules", "list", "--json").out) == [
        {
            "name": "news", "command": "transcode", "titles": ["News*"], "min_duration": "10m",
            "include": ["failed"], "arguments": {"preset": "fast"},
        }
    ]  # fmt: skip
    listed = json.loads(call("rules", "list", "--json").out)
    done = call("rules", "disable", "news", "--json")
    assert json.loads(done.out) == listed[0] | {"enabled": False}
    assert json.loads(call("rules", "enable", "news", "--json").out) == listed[0]
    done = call("rules", "add", "all", "--command", "x", "--json")
    assert json.loads(done.out) == {"name": "all", "command": "x"}
    assert json.loads(call("rules", "remove", "all", "--json").out)["name"] == "all"
    assert call("rules", "remove", "news") == (0, "", "")
    assert load_rules(bridge_dir(root)) == []
    done = call("rules", "remove", "news")
    assert done.err == 'mythjobs: there is no rule "news"; see `mythjobs mythtv rules list`\n'


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("--min-size", "5"), 'min_size: "5" is not a size'),
        (("--param", "preset"), '--param "preset" must be like NAME=VALUE'),
        (("--title", ""), "titles: must be a list"),
    ],
)
def test_a_wrong_option_of_a_rule_is_named(
    call: Call, arguments: tuple[str, ...], message: str
) -> None:
    done = call("rules", "add", "a", "--command", "x", *arguments)
    assert done.code == 2
    assert message in done.err


def test_a_damaged_rules_file_is_not_overwritten(call: Call, root: Path) -> None:
    rules = bridge_dir(root).rules
    rules.parent.mkdir()
    rules.write_text("[[rules]]\nname = 5\n")
    done = call("rules", "add", "a", "--command", "x")
    assert done.code == 78
    assert str(rules) in done.err
    assert rules.read_text() == "[[rules]]\nname = 5\n"


def test_a_test_of_the_rules_says_why(connected: Done, call: Call) -> None:
    assert connected.code == 0
    call("rules", "add", "all", "--command", "x", "--include", "short")
    call("rules", "add", "long", "--command", "x", "--min-duration", "1h", "--include", "short")
    done = call("rules", "test", 1)
    assert "Große Reise (1001_20260715181300)" in done.out
    assert "the recording is shorter (40.0 s)" in done.out
    assert json.loads(call("rules", "test", 1, "--json").out)["rules"]["all"] == ""
    assert call("rules", "test", 99).err == "mythjobs: MythTV has no recording 99\n"


def test_the_take_over_is_undone_exactly(
    connected: Done, call: Call, root: Path, services: FakeServices
) -> None:
    assert connected.code == 0
    services.settings["otherbox"] = {"JobAllowCommFlag": "1"}
    before = {host: dict(found) for host, found in services.settings.items()}

    # The backend lists its hosts; a frontend has no job queue.
    services.hosts = ["mythbox", "otherbox", "frontend"]
    done = call("takeover", "on")
    assert done.code == 0, done.err
    assert "no command is known for MythTV's jobs" in done.err
    assert "its screens do not show them" in done.err
    assert "the bridge does not run, so MythTV's jobs wait" in done.err
    assert services.settings["mythbox"][SETTING] == services.settings["otherbox"][SETTING] == "0"
    assert "frontend" not in services.settings
    assert "mythbox   off, taken over" in call("takeover", "status").out
    assert "marked MythTV's jobs by its present name" in call("setup", "--name", "other").err
    assert "was switched off already" in call("takeover", "on").out
    done = call("takeover", "off")
    assert "restored to MythTV's default" in done.out
    assert services.settings == before
    assert "the takeover was off" in call("takeover", "off").err


def test_two_writings_of_a_host_are_one_host(
    connected: Done, call: Call, services: FakeServices
) -> None:
    # MythTV's database finds the settings of a host whatever the case of the name.
    services.settings["MythBox"] = services.settings["mythbox"]
    services.hosts = ["MythBox", "mythbox"]
    assert call("takeover", "on").out.count("switched off") == 1
    done = call("takeover", "off")
    assert "restored to 2 at once" in done.out
    assert "left alone" not in done.out
    assert services.settings["mythbox"][SETTING] == "2"


def test_a_change_that_the_database_of_mythtv_refuses_is_an_error(
    connected: Done, call: Call, services: FakeServices
) -> None:
    services.is_read_only = True
    done = call("takeover", "on")
    assert done.code == 2
    assert f"did not change {SETTING} of mythbox; see its log" in done.err
    services.is_read_only = False
    assert "switched off; before: 2 at once" in call("takeover", "on").out
    assert "restored to 2 at once" in call("takeover", "off").out


def test_a_take_over_that_fails_at_the_second_host_is_finished_by_a_repetition(
    connected: Done, call: Call, services: FakeServices
) -> None:
    services.hosts = ["mythbox", "otherbox"]
    services.settings["otherbox"] = {SETTING: "3"}
    services.read_only_hosts = {"otherbox"}
    done = call("takeover", "on")
    assert done.code == 2
    assert f"did not change {SETTING} of otherbox" in done.err
    assert "Switched off: mythbox; not switched: otherbox. Repeat" in done.err
    assert services.settings["mythbox"][SETTING] == "0"
    assert "the takeover is half on: mythbox; not switched: otherbox" in (
        out := call("takeover", "status").out
    )
    assert "otherbox  not switched off yet, runs jobs (3 at once)" in out
    assert "half on: mythbox; not switched: otherbox" in call("status").out
    found = json.loads(call("takeover", "status", "--json").out)
    assert (found["on"], found["not_switched"]) == (True, ["otherbox"])
    services.read_only_hosts = set()
    done = call("takeover", "on")
    assert (done.code, services.settings["otherbox"][SETTING]) == (0, "0")
    assert "the takeover is on: mythbox, otherbox" in call("takeover", "status").out
    done = call("takeover", "off")
    assert (services.settings["mythbox"][SETTING], services.settings["otherbox"][SETTING]) == (
        "2", "3",
    )  # fmt: skip


def test_a_half_take_over_is_undone(connected: Done, call: Call, services: FakeServices) -> None:
    services.hosts = ["mythbox", "otherbox"]
    services.settings["otherbox"] = {SETTING: "3"}
    services.read_only_hosts = {"otherbox"}
    assert call("takeover", "on").code == 2
    done = call("takeover", "off")
    assert done.code == 0
    assert "otherbox  had not been switched off" in done.out
    assert services.settings["mythbox"][SETTING] == "2"
    assert "the takeover is off" in call("takeover", "status").out


def test_a_take_over_that_changes_nothing_is_not_on(
    connected: Done, call: Call, services: FakeServices
) -> None:
    services.is_read_only = True
    done = call("takeover", "on")
    assert "Switched off: no host; not switched: mythbox" in done.err
    assert "the takeover is off" in call("takeover", "status").out


def test_an_undoing_that_fails_is_finished_by_a_repetition(
    connected: Done, call: Call, services: FakeServices
) -> None:
    services.hosts = ["mythbox", "otherbox"]
    services.settings["otherbox"] = {SETTING: "3"}
    assert call("takeover", "on").code == 0
    services.read_only_hosts = {"otherbox"}
    done = call("takeover", "off")
    assert done.code == 2
    assert "Done: mythbox; still off: otherbox. Repeat" in done.err
    assert "half off: otherbox may still be switched off" in call("takeover", "status").out
    services.read_only_hosts = set()
    done = call("takeover", "off")
    assert (done.code, "mythbox" in done.out) == (0, False)
    assert services.settings["otherbox"][SETTING] == "3"


@pytest.mark.parametrize("name", [SETTING, "jobqueuemaxSimultaneousJOBS"])
def test_the_setting_keeps_the_spelling_of_its_row(
    connected: Done, call: Call, services: FakeServices, name: str
) -> None:
    services.settings["mythbox"] = {name: "2", "JobAllowCommFlag": "1"}
    before = dict(services.settings["mythbox"])
    assert call("takeover", "on").code == 0
    # Another program has written the row meanwhile.
    del services.settings["mythbox"][name]
    services.settings["mythbox"][SETTING.upper()] = "0"
    assert "restored to 2 at once" in call("takeover", "off").out
    assert services.settings["mythbox"] == before


@pytest.mark.parametrize("name", ["MYTHBOX", "OtherBox"])
def test_the_name_of_a_host_of_mythtv_is_refused(
    connected: Done, call: Call, services: FakeServices, name: str
) -> None:
    services.hosts = ["mythbox", "otherbox"]
    done = call("setup", "--name", name, "--no-database")
    assert done.code == 2
    assert f'"{name}" is the name of a host of MythTV' in done.err


def test_a_setting_that_was_changed_meanwhile_is_left_alone(
    connected: Done, call: Call, root: Path, services: FakeServices
) -> None:
    assert connected.code == 0
    assert call("takeover", "on").code == 0
    services.settings["mythbox"][SETTING] = "4"
    assert "left alone, because it was changed meanwhile to 4" in call("takeover", "off").out
    assert services.settings["mythbox"][SETTING] == "4"


def test_the_status_without_a_bridge_says_that_it_does_not_run(connected: Done, call: Call) -> None:
    assert connected.code == 0
    done = call("status")
    assert "not running" in done.out
    assert "database  no: transcode profiles of recordings are unknown" in done.out
    found = json.loads(call("status", "--json").out)
    assert (found["pid"], found["takeover"]) == (
        0, {"on": False, "hosts": [], "not_switched": []},
    )  # fmt: skip


def test_the_status_of_a_killed_bridge_is_not_that_of_the_next_one(
    connected: Done, call: Call, root: Path
) -> None:
    directory = bridge_dir(root)
    StatusFile(directory, pid=1).update(monitor_3="connected")
    with locks.acquire(directory.lock, "a bridge to MythTV"):
        out = call("status").out
    assert "system events  connecting" in out
    assert f"running (pid {os.getpid()})" in out


def test_a_recording_is_fetched_over_a_broken_connection_and_only_if_it_fits(
    connected: Done, call: Call, services: FakeServices, tmp_path: Path
) -> None:
    assert connected.code == 0
    data = b"recording" * 1000
    services.files[1] = FakeFile(len(data), lambda at, count: data[at : at + count], [4000])
    path = tmp_path / "copy.ts"
    done = call("fetch", 1, "--output", str(path), "--reserve", "1MB")
    assert done.code == 0, done.err
    assert done.out == f"{hashlib.sha256(data).hexdigest()}  {path}\n"
    assert "the connection broke" in done.err
    assert path.read_bytes() == data
    address = f"127.0.0.1:{services.port}"
    done = call("fetch", 1, "--output", str(path), "--backend", address, "--json")
    assert json.loads(done.out)["bytes"] == len(data)
    done = call("fetch", 1, "--output", str(path), "--reserve", "8000TiB")
    assert done.code == 75
    assert call("fetch", 1, "--backend", "x:y").code == 2
    assert call("fetch", 1, "--backend", "mythbox..lan").code == 2
    assert call("fetch", 1, "--output", "/nosuch/file").code == 2
    assert call("fetch", 1, "--reserve", "much").code == 2
