"""Files of the bridge's settings and rules."""

from pathlib import Path

import pytest

from mythjobs.errors import ConfigError
from mythjobs.mythtv.rules import RecordingRule
from mythjobs.mythtv.settings import (
    BridgeSettings,
    bridge_dir,
    load_rules,
    load_settings,
    require_settings,
    save_rules,
    save_settings,
)


def test_settings_and_rules_survive_their_files(tmp_path: Path) -> None:
    files = bridge_dir(tmp_path)
    assert load_settings(files) is None
    assert load_rules(files) == []
    settings = BridgeSettings(
        "mythbox", 6643, 6644, "1234", "user", "pass'word", "attic", "mysql://h/db", 5.0,
        {"userjob1": "checksum", "transcode-27": "h264"},
    )  # fmt: skip
    save_settings(files, settings)
    assert load_settings(files) == settings
    assert files.settings.stat().st_mode & 0o777 == 0o600
    save_rules(files, [RecordingRule("flag", "mythcommflag")])
    assert load_rules(files) == [RecordingRule("flag", "mythcommflag")]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    files = bridge_dir(tmp_path)
    files.rules.mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"cannot read .*/rules\.toml: Is a directory$"):
        load_rules(files)
    files.settings.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match=r"/settings\.toml must be UTF-8 text$"):
        load_settings(files)


def test_the_bridge_has_a_host_name_of_its_own(tmp_path: Path) -> None:
    files = bridge_dir(tmp_path)
    save_settings(files, BridgeSettings("mythbox"))
    assert require_settings(files).name.startswith("mythjobs-")


@pytest.mark.parametrize(
    "text, message",
    [
        ("port = 1", "host: is missing"),
        ("host = 'a'\nprot = 1", "prot: unknown key"),
        ("host = 'a'\nport = 0", "port: must be a whole number"),
        ("host = 'a'\npoll = '50ms'", "poll: must be at least 0.1s"),
        ("host = 'a'\nname = '" + "x" * 65 + "'", "name: must be a host name of at most 64"),
        ("host = 'a'\nname = 'a[]:[]b'", "name: must be a host name of at most 64"),
        ("host = 'a'\nname = 'a b'", "name: must be a host name of at most 64"),
        ("host = 'a'\nname = '-'", "name: must be a host name of at most 64"),
        ("host = 'a[]:[]b'", "host: must be a host name or an address"),
        ("host = 'mythbox..lan'", "host: must be a host name or an address"),
        ("host = '" + "é" * 60 + "'", "host: must be a host name or an address"),
        ("host = 'a b'", "host: must be a host name or an address"),
        ("host = 'http://mythbox/'", "host: must be a host name or an address"),
        ("host = 'mythbox:6543'", "host: must be a host name or an address"),
        ("host = 'a'\ncommands = { userjob1 = 1 }", "commands: must be a table"),
        ("host", "Expected '='"),
    ],
)
def test_invalid_settings_name_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    files = bridge_dir(tmp_path)
    files.root.mkdir()
    files.settings.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings(files)
    assert str(files.settings) in caught.value.sentence
    assert message in caught.value.sentence


@pytest.mark.parametrize(
    "host", ["mythbox", "my_box.fritz.box", "192.0.2.7", "::1", "fe80::1%eth0"]
)
def test_hosts_are_names_and_addresses(tmp_path: Path, host: str) -> None:
    files = bridge_dir(tmp_path)
    save_settings(files, BridgeSettings(host))
    assert require_settings(files).host == host


def test_an_odd_name_of_the_machine_becomes_a_valid_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "büro[]:[] pc" + "x" * 80)
    files = bridge_dir(tmp_path)
    save_settings(files, BridgeSettings("mythbox"))
    assert require_settings(files).name.startswith("mythjobs-b-ro------pcxxx")


def test_without_settings_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="run `mythjobs mythtv setup --host HOST`"):
        require_settings(bridge_dir(tmp_path))
