"""Jobs at low priority, beyond their nice value."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from mythjobs.agent import background_jobs
from mythjobs.agent.background_jobs import BackgroundJobs

FIRST, SECOND = (1, 1), (2, 1)


@pytest.fixture
def pid() -> Iterator[int]:
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE, start_new_session=True) as child:
        yield child.pid
        child.communicate()


def test_a_job_gives_way_to_the_programs_of_other_sessions(pid: int) -> None:
    jobs = BackgroundJobs()
    jobs.add(FIRST)
    jobs.on_started(FIRST, pid)
    assert os.sched_getscheduler(pid) == os.SCHED_BATCH
    group = Path(f"/proc/{pid}/autogroup")
    if not group.exists() or not group.read_text():
        pytest.skip("this kernel has no group for each session")
    assert group.read_text().endswith("nice 19\n")


def test_a_job_with_a_priority_of_its_own_keeps_it(pid: int) -> None:
    BackgroundJobs().on_started(FIRST, pid)
    assert os.sched_getscheduler(pid) == os.SCHED_OTHER


def test_what_the_kernel_delays_is_tried_again(pid: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lowered: list[int] = []
    is_open = False

    def lower(each: int) -> None:
        if not is_open:
            raise BlockingIOError
        lowered.append(each)

    monkeypatch.setattr(background_jobs, "lower_session", lower)
    jobs = BackgroundJobs()
    for key in (FIRST, SECOND):
        jobs.add(key)
        jobs.on_started(key, pid)
    assert lowered == []
    jobs.on_ended(SECOND)
    is_open = True
    jobs.retry()
    jobs.retry()
    assert lowered == [pid]
