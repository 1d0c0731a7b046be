"""The load that an agent without a scaler reports, with real processes and this machine's disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.agent.load_meter import LoadMeter
from mythjobs.clock import Now, machine_now

# Starts a child that uses CPU time and writes, waits for it as a reaper does, and tells the end.
_PARENT = """
import subprocess, sys
subprocess.run([sys.executable, "-c", '''
import os, sys, time
while time.process_time() < 0.3:
    pass
with open(sys.argv[1], "wb") as file:
    file.write(os.urandom(4 << 20))
    os.fsync(file.fileno())
''', sys.argv[1]])
print(flush=True)
sys.stdin.read()
"""


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[LoadMeter]:
    found = LoadMeter(tmp_path)
    yield found
    found.close()


def later(seconds: float) -> Now:
    now = machine_now()
    return now._replace(steady_ms=now.steady_ms + round(1000 * seconds))


def test_nothing_is_known_after_one_reading(meter: LoadMeter) -> None:
    meter.measure([], later(0))
    assert meter.load is None
    # Too soon after the first to say anything.
    meter.measure([], later(0.1))
    assert meter.load is None


@pytest.mark.slow
def test_what_ended_descendants_of_a_reaper_used_is_the_jobs_use(
    meter: LoadMeter, tmp_path: Path
) -> None:
    first = later(0)
    meter.measure([], first)
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT, tmp_path / "data"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        parent.stdout.readline()
        # Later than it is, so that the period is long enough however fast the child was.
        last = later(1)
        meter.measure([parent.pid], last)
        parent.communicate()
    load = meter.load
    assert load is not None
    assert load.cores == len(os.sched_getaffinity(0))
    assert 0 < load.available_bytes < load.memory_bytes
    assert load.own_cpu * (last.steady_ms - first.steady_ms) / 1000 > 0.25
    assert load.own_cpu <= load.cpu
    assert 0 <= load.foreign_cpu <= load.cpu
    for disk in load.disks.values():
        assert 0 <= disk.foreign <= disk.busy <= 1
