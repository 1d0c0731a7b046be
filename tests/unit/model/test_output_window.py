"""Kept head and tail of an output stream, compared with a list of its offsets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.model.output_window import LastLines, OutputWindow


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(0, 70))
def test_an_offset_is_placed_in_the_kept_bytes(
    head: int, dropped: int, tail: int, offset: int
) -> None:
    written = head + dropped + tail
    window = OutputWindow(written, head, tail)
    kept = [*range(head), *range(head + dropped, written)]
    assert window.dropped == dropped
    # The first kept byte at or after the offset; without one, the end of the stream.
    following = next((each for each in kept if each >= offset), written)
    index = kept.index(following) if following < written else len(kept)
    assert window.place(offset) == (index, following)


@pytest.mark.parametrize(
    "text, count, last",
    [
        (b"a\nbb\nc\n", 0, b""),
        (b"a\nbb\nc\n", 1, b"c\n"),
        (b"a\nbb\nc\n", 2, b"bb\nc\n"),
        (b"a\nbb\nc\n", 4, b"a\nbb\nc\n"),
        (b"a\nbb\nc", 1, b"c"),
        (b"a\n\n\n", 2, b"\n\n"),
        (b"", 3, b""),
        (b"no break", 1, b"no break"),
    ],
)
def test_the_last_lines_are_found_in_pieces_of_any_size(
    text: bytes, count: int, last: bytes
) -> None:
    for size in (1, 2, 100):
        lines = LastLines(count, 100)
        for at in range(0, len(text), size):
            lines.add(text[at : at + size])
        assert lines.get() == last


def test_the_last_lines_are_bounded() -> None:
    lines = LastLines(3, 4)
    for _ in range(10):
        lines.add(b"0123456789\n")
    assert lines.get() == b"789\n"
