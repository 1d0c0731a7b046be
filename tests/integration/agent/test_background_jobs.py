"""Jobs at low priority, beyond their nice value."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mythjobs.agent import background_jobs
from mythjobs.agent.background_jobs import BackgroundJobs
from mythjobs.process import procfs

FIRST, SECOND = (1, 1), (2, 1)


@pytest.fixture
def pid() -> Iterator[int]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as child:
        yield child.pid
        child.communicate()


def test_a_job_gives_way_to_the_programs_of_other_sessions(pid: int) -> None:
    jobs = BackgroundJobs()
    jobs.add(FIRST, 7)
    jobs.on_started(FIRST, pid)
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    group = Path(f"/proc/{pid}/autogroup")
    if not group.exists() or not group.read_text():
        pytest.skip("this kernel has no group for each session")
    assert group.read_text().endswith("nice 7\n")


@pytest.mark.slow
def test_a_program_of_another_session_gets_the_core_that_a_job_uses() -> None:
    core = min(os.sched_getaffinity(0))
    with burning(core) as job, burning(core) as other:
        os.setpriority(os.PRIO_PROCESS, job, 19)
        jobs = BackgroundJobs()
        jobs.add(FIRST, 19)
        jobs.on_started(FIRST, job)
        before = read_cpu_s(job), read_cpu_s(other)
        deadline_s = time.monotonic() + 60
        while read_cpu_s(other) - before[1] < 0.5:
            assert time.monotonic() < deadline_s
            select.select([], [], [], 0.02)
        # Without the group's nice value it would be as much as the other program got.
        assert read_cpu_s(job) - before[0] < 0.2


@contextmanager
def burning(core: int) -> Iterator[int]:
    """Run a program that uses one core all the time, in a session of its own."""
    with subprocess.Popen([sys.executable, "-c", "while True: pass"], start_new_session=True) as it:
        os.sched_setaffinity(it.pid, {core})
        try:
            yield it.pid
        finally:
            it.kill()


def read_cpu_s(pid: int) -> float:
    fields = procfs.read_stat_fields(pid)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_job_with_a_priority_of_its_own_keeps_it(pid: int) -> None:
    BackgroundJobs().on_started(FIRST, pid)
    assert os.sched_getscheduler(pid) == os.SCHED_OTHER


def test_what_the_kernel_delays_is_tried_again(pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[int] = []
    is_open = False

    def lower(each: int, _: int) -> None:
        if not is_open:
            raise BlockingIOError
        lowered.append(each)

    monkeypatch.setattr(background_jobs, "lower_session", lower)
    jobs = BackgroundJobs()
    for key in (FIRST, SECOND):
        jobs.add(key, 19)
        jobs.on_started(key, pid)
    assert lowered == []
    jobs.on_ended(SECOND)
    is_open = True
    jobs.retry()
    jobs.retry()
    assert lowered == [pid]
