"""`mythjobs command test-progress`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mythjobs.cli.commands import progress_tester
from tests.integration.cli.conftest import Call
from tests.integration.cli.scripted import Master

OUTPUT = b"start\nframe 30/120\rframe 60/120\rframe 50/120\ndone: 100%, left 0:00:00\n"
DONE = r"frame (?P<done>\d+)/(?P<total>\d+)"


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "output"
    path.write_bytes(OUTPUT)
    return str(path)


def test_each_report_is_shown_with_its_line(call: Call, file: str) -> None:
    done = call("command", "test-progress", file, "--regex", DONE)
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()[:-1]] == [
        ["line", "progress", "left", "comment"],
        ["2", "25", "%"],
        ["2", "50", "%"],
        ["2", "41.7", "%"],
    ]
    assert done.out.splitlines()[-1] == (
        "3 reports in 3 lines: 25 % in line 2 to 41.7 % in line 2; falls 1 times, first in line 2"
    )


def test_json_has_the_reports(call: Call, file: str) -> None:
    regex = r"(?P<comment>\w+): (\d+)%, left (?P<eta>\S+)"
    done = call("command", "test-progress", file, "--regex", regex, "--json")
    assert json.loads(done.out) == {
        "progress": f"regex:{regex}",
        "reports": 1,
        "found": [{"line": 3, "percent": 100.0, "comment": "done", "eta_s": 0.0}],
        "falls": [],
    }


def test_all_presets_are_compared_without_an_option(call: Call, file: str) -> None:
    done = call("command", "test-progress", file)
    rows = {line.split()[0]: line.split()[1:] for line in done.out.splitlines()}
    assert rows["percent"] == ["1", "100", "%", "100", "%"]
    assert rows["ffmpeg"] == []
    assert done.code == 0
    results = json.loads(call("command", "test-progress", file, "--json").out)
    assert [each["progress"] for each in results if each["found"]] == ["percent"]


def test_nothing_found_is_exit_code_1(call: Call, file: str) -> None:
    done = call("command", "test-progress", file, "--preset", "rsync")
    assert (done.code, done.out) == (1, "no progress in 3 lines\n")


@pytest.mark.parametrize(
    "setting, code, text",
    [
        ("percent", 0, "1 reports in 3 lines"),
        ({"regex": DONE}, 0, "3 reports in 3 lines"),
        ("status", 2, 'its definition has progress = "status"'),
        ("", 2, "its definition has no setting `progress`"),
    ],
)
def test_the_setting_of_a_command(
    call: Call, master: Master, file: str, setting: Any, code: int, text: str
) -> None:
    master.answers["GET commands/x"] = {"definition": {"name": "x", "progress": setting}}
    done = call("command", "test-progress", file, "--command", "x")
    assert done.code == code
    assert text in done.out + done.err


@pytest.mark.parametrize(
    "options, text",
    [
        (["--regex", "("], "--regex is not a regular expression"),
        (["--regex", "x"], "--regex needs a group"),
        (["--regex", r"(?P<done>\d+)"], "needs both groups"),
        (["--regex", "(x)", "--preset", "percent"], "give one of"),
        (["--preset", "status"], "status"),
    ],
)
def test_invalid_options_are_refused(call: Call, file: str, options: list[str], text: str) -> None:
    done = call("command", "test-progress", file, *options)
    assert done.code == 2
    assert text in done.err


def test_reports_that_cross_the_pieces_of_a_large_file_are_found(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress_tester, "MAX_LISTED", 1000)
    path = tmp_path / "output"
    lines = [f"{'x' * (each % 97)} frame {each}/2000\r" for each in range(2000)]
    path.write_text("".join(lines) + "\nend")
    done = call("command", "test-progress", str(path), "--regex", DONE, "--json")
    result = json.loads(done.out)
    assert (result["reports"], len(result["found"]), result["falls"]) == (2000, 1000, [])
    assert result["found"][-1]["percent"] == 50.0
    done = call("command", "test-progress", str(path), "--regex", DONE)
    assert done.out.splitlines()[-2:] == [
        "1000 more reports are not listed",
        "2000 reports in 2 lines: 0 % in line 1 to 100 % in line 1",
    ]


def test_a_device_without_end_is_refused(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress_tester, "MAX_OUTPUT_BYTES", 2**20)
    done = call("command", "test-progress", "/dev/zero", "--preset", "percent")
    assert done.code == 2
    assert "/dev/zero has more than 1MiB, the largest size searched" in done.err


def test_a_slow_expression_is_named(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "output"
    path.write_bytes(b"5%\n" + b"a" * 60 + b"\n")
    done = call("command", "test-progress", str(path), "--regex", r"^(?:\w+\s?)*?(\d+)?%$")
    assert "line 2: the search takes too long" in done.err
    assert done.out.endswith("1 reports in 2 lines: 5 % in line 1 to 5 % in line 1\n")
