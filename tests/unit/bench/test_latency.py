"""Bars of the benchmarks of latency and of the start of the command line."""

import pytest

import latency
import startup


@pytest.mark.parametrize("ratio, is_met", [(2.0, True), (2.01, False)])
def test_a_start_may_take_twice_as_long_as_in_c(ratio: float, is_met: bool) -> None:
    _, [p50, *_] = latency.rows(
        {
            "p50_ms": 2 * ratio,
            "p99_ms": 9.0,
            "bar_ms": 4.0,
            "raw_c_p50_ms": 2.0,
            "ratio": ratio,
            "fsync_p50_ms": 0.4,
            "fsync_in_a_row_p50_ms": 0.2,
        }
    )
    assert p50.is_met is is_met
    assert p50.baseline == "C 2.00 ms"


@pytest.mark.parametrize("ratio, is_met", [(4.0, True), (4.1, False)])
def test_status_may_take_four_times_as_long_as_an_empty_program(ratio: float, is_met: bool) -> None:
    figures = {"status_ms": 10 * ratio, "python_ms": 10.0, "ratio": ratio, "bar": startup.BAR}
    _, [line] = startup.rows({**figures, "fsync_p50_ms": 1.0})  # type: ignore[typeddict-item]
    assert line.is_met is is_met
