"""The load that an agent without a scaler reports, with real processes and this machine's disk."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.agent.load_meter import LoadMeter, read_cpu_ticks, sum_nice_ticks
from mythjobs.agent.scaling.processor import compute_foreign
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


def test_programs_of_low_priority_are_no_foreign_load_beside_jobs_of_normal_priority() -> None:
    # One core each: a job at normal priority and a build at nice 19. The build counted as foreign
    # load, as the low priority was taken for that of the job.
    assert compute_foreign(2.0, 1.0, 1.0, 0.0) == 0.0
    assert compute_foreign(2.0, 1.0, 1.0, 1.0) == 1.0
    assert compute_foreign(2.0, 1.0, 0.0, 0.0) == 1.0


def test_the_time_of_processes_at_low_priority_is_that_since_the_last_sample() -> None:
    # The pid 3 was given again; 4 is new; 2 has ended.
    before = {(1, 10): 100, (2, 10): 50, (3, 10): 70}
    assert sum_nice_ticks(before, {(1, 10): 130, (3, 99): 5, (4, 99): 7}) == 30 + 5 + 7


@pytest.mark.slow
@pytest.mark.parametrize("nice, is_low", [(0, False), (10, True)])
def test_the_time_of_a_process_at_low_priority_is_told_apart(nice: int, is_low: bool) -> None:
    burn = f"""
import os, sys, time
os.nice({nice})
while time.process_time() < 0.3:
    sum(range(10_000))
print(flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", burn], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as job:
        assert job.stdout is not None
        job.stdout.readline()
        ticks, nice_ticks = read_cpu_ticks([job.pid])
        job.communicate()
    second = os.sysconf("SC_CLK_TCK")
    assert ticks >= 0.25 * second
    assert [pid for pid, _ in nice_ticks] == ([job.pid] if is_low else [])
    assert all(0.1 * second <= each <= ticks for each in nice_ticks.values())
