"""Durations and sizes for users: units change where rounding would show a wrong one."""

from __future__ import annotations

import pytest

from mythjobs.model.units import humanize_duration, humanize_size


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0 ms"),
        (0.9994, "999 ms"),
        (0.9995, "1.0 s"),
        (59.94, "59.9 s"),
        (59.95, "1 min"),
        (61.4, "1 min 1 s"),
        (3599.4, "59 min 59 s"),
        (3599.5, "1 h"),
        (3659, "1 h"),
        (3660, "1 h 1 min"),
        (86_399.5, "1 d"),
        (90_000, "1 d 1 h"),
    ],
)
def test_a_duration_is_rounded_to_at_most_two_units(seconds: float, text: str) -> None:
    assert humanize_duration(seconds) == text


@pytest.mark.parametrize(
    "count, text",
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1024**2 - 52, "1023.9 KiB"),
        (1024**2 - 51, "1.0 MiB"),
        (1024**3 - 1, "1.0 GiB"),
        (1024**4 - 1, "1.0 TiB"),
        (1536 * 1024**4, "1536.0 TiB"),
    ],
)
def test_a_size_is_rounded_in_the_unit_in_which_it_is_below_1024(count: int, text: str) -> None:
    assert humanize_size(count) == text
