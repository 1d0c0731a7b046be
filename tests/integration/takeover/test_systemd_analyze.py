"""Calendar events are read as systemd reads them."""

import re
import shutil
import subprocess
from datetime import datetime
from itertools import islice
from typing import Final

import pytest
from cronsim import CronSim

from mythjobs.takeover.systemd.calendar_cron import translate_event
from mythjobs.takeover.systemd.calendar_event import parse_calendar_event

_EVENTS: Final = (
    "minutely", "hourly", "daily", "weekly", "monthly", "quarterly", "semiannually", "yearly",
    "Mon..Fri *-*-* 02:00", "Sat,Sun 03:10", "Wed, 17:48", "monday 4:5", "*-*-* 6,18:00",
    "*-*-* 07..23:30", "*:0/15", "*:2/3", "*-*-1,15 04:00", "*-1/2-3 00/6:30", "*-*~01 23:00",
    "Mon *-*-1..7 05:00", "Sun *-*-8..14", "Tue,Thu *-*-29..31 1:00", "Fri *-*~7/1 18:00", "10-15",
    "*-02-29", "*-6..8-1/10 8..20/4:10..50/20", "Mon-Wed,Sat 22:00",
)  # fmt: skip
_INSTANT: Final = re.compile(r"(?:Next elapse|Iter\. #\d+): \w{3} (\S+ \S+) UTC")
_COUNT: Final = 12


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")
def test_events_elapse_as_systemd_says() -> None:
    done = subprocess.run(
        ["systemd-analyze", "calendar", "--base-time=2026-01-01 00:00:00", f"--iterations={_COUNT}",
         *_EVENTS],
        capture_output=True, text=True, check=True, env={"TZ": "UTC", "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    sections = done.stdout.strip().split("\n\n")
    assert len(sections) == len(_EVENTS)
    for event, section in zip(_EVENTS, sections, strict=True):
        expected = _INSTANT.findall(section)
        assert len(expected) == _COUNT, section
        expression = translate_event(parse_calendar_event(event), 2026).expression
        start = datetime(2026, 1, 1)  # noqa: DTZ001 (local time)
        assert [str(each) for each in islice(CronSim(expression, start), _COUNT)] == expected, event
