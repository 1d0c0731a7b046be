import json

import pytest

from mythjobs.cli import terminal


def test_a_plain_table_is_aligned_and_has_one_line_a_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [(7, "a\nb", "😀"), (123, "", "x\x1b[2J")]
    terminal.print_table(("job", "title", "mark"), rows, ("job",))
    assert capsys.readouterr().out == (
        "job  title  mark\n"
        "  7  a b    😀\n"
        "123         x[2J\n"
    )  # fmt: skip


def test_facts_without_a_value_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_fields([("state", "running"), ("key", ""), ("after", "4")])
    assert capsys.readouterr().out == "state  running\nafter  4\n"


def test_json_is_what_was_given(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"title": "\x1b\x9b😀 ä\n"}
    terminal.print_json(value)
    assert json.loads(capsys.readouterr().out) == value


def test_a_note_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_message("no\nsuch\x1b[1m thing")
    assert capsys.readouterr() == ("", "mythjobs: no such[1m thing\n")
