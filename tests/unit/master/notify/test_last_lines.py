"""Last lines of output, for messages."""

from __future__ import annotations

import pytest

from mythjobs.master.notify.last_lines import choose_lines


@pytest.mark.parametrize(
    "output, lines",
    [
        (b"", ""),
        (b"one\ntwo\n", "one\ntwo"),
        (b"1\n2\n\n3\n4\n5\n6\n", "2\n3\n4\n5\n6"),
        (b"10 %\r20 %\r\n\x1b[31mred\xff\n", "10 %\n20 %\n [31mred\ufffd"),
        (b"x" * 1000, "x" * 300),
    ],
)
def test_the_last_lines_of_output_are_text(output: bytes, lines: str) -> None:
    assert choose_lines(output) == lines
