"""Unit of the agent: its text, quoting, place, and the program that it starts."""

from __future__ import annotations

import configparser
import sys
from pathlib import Path

import pytest

from mythjobs.config import systemd_unit
from mythjobs.errors import BadRequest, ConfigError


def _read(text: str) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_the_unit_lets_jobs_survive_its_restart() -> None:
    argv = ["/usr/bin/mythjobs", "--state-dir", "/var/lib/mythjobs", "agent"]
    unit = _read(systemd_unit.make_unit(argv, user="mythtv", is_system=True))
    service = unit["Service"]
    assert service["ExecStart"] == "/usr/bin/mythjobs --state-dir /var/lib/mythjobs agent"
    assert (service["KillMode"], service["Delegate"], service["User"]) == (
        "process", "yes", "mythtv",
    )  # fmt: skip
    assert unit["Install"]["WantedBy"] == "multi-user.target"


def test_the_unit_of_a_user_has_no_user() -> None:
    unit = _read(systemd_unit.make_unit(["/bin/x"], user="", is_system=False))
    assert "User" not in unit["Service"]
    assert unit["Install"]["WantedBy"] == "default.target"


@pytest.mark.parametrize(
    "word, quoted",
    [
        ("/usr/bin/x", "/usr/bin/x"),
        ("/a b", '"/a b"'),
        ("50%", "50%%"),
        ("$HOME", '"$$HOME"'),
        ('a"b\\c', '"a\\"b\\\\c"'),
        ("", '""'),
        (";", '";"'),
        ("ü", '"ü"'),
    ],
)
def test_words_are_quoted_for_systemd(word: str, quoted: str) -> None:
    assert systemd_unit.quote_argument(word) == quoted


def test_a_path_with_a_line_break_is_refused() -> None:
    with pytest.raises(BadRequest, match="without line break"):
        systemd_unit.quote_argument("/a\nExecStartPre=/bin/evil")


def test_the_unit_starts_this_program_again(tmp_path: Path) -> None:
    script = tmp_path / "mythjobs"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    assert systemd_unit.find_own_program(str(script)) == [str(script)]
    module = [sys.executable, "-m", "mythjobs"]
    assert systemd_unit.find_own_program(str(tmp_path / "__main__.py")) == module


def test_the_place_of_the_unit() -> None:
    name = systemd_unit.UNIT_NAME
    assert systemd_unit.find_unit_path(True, {}) == Path("/etc/systemd/system") / name
    given = systemd_unit.find_unit_path(False, {"XDG_CONFIG_HOME": "/home/a/.cfg"})
    assert given == Path("/home/a/.cfg/systemd/user") / name


def test_a_machine_without_systemd_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(systemd_unit, "SYSTEMD_BOOTED", str(tmp_path / "missing"))
    with pytest.raises(ConfigError, match=r"does not run systemd.*--print"):
        systemd_unit.install(tmp_path / "unit", "x", is_system=True)
    assert not (tmp_path / "unit").exists()
