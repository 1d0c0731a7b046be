"""Disabling and enabling of lines changes nothing else in a file."""

from hypothesis import given
from hypothesis import strategies as st

from mythjobs.takeover.cron.comments import (
    disable_line,
    enable_line,
    has_markers,
    is_disabled,
    remove_markers,
)
from mythjobs.takeover.entry import Place

# Few different lines, so that equal ones are frequent; also bytes that are not UTF-8.
LINES = st.lists(
    st.sampled_from([b"", b"# a", b"0 4 * * * x", b" 0 4 * * * x", b"0 5 * * * \xe4\t", b"A=b\r"]),
    min_size=1,
    max_size=12,
)
ENTRIES = (b"0 4 * * * x", b"0 5 * * * \xe4\t")


def find_places(lines: list[bytes]) -> list[Place]:
    return [
        Place("file", "f", line.decode("utf-8", "surrogateescape"), lines[:at].count(line))
        for at, line in enumerate(lines)
        if line in ENTRIES
    ]


@given(LINES, st.data())
def test_entries_are_disabled_and_enabled_in_any_order(
    lines: list[bytes], data: st.DataObject
) -> None:
    content = b"\n".join(lines)
    places = find_places(lines)
    changed = content
    for number, place in enumerate(data.draw(st.permutations(places)), start=1):
        assert is_disabled(changed, place) is False
        changed = disable_line(changed, place, f"name-{number}")
        assert is_disabled(changed, place) is True
        assert disable_line(changed, place, "other") == changed
        assert changed.count(b"#mythjobs ") == number
    assert has_markers(changed) == bool(places)
    assert remove_markers(changed) == content
    for place in data.draw(st.permutations(places)):
        changed = enable_line(changed, place)
        assert is_disabled(changed, place) is False
    assert changed == content


def test_a_line_that_is_gone_is_neither_enabled_nor_disabled() -> None:
    assert is_disabled(b"0 4 * * * x\n", Place("file", "f", "0 4 * * * x", 1)) is None
