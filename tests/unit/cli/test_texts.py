import os

import pytest

from mythjobs.cli.options import decode_argument
from mythjobs.cli.terminal import (
    display_width,
    escape_controls,
    sanitize,
    sanitize_output,
)

TITLE = "$(touch /tmp/pwned); `id` \"' -rf `\n😀 ä"


def test_a_value_is_the_bytes_that_were_typed() -> None:
    assert decode_argument(os.fsdecode(TITLE.encode())) == TITLE


@pytest.mark.parametrize("data", [b"\xff", b"caf\xe9", b"\xed\xa0\x80"])
def test_bytes_that_are_not_utf8_are_refused_with_their_place(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"is not valid UTF-8 \(byte \d is 0x"):
        decode_argument(os.fsdecode(data))


def test_a_title_cannot_move_the_cursor_or_turn_the_line() -> None:
    assert sanitize("a\x1b[2Jb\x9b31mc\u202ed\x7f") == "a[2Jb31mcd"
    assert sanitize("two\r\nlines\tand more") == "two lines and more"


def test_output_on_a_terminal_keeps_lines_tabs_and_redrawn_progress() -> None:
    assert sanitize_output("1\t%\r2 %\n\x1b]0;pwned\x07ok\n") == "1\t%\r2 %\n]0;pwnedok\n"


def test_json_on_a_terminal_says_controls_as_escapes() -> None:
    assert escape_controls('{\n "a": "\x9b\u202e"}') == '{\n "a": "\\u009b\\u202e"}'


@pytest.mark.parametrize(
    "text, columns", [("abc", 3), ("ä", 1), ("a\u0308", 1), ("😀", 2), ("日本", 4)]
)
def test_wide_characters_take_two_columns(text: str, columns: int) -> None:
    assert display_width(text) == columns
