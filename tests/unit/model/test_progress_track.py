"""Time left, estimated from progress over time. Times in seconds."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.model.progress_track import ProgressTrack, estimate_percent


def make_track(reports: Iterable[tuple[float, float]]) -> ProgressTrack:
    """Return the track of an attempt that reported (time, percentage)."""
    track = ProgressTrack()
    for at_s, percent in reports:
        track = track.add_percent(percent, round(1000 * at_s))
    return track


def left_s(track: ProgressTrack, now_s: float, elapsed_s: float | None = None) -> float | None:
    elapsed_ms = None if elapsed_s is None else round(1000 * elapsed_s)
    left_ms = track.estimate_left_ms(elapsed_ms, round(1000 * now_s))
    return None if left_ms is None else left_ms / 1000


def rise(
    to: float, rate: float, begin_s: float = 0.0, step: float = 1.0
) -> list[tuple[float, float]]:
    return [(begin_s + each * step / rate, each * step) for each in range(round(to / step) + 1)]


def test_a_constant_rate_ends_in_time() -> None:
    track = make_track(rise(40, rate=1))
    assert left_s(track, 40) == pytest.approx(60)
    # The time left passes until the next report is due.
    assert left_s(track, 40.5) == pytest.approx(59.5)


def test_time_before_the_first_report_does_not_count() -> None:
    track = make_track(rise(40, rate=1, begin_s=500))
    assert left_s(track, 540, elapsed_s=540) == pytest.approx(60)


def test_of_one_report_the_start_is_the_other() -> None:
    track = make_track([(1000, 25)])
    assert left_s(track, 1000, elapsed_s=20) == pytest.approx(60)
    assert left_s(track, 1000) is None


def test_the_second_half_of_the_run_counts_more() -> None:
    # The rate halves in the middle: the whole run had 1 % in 1.5 s, its second half 1 % in 2 s.
    track = make_track([*rise(20, rate=1), *((20 + 2 * each, 20 + each) for each in range(1, 21))])
    assert left_s(track, 60) == pytest.approx(60 * (1.5 + 2) / 2, rel=0.05)


def test_the_time_left_grows_while_no_progress_is_made() -> None:
    track = make_track(rise(50, rate=1))
    lefts = [left_s(track, now_s) for now_s in (50, 51, 60, 100, 1000)]
    assert lefts[:2] == [pytest.approx(50), pytest.approx(49)]
    later = lefts[1:]
    assert None not in later
    assert later == sorted(later, key=lambda each: each or 0.0)
    assert lefts[-1] is not None
    assert 900 < lefts[-1] < 2000


@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_nothing_is_known_at_the_start_and_at_the_end(percent: float) -> None:
    assert left_s(make_track([(10, percent)]), 20, elapsed_s=20) is None
    assert left_s(ProgressTrack(), 20, elapsed_s=20) is None


def test_a_large_fall_begins_a_new_phase() -> None:
    track = make_track([*rise(90, rate=1), *rise(20, rate=0.5, begin_s=100)])
    assert left_s(track, 140) == pytest.approx(160)
    # rsync falls by a few points when it finds more files.
    track = make_track([*rise(50, rate=1), (51, 47), (54, 50)])
    assert left_s(track, 54) == pytest.approx(54, rel=0.1)


def test_frozen_time_does_not_count() -> None:
    track = make_track(rise(40, rate=1)).with_frozen(True, 40_000)
    assert track.with_frozen(True, 50_000) == track
    assert left_s(track, 999) == pytest.approx(60)
    assert track.compute_run_ms(999_000, 999_000) == 40_000
    track = track.with_frozen(False, 1_040_000)
    assert track.with_frozen(False, 1_050_000) == track
    for each in range(1, 11):
        track = track.add_percent(40.0 + each, 1_040_000 + 1000 * each)
    assert left_s(track, 1050) == pytest.approx(50)
    assert track.compute_run_ms(1_050_000, 1_050_000) == 50_000


def test_a_repeated_percentage_is_no_progress() -> None:
    track = make_track(rise(50, rate=1))
    assert track.add_percent(50.0, 90_000) == track


def test_the_size_of_a_track_is_bounded_and_it_covers_the_whole_run() -> None:
    track = make_track(rise(90, rate=1, step=0.1))
    assert len(track.samples) <= 32
    assert track.samples[0].at_ms == 0
    assert left_s(track, 90) == pytest.approx(10)


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(0, 1000))), st.integers(0, 10**9))
def test_no_sequence_of_reports_is_an_error(reports: list[tuple[int, int]], later: int) -> None:
    track, now_ms = ProgressTrack(), 0
    for wait_ms, tenths in reports:
        now_ms += wait_ms
        track = track.add_percent(tenths / 10, now_ms)
    left_ms = track.estimate_left_ms(now_ms + later, now_ms + later)
    assert left_ms is None or left_ms >= 0


@pytest.mark.parametrize(
    "run_ms, usual_ms, percent",
    [(0, 60_000, 0.0), (30_000, 60_000, 50.0), (90_000, 60_000, 99.0), (1, 0, 99.0)],
)
def test_percentage_by_the_usual_run_time(run_ms: int, usual_ms: float, percent: float) -> None:
    assert estimate_percent(run_ms, usual_ms) == percent
