"""Time spans, as `systemd-analyze timespan` of systemd 252 reads them."""

import math

import pytest

from mythjobs.takeover.systemd.time_span import parse_time_span


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("90", 90), (" 5h 30min ", 19_800), ("5s500ms", 5.5), (".22s", 0.22), ("1.5y", 47_336_400),
        ("2 3", 5), ("+3s", 3), ("3 +4s", 7), ("23µs", 0.000_023), ("1 M 1m", 2_629_860),
        ("1y2w3d", 33_026_400), ("0", 0), (" infinity ", math.inf),
    ],
)  # fmt: skip
def test_a_time_span_is_a_sum(text: str, seconds: float) -> None:
    assert parse_time_span(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", ".", "s", "-5s", "3.", "3.s", "5. s", "1.2.3", ".5.5s", "0..8", "2.43.54h", "5 Min",
     "5H", "1e3", "1 s s", "infinity 5s", "1ns", "+", "１s", "5 sec."],
)  # fmt: skip
def test_what_systemd_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time_span(text)
