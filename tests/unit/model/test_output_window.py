"""Kept head and tail of an output stream, compared with a list of its offsets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mythjobs.model.output_window import OutputWindow


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
