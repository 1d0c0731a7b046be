"""Progress in a program's output."""

from __future__ import annotations

import pytest

from mythjobs.model.progress import ProgressReader

FFMPEG = b"""\
  Duration: 01:00:00.50, start: 0.0
  Duration: 00:00:10.00, start: 0.0
frame=1 time=00:15:00.12 bitrate=1\r"""


def percent_after(progress: str, *chunks: bytes) -> float | None:
    reader = ProgressReader(progress)
    for chunk in chunks:
        reader.feed(chunk)
    return reader.percent


@pytest.mark.parametrize(
    "progress, output, percent",
    [
        ("percent", b"37%\n", 37.0),
        ("percent", b"12.34 %\r", 12.3),
        ("percent", b"10% of 20%\n", 20.0),
        ("percent", b"200%\n", None),
        ("percent", b"37%", 37.0),
        ("percent", b"37\n%\n", None),
        ("comskip", b"12:34 - 1234 frames in 5.6 sec(220.36 fps), 37%\n", 37.0),
        ("ffmpeg", FFMPEG, 25.0),
        ("ffmpeg", b"time=00:15:00.12\n", None),
        ("ffmpeg", b"Duration: 00:00:00.00\ntime=00:15:00.12\n", None),
        ("ffmpeg", b"Duration: 00:00:10\ntime=00:00:11.00\n", 100.0),
        ("ffmpeg", b"Duration: 10:00:00.00\n50%\n", None),
        (r"regex:step (\d+)", b"step 7\n9%\n", 7.0),
        (r"regex:(-?\w+)", b"-5\n", 0.0),
        (r"regex:(x)?(\d)", b"7\n", None),
        (r"regex:(\w+)", b"8 x 9 nan inf\n", 9.0),
        ("regex:(", b"7%\n", None),
    ],
)
def test_the_last_progress_counts(progress: str, output: bytes, percent: float | None) -> None:
    assert percent_after(progress, output) == percent
    # A line may arrive in any pieces.
    assert percent_after(progress, *(output[i : i + 1] for i in range(len(output)))) == percent


def test_only_the_last_4096_bytes_of_a_line_are_searched() -> None:
    # Some programs print a whole run in one line, like 10%...20%...
    fill = b"." * 4094
    assert percent_after("percent", b"5%" + fill + b"\n") == 5.0
    assert percent_after("percent", b"5% " + fill + b"\n") is None
    assert percent_after("percent", b"x" * 10_000, b" 5%\n") == 5.0
