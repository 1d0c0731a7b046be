"""Progress presets, on output that the real programs wrote (files in `recordings`).

Recorded on Debian 12: ffmpeg 5.1.9, HandBrakeCLI 1.6.1 (one encode, and one with two passes),
comskip 0.82, rsync with `--info=progress2` and with `--progress` (each file), tqdm 4.70. Parts
without progress were cut out.
"""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mythjobs.model.progress import PRESETS, ProgressReader
from mythjobs.model.progress_formats import FORMATS, Reading, parse_number, parse_time_s
from tests.support.cpu_time import cpu_limit

TWO_INPUTS = b"""Input #0, matroska,webm, from 'a.mkv':
  Duration: 00:00:04.00, start: 0.000000, bitrate: 64 kb/s
Input #1, mp3, from 'b.mp3':
  Duration: 00:00:20.00, start: 0.025057, bitrate: 64 kb/s
Output #0, matroska, to 'c.mkv':
"""
ONE_INPUT = b"Input #0, mp3, from 'c.mp3':\n  Duration: 00:00:10.00, bitrate: 64 kb/s\n"
RECORDINGS = Path(__file__).with_name("recordings")


def read_all(progress: str, output: bytes, size: int = 0) -> list[float]:
    """Return each percentage that differs from the one before, with output in pieces of `size`."""
    reader, found = ProgressReader(progress), list[float]()
    size = size or max(len(output), 1)
    for at in range(0, len(output), size):
        reader.feed(output[at : at + size])
        if reader.percent is not None and found[-1:] != [reader.percent]:
            found.append(reader.percent)
    return found


def read_last(progress: str, *output: bytes) -> Reading:
    reader = ProgressReader(progress)
    for each in output:
        reader.feed(each)
    return reader.reading


@pytest.mark.parametrize(
    "recording, preset, first, last, least",
    [
        ("ffmpeg", "ffmpeg", 0.0, 100.0, 50),
        ("handbrake", "handbrake", 0.8, 100.0, 60),
        ("handbrake-2-passes", "handbrake", 4.4, 100.0, 15),
        ("comskip", "comskip", 15.0, 94.0, 7),
        ("rsync", "rsync", 0.0, 100.0, 20),
        ("rsync-each-file", "rsync", 6.0, 100.0, 30),
        ("tqdm", "tqdm", 0.0, 100.0, 60),
        ("tqdm-nested", "tqdm", 0.0, 100.0, 4),
    ],
)
def test_progress_of_a_real_run_rises_from_start_to_end(
    recording: str, preset: str, first: float, last: float, least: int
) -> None:
    output = (RECORDINGS / f"{recording}.txt").read_bytes()
    found = read_all(preset, output, 1)
    assert found == sorted(found)
    assert len(found) >= least
    assert (found[0], found[-1]) == (first, last)
    # However the output is cut, no other values appear.
    for size in (7, 100, 4096):
        assert set(read_all(preset, output, size)) <= set(found)
        assert read_all(preset, output, size)[-1] == last


def test_tasks_of_handbrake_are_parts_of_the_progress() -> None:
    output = (RECORDINGS / "handbrake-2-passes.txt").read_bytes()
    first, _, second = output.partition(b"task 2 of 2")
    assert read_last("handbrake", first) == Reading(49.1, "task 1 of 2")
    assert read_last("handbrake", output) == Reading(100.0, "task 2 of 2")
    assert second


@pytest.mark.parametrize(
    "preset, output, percent",
    [
        # Formats as in MythTV's source: log lines, and what its programs show on a terminal.
        ("mythtranscode", b"... mythtranscode: 12% Completed @ 37.5 fps.\n", 12.0),
        ("mythtranscode", b"... 12.3% complete\n", 12.3),
        ("mythtranscode", b"cpu 99%\n", None),
        ("mythcommflag", b"... 10%% Completed @ 97.5 fps.\n", 10.0),
        ("mythcommflag", b"... 74% Completed @ 37.0 fps.\n", 74.0),
        ("mythcommflag", b"\r 12%/ 37.00fps          \r", 12.0),
        ("mythcommflag", b"\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08\x08  7%/ 97fps", 7.0),
        ("mythcommflag", b"\r  1234/ 37.00fps          \r", None),
        # A locale with decimal comma.
        ("handbrake", b"\rEncoding: task 1 of 1, 42,50 %", 42.5),
        ("handbrake", b"Scanning title 1 of 1, preview 5, 50.00 %\r", None),
        ("handbrake", b"Encoding: task 1 of 0, 5.00 %\n", None),
        ("ffmpeg", b"Duration: N/A, start: 0.0\ntime=00:00:01.00\n", None),
        ("ffmpeg", b"Duration: 00:00:10.00,\ntime=N/A speed=\r", None),
        ("ffmpeg", b"Duration: 00:00:10.00,\ntime=-00:00:01.00 \r", None),
        ("ffmpeg", b"Duration: 00:00:10.00,\nout_time=00:00:04.500000\nprogress=continue\n", 45.0),
        # A picture or a short clip, then the sound.
        ("ffmpeg", TWO_INPUTS + b"time=00:00:05.00 \r", 25.0),
        # A script that calls ffmpeg again, for a shorter file.
        (
            "ffmpeg",
            TWO_INPUTS + b"time=00:00:20.00 \r\n" + ONE_INPUT + b"time=00:00:05.00 \r",
            50.0,
        ),
        ("ffmpeg", TWO_INPUTS + b"\n[info] " + ONE_INPUT + b"time=00:00:05.00 \r", 50.0),
        ("rsync", b"      1.023.456  42%    7.82MB/s    0:00:25  \r", 42.0),
        ("rsync", b"      210.92M  42%    7.82MB/s    0:00:25  \r", 42.0),
        # All bytes are sent, but rsync has still to look at files.
        ("rsync", b"  9 100% 7.8kB/s 0:00:01 (xfr#1, to-chk=25/100)\r", 75.0),
        ("rsync", b"  9  42% 7.8kB/s 0:00:01 (xfr#1, ir-chk=25/100)\r", 42.0),
        # rsync before 3.1 (2013), and openrsync, which macOS has.
        ("rsync", b"  9 100% 7.80KB/s 00:00:01 (xfer#1, to-check=25/100)\r", 75.0),
        ("tqdm", b"120it [00:02, 49it/s]\r", None),
        ("tqdm", b"x: 42.7%|####2     | 42.7/100 [00:02<00:03]\r", 42.7),
        ("tqdm", b"1042%|x|\r", None),
        ("percent", b"caf\xc3\xa9 42,5\xc2\xa0% fait\n", 42.5),
        ("percent", b"42\xe2\x80\xaf%\n", 42.0),
        ("percent", b"a,7%\n", 7.0),
        ("percent", b"\x1b[1m\x1b[32m 42\x1b[0m%\x1b[K", 42.0),
        ("percent", b"\x1b]0;99%\x07\x1b[2K\x1b[1G  7% done", 7.0),
        ("percent", b"cpu 350%\n", None),
        ("percent", b"1234%\n", None),
        ("percent", b"0.5 0.6 0.7\n", None),
    ],
)
def test_formats_of_presets(preset: str, output: bytes, percent: float | None) -> None:
    assert read_last(preset, output).percent == percent
    assert read_last(preset, *(output[i : i + 1] for i in range(len(output)))).percent == percent


def test_sizes_with_units_do_not_look_like_the_next_file() -> None:
    lines = [b"  999.99K  1% 1.0MB/s 0:00:09\r", b"  1.02M  2% 1.0MB/s 0:00:09\r"]
    assert read_last("rsync", *lines).percent == 2.0


@pytest.mark.parametrize(
    "regex, output, reading",
    [
        (r"(?P<done>\d+) of (?P<total>\d+)", b"30 of 120\n", Reading(25.0)),
        (r"(?P<done>[\d,]+)/(?P<total>[\d,]+)", b"1,500/2,000,000 \n", Reading(0.1)),
        (r"(?P<done>\d+)/(?P<total>\d+)", b"3/0\n", Reading()),
        (r"(\d+)% eta (?P<eta>\S+)", b"5% eta 01:30 \n", Reading(5.0, None, 90.0)),
        (r"(\d+)%(?: eta (?P<eta>\S+))?", b"5% eta ? 6%\n", Reading(6.0)),
        (r"(?P<comment>pass \d+):", b"pass 2: 7%\n", Reading(None, "pass 2")),
        (r"(?P<comment>\w+) (?P<percent>\d+)%", b"mux 7%\n", Reading(7.0, "mux")),
        (r"(?P<comment>\w+) (\d+)%", b"mux 7%\n", Reading(7.0, "mux")),
        (r"progress (\d+)", b"progress 12", Reading()),  # the number may go on
        (r"progress (\d+)", b"progress 12\n", Reading(12.0)),
        (r"(\d+) done", b"7 done", Reading(7.0)),
    ],
)
def test_regular_expression_of_an_author(regex: str, output: bytes, reading: Reading) -> None:
    assert read_last(f"regex:{regex}", output) == reading


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("310", 310.0),
        ("1.5", 1.5),
        ("05:10", 310.0),
        ("1:05:10", 3910.0),
        ("00h05m10s", 310.0),
        ("5m10s", 310.0),
        ("1h", 3600.0),
        ("", None),
        ("soon", None),
        ("1:2:3:4", None),
        (":", None),
    ],
)
def test_time_left(text: str, seconds: float | None) -> None:
    assert parse_time_s(text) == seconds


@pytest.mark.parametrize(
    "text, number",
    [("42.5", 42.5), ("42,5", 42.5), ("1,234", 1234.0), ("nan", None), ("1e999", None), ("", None)],
)
def test_numbers(text: str, number: float | None) -> None:
    assert parse_number(text) == number


@pytest.mark.parametrize("preset", FORMATS)
@given(output=st.lists(st.binary(max_size=50) | st.sampled_from([b"%", b"1", b"time=", b"\x1b["])))
def test_no_output_is_an_error(preset: str, output: list[bytes]) -> None:
    percent = read_last(preset, *output).percent
    assert percent is None or 0 <= percent <= 100


@pytest.mark.parametrize("preset", FORMATS)
@pytest.mark.parametrize("part", [b"1", b"9,", b" ", b"\x1b[", b"\x08", b"time=9:", b"%"])
def test_a_long_line_takes_linear_time(preset: str, part: bytes) -> None:
    # Quadratic searches took some seconds and blocked the agent.
    output = part * (2**18 // len(part))
    with cpu_limit(1.0):
        read_last(preset, *(output[at : at + 16384] for at in range(0, len(output), 16384)))


@pytest.mark.parametrize(
    "preset, output",
    [
        ("ffmpeg", b"Duration: %s:00:10\ntime=00:00:05.00\n"),
        ("ffmpeg", b"Duration: 00:00:10\ntime=%s:00:05.00\n"),
        ("handbrake", b"Encoding: task %s of 2, 1.00 %%\n"),
        ("rsync", b" 9 100%% 1kB/s 0:00:01 (xfr#1, to-chk=%s/1)\n"),
        ("rsync", b" %sM 42%% 1kB/s 0:00:01\n"),
        ("percent", b"%s%%\n"),
        (r"regex:(\d+)", b"%s\n"),
        (r"regex:(?P<eta>[\d:]+)", b"%s:00:00\n"),
        (r"regex:(?P<done>\d+)/(?P<total>[\d.]+)", b"%s/0.001\n"),
    ],
)
def test_a_huge_number_is_no_error(preset: str, output: bytes) -> None:
    for digits in (b"9" * 300, b"9" * 3000):
        reading = read_last(preset, output % digits)
        assert reading.percent is None or 0 <= reading.percent <= 100
        assert reading.eta_s is None or math.isfinite(reading.eta_s)


def test_a_preset_of_a_later_version_is_read_as_percentages() -> None:
    assert read_last("unheard-of", b"7%\n") == Reading(7.0)
    assert "status" in PRESETS
