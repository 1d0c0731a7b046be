import json

import pytest

from mythjobs.cli import terminal
from mythjobs.cli.terminal import (
    display_width,
    escape_controls,
    fit_widths,
    sanitize,
    sanitize_output,
    wrap,
)


def test_a_plain_table_is_aligned_and_has_one_line_a_row(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [(7, "a\n\u2028b", "😀"), (123, "", "x\x1b[2J")]
    terminal.print_table(("job", "title", "mark"), rows, ("job",))
    assert capsys.readouterr().out == (
        "job  title  mark\n"
        "  7  a b    😀\n"
        "123         x[2J\n"
    )  # fmt: skip


def test_empty_fields_are_omitted(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_fields([("state", "running"), ("key", ""), ("after", "4")])
    assert capsys.readouterr().out == "state  running\nafter  4\n"


def test_json_keeps_the_value(capsys: pytest.CaptureFixture[str]) -> None:
    value = {"title": "\x1b\x9b😀 ä\n"}
    terminal.print_json(value)
    assert json.loads(capsys.readouterr().out) == value


def test_a_message_is_one_line_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.print_message("no\nsuch\x1b[1m thing")
    assert capsys.readouterr() == ("", "mythjobs: no such[1m thing\n")


def test_sanitized_text_cannot_control_the_terminal() -> None:
    assert sanitize("a\x1b[2Jb\x9b31mc\u202ed\x7f") == "a[2Jb31mcd"
    assert sanitize("two\r\nlines\tand more") == "two lines and more"


def test_sanitized_output_keeps_lines_tabs_and_carriage_returns() -> None:
    assert sanitize_output("1\t%\r2 %\n\x1b]0;pwned\x07ok\n") == "1\t%\r2 %\n]0;pwnedok\n"


def test_json_has_control_characters_escaped() -> None:
    assert escape_controls('{\n "a": "\x9b\u202e"}') == '{\n "a": "\\u009b\\u202e"}'


@pytest.mark.parametrize(
    "text, columns", [("abc", 3), ("ä", 1), ("a\u0308", 1), ("😀", 2), ("日本", 4)]
)
def test_wide_characters_take_two_columns(text: str, columns: int) -> None:
    assert display_width(text) == columns


def test_the_widest_columns_are_narrowed_to_fit() -> None:
    assert fit_widths([4, 30, 60], 80) == [4, 30, 46]
    assert fit_widths([4, 60, 60], 80) == [4, 38, 38]
    # Columns stay readable even if the table is wider than the terminal.
    assert fit_widths([20, 20], 3) == [8, 8]


@pytest.mark.parametrize(
    "text, width, lines",
    [
        ("", 5, [""]),
        ("one two three", 7, ["one two", "three"]),
        ("/srv/tv/news.ts x", 8, ["/srv/tv/", "news.ts", "x"]),
        ("日本日本", 5, ["日本", "日本"]),
        ("日本", 1, ["日本"]),
    ],
)
def test_text_is_wrapped_at_blanks(text: str, width: int, lines: list[str]) -> None:
    assert wrap(text, width) == lines
