"""Command lines of `mythjobs status` that run without click."""

import pytest

from mythjobs.cli.quick_status import StatusOptions, parse


@pytest.mark.parametrize(
    "line, expected",
    [
        ("status", StatusOptions(None, False)),
        ("status --json", StatusOptions(None, True)),
        ("--state-dir a status", StatusOptions("a", False)),
        ("--state-dir a status --json --state-dir b", StatusOptions("b", True)),
    ],
)
def test_usual_command_lines_are_parsed(line: str, expected: StatusOptions) -> None:
    assert parse(line.split()) == expected


@pytest.mark.parametrize(
    "line",
    [
        "",
        "jobs",
        "status status",
        "status --help",
        "--json status",
        "status --state-dir",
        "--state-dir --json status",
        "--state-dir=a status",
        "--state-dir a",
    ],
)
def test_all_others_are_left_to_click(line: str) -> None:
    assert parse(line.split()) is None
