import pytest

from mythjobs.takeover.switching import compute_wait_s


@pytest.mark.parametrize(
    "second, wait_s",
    [(0, 3), (2.5, 0.5), (3, 0), (30, 0), (54.9, 0), (55, 8), (59.5, 3.5)],
)
def test_changes_wait_until_cron_is_between_two_minutes(second: float, wait_s: float) -> None:
    minute_ms = 1_800_000_000_000
    assert compute_wait_s(minute_ms + round(second * 1000)) == pytest.approx(wait_s)
