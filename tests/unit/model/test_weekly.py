"""Parsing of weekly ranges, and errors for invalid ones."""

from __future__ import annotations

import pytest

from mythjobs.model.weekly import CLOSED, FULL, Range, parse_range

DAILY = frozenset(range(7))


@pytest.mark.parametrize(
    "text,expected",
    [
        ("22:00-06:00", Range(DAILY, 22 * 60, 8 * 60, FULL)),
        ("daily 9:30 - 17:00", Range(DAILY, 570, 450, FULL)),
        ("mon-fri 22:00-06:00", Range(frozenset(range(5)), 1320, 480, FULL)),
        ("sat,sun 00:00-24:00 at most 1", Range(frozenset({5, 6}), 0, 1440, 1)),
        ("Fri-Mon 22:00-24:00 full", Range(frozenset({4, 5, 6, 0}), 1320, 120, FULL)),
        ("00:00-23:59 at most 10000", Range(DAILY, 0, 1439, 10_000)),
        ("wed-wed 23:59-00:00", Range(frozenset({2}), 1439, 1, FULL)),
        ("mon-tue, thu 08:00-18:00 off", Range(frozenset({0, 1, 3}), 480, 600, CLOSED)),
    ],
)
def test_a_range_is_parsed(text: str, expected: Range) -> None:
    assert parse_range(text) == expected


SYNTAX = 'write it like "02:00-05:00" or "mon-fri 22:00-06:00"'
DAYS = "write mon, tue, wed, thu, fri, sat, sun, ranges like mon-fri, or none for every day"
LEVELS = 'write "at most 2", "off", or nothing for full'


@pytest.mark.parametrize(
    "text, error",
    [
        (
            "22:00-22:00",
            '"22:00-22:00" starts and ends at 22:00, which could mean never or always; write '
            '"00:00-24:00" for the whole day, or remove the range for never',
        ),
        ("22-6", f'"22-6" is not a range of hours; {SYNTAX}'),
        ("٢٢:00-06:00", f'"٢٢:00-06:00" is not a range of hours; {SYNTAX}'),
        ("", f'"" is not a range of hours; {SYNTAX}'),
        ("22:00-06:00-", f'"22:00-06:00-" is not a range of hours; {SYNTAX}'),
        ("monday 22:00-06:00", f'"monday" in "monday 22:00-06:00" is not a day; {DAYS}'),
        ("mon, x 22:00-06:00", f'"x" in "mon, x 22:00-06:00" is not a day; {DAYS}'),
        ("mon--fri 22:00-06:00", f'"mon--fri" in "mon--fri 22:00-06:00" is not a day; {DAYS}'),
        (
            "25:00-06:00",
            '"25:00" in "25:00-06:00" is not a time of day; write 00:00 to 24:00',
        ),
        (
            "22:00-06:60",
            '"06:60" in "22:00-06:60" is not a time of day; write 00:00 to 24:00',
        ),
        (
            "22:00-24:01",
            '"24:01" in "22:00-24:01" is not a time of day; write 00:00 to 24:00',
        ),
        ("24:00-06:00", '"24:00-06:00" begins at 24:00; write 00:00 of the next day'),
        (
            "22:00-06:00 at most 0",
            f'"at most 0" in "22:00-06:00 at most 0" is not a level; {LEVELS}',
        ),
        (
            "22:00-06:00 at most 10001",
            f'"at most 10001" in "22:00-06:00 at most 10001" is not a level; {LEVELS}',
        ),
        (
            "22:00-06:00 sometimes",
            f'"sometimes" in "22:00-06:00 sometimes" is not a level; {LEVELS}',
        ),
    ],
)
def test_an_invalid_range_is_rejected_with_part_and_remedy(text: str, error: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_range(text)
    assert str(caught.value) == error
