"""Usage of real process trees, and the load of this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mythjobs.agent.measurement.disks import DiskMap
from mythjobs.agent.measurement.job_usage import JobUsageReader, find_disks
from mythjobs.agent.measurement.machine_load import MachineLoadReader, parse_cpu
from mythjobs.agent.scaling.counters import MIB, JobCounters

KEY = (1, 1)
BURN = """
import time
while time.process_time() < 0.3:
    pass
"""
# The child of this program has exited and was waited for when the program reports.
BURN_IN_CHILD = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}])"
HOLD_MEMORY = "data = bytearray(b'x') * (64 << 20)"
WRITE = """
import os
fd = os.open({path!r}, os.O_WRONLY | os.O_CREAT)
os.write(fd, bytes(8 << 20))
os.fsync(fd)
"""


@contextmanager
def running(program: str) -> Iterator[int]:
    """Run a program up to its end, and keep its process until the end of the block."""
    program += "\nprint('ready', flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
        yield child.pid
        child.communicate("\n")


def measure(program: str, directory: Path) -> JobCounters:
    with running(program) as pid:
        return JobUsageReader(DiskMap(), str(directory)).read({KEY: pid})[KEY]


@pytest.mark.slow
@pytest.mark.parametrize("program", [BURN, BURN_IN_CHILD])
def test_the_cpu_time_of_a_tree_is_counted(program: str, tmp_path: Path) -> None:
    assert 0.25 <= measure(program, tmp_path).cpu_s < 3


@pytest.mark.slow
def test_the_memory_of_a_tree_is_counted(tmp_path: Path) -> None:
    assert measure(HOLD_MEMORY, tmp_path).memory_bytes > 64 * MIB


@pytest.mark.slow
def test_written_bytes_belong_to_the_disk_of_the_open_file(tmp_path: Path) -> None:
    disk = DiskMap().find_for_path(str(tmp_path))
    if disk is None:
        pytest.skip("the temporary directory is on no disk")
    used = measure(WRITE.format(path=str(tmp_path / "file")), Path("/proc"))
    assert used.moved_bytes[disk] >= 8 * MIB


@pytest.mark.slow
def test_the_bytes_since_the_last_reading_of_an_ended_job_are_on_its_disks(tmp_path: Path) -> None:
    disk = DiskMap().find_for_path(str(tmp_path))
    if disk is None:
        pytest.skip("the temporary directory is on no disk")
    reader = JobUsageReader(DiskMap(), str(tmp_path))
    with running(WRITE.format(path=str(tmp_path / "file"))) as pid:
        seen = reader.read({KEY: pid})[KEY].moved_bytes[disk]
    assert reader.split_bytes(KEY, seen + 1000) == {disk: seen + 1000}
    # A job that was never read counts on the default disk.
    assert reader.split_bytes((2, 1), 1000) == {disk: 1000}


def test_the_disks_of_a_job_are_found_without_access_to_its_files(tmp_path: Path) -> None:
    # stat() of a file that is open for writing on NFS waits until its data is on the server.
    disks = DiskMap()
    if (disk := disks.find_for_path(str(tmp_path))) is None:
        pytest.skip("the temporary directory is on no disk")
    program = f"file = open({str(tmp_path / 'file')!r}, 'w')"
    with running(program) as pid:
        assert find_disks(disks, [pid]) == (disk,)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "stat", None)
            assert find_disks(disks, [pid]) == (disk,)


def test_a_job_whose_process_is_gone_has_used_nothing(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as child:
        child.wait()
    assert JobUsageReader(DiskMap(), str(tmp_path)).read({KEY: child.pid})[KEY].cpu_s == 0


@pytest.mark.slow
def test_the_load_of_the_machine_includes_that_of_a_busy_process() -> None:
    disks = DiskMap()
    disks.find_for_path("/")
    reader = MachineLoadReader(disks)
    before = reader.read({}, [])
    with running(BURN) as pid:
        after = reader.read({KEY: JobCounters(1.0)}, [pid])
    reader.close()
    assert after.cpu_s - before.cpu_s >= 0.25
    assert after.overhead_s - before.overhead_s >= 0.25
    assert after.jobs == {KEY: JobCounters(1.0)}
    assert 0 < after.available_bytes <= reader.memory_bytes
    assert after.disks.keys() == disks.names
    assert reader.cores >= 1


def test_waiting_for_a_disk_and_time_of_guests_are_not_busy_time() -> None:
    text = b"cpu  100 50 30 1000 900 1 2 3 77 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n"
    busy_s, nice_s = parse_cpu(text)
    assert busy_s * 100 == pytest.approx(186)
    assert nice_s * 100 == pytest.approx(50)
