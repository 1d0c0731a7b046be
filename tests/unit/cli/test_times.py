import time
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from mythjobs.cli.times import (
    format_short_time,
    format_time,
    format_time_left,
    parse_instant_ms,
)


@pytest.fixture(autouse=True)
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def utc(*parts: int) -> int:
    return round(datetime(*parts, tzinfo=UTC).timestamp() * 1000)  # type: ignore[arg-type,misc]


NOW = utc(2026, 10, 24, 19, 30)  # 21:30 in Berlin, hours before summer time ends there


def test_instants_are_formatted_in_local_time() -> None:
    assert format_time(NOW) == "2026-10-24 21:30:00"
    assert format_short_time(NOW, NOW) == "21:30"
    assert format_short_time(utc(2026, 10, 23, 10, 0), NOW) == "2026-10-23 12:00"
    assert format_time(None) == format_short_time(None, NOW) == ""


@pytest.mark.parametrize(
    "text, at",
    [
        ("+2h", utc(2026, 10, 24, 21, 30)),
        ("22:00", utc(2026, 10, 24, 20, 0)),
        # Tomorrow, when the clocks have gone back.
        ("21:00", utc(2026, 10, 25, 20, 0)),
        ("2026-12-24 18:00", utc(2026, 12, 24, 17, 0)),
        ("2026-12-24T18:00:05+00:00", utc(2026, 12, 24, 18, 0, 5)),
    ],
)
def test_relative_clock_and_full_times_are_parsed(text: str, at: int) -> None:
    assert parse_instant_ms(text, NOW) == at


@pytest.mark.parametrize("text", ["", "soon", "25:00", "+", "+3", "2026-13-01 00:00", "7"])
def test_an_invalid_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write it like"):
        parse_instant_ms(text, NOW)


@pytest.mark.parametrize(
    "left_s, text",
    [
        (-3, "0 s"), (0.2, "1 s"), (9, "9 s"), (99, "99 s"), (100, "2 min"), (310, "5 min"),
        (5990, "100 min"), (6000, "2 h"), (172_000, "48 h"), (172_800, "2 d"),
    ],
)  # fmt: skip
def test_time_left_has_one_unit(left_s: float, text: str) -> None:
    assert format_time_left(round(1000 * left_s), 0) == text
