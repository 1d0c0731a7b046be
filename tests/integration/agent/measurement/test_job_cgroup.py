"""Usage of jobs from their cgroups."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from mythjobs.agent.measurement.disks import DiskMap
from mythjobs.agent.measurement.job_cgroup import JobCgroup, find_mount_point, parse_io_stat
from mythjobs.agent.measurement.job_usage import JobUsageReader
from mythjobs.process import INHERIT, PIPE, MythSystem
from mythjobs.process.cgroup.mounts import CgroupMounts, read_cgroup_mounts

KEY = (1, 1)
# An orphan of this program uses 0.3 s of CPU time, tells so, and stays.
ORPHAN = """
import os, sys, time
os.write(1, b"1")
sys.stdin.readline()
if os.fork() == 0:
    if os.fork() == 0:
        while time.process_time() < 0.3:
            pass
        os.write(1, b"2")
        time.sleep(60)
    os._exit(0)
os.wait()
sys.stdin.readline()
"""


@pytest.mark.slow
def test_the_cpu_time_of_an_orphan_is_counted(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", ORPHAN]
    with MythSystem(argv, stdin=PIPE, stdout=PIPE, stderr=INHERIT, contain=True).start() as job:
        assert job.pid is not None
        lines = iter(job.stdout)
        assert next(lines) == b"1"
        mount_point = find_mount_point(read_cgroup_mounts())
        if JobCgroup.find(mount_point, job.pid) is None:
            pytest.skip("no cgroup can be created here")
        reader = JobUsageReader(DiskMap(), str(tmp_path))
        first = reader.read({KEY: job.pid})[KEY]
        job.stdin.write(b"\n")
        assert next(lines) == b"2"
        then = reader.read({KEY: job.pid})[KEY]
        assert 0.25 <= then.cpu_s - first.cpu_s < 5
        assert then.memory_bytes > first.memory_bytes
        job.terminate(grace_s=0)


def test_this_process_is_in_no_cgroup_of_a_job() -> None:
    assert JobCgroup.find(find_mount_point(read_cgroup_mounts()), os.getpid()) is None
    assert JobCgroup.find(None, os.getpid()) is None
    assert find_mount_point(CgroupMounts(None, {})) is None


def test_the_bytes_of_each_device_are_read_and_written_ones() -> None:
    text = "8:16 rbytes=10 wbytes=20 rios=3 wios=4 dbytes=7 dios=0\n252:0 rbytes=1\n8:32 \n"
    assert parse_io_stat(text) == {
        os.makedev(8, 16): 30,
        os.makedev(252, 0): 1,
        os.makedev(8, 32): 0,
    }
    assert parse_io_stat("") == {}
