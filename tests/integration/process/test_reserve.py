"""Files and directories that are read with the reserve descriptor, as no other one is free."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from mythjobs.process import procfs
from mythjobs.process.cgroup.group import CgroupDirectory
from mythjobs.process.reserve import hold_reserve, use_file


@contextmanager
def no_free_descriptor() -> Iterator[None]:
    hold_reserve()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The number of the reserve must be below the limit.
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
    fillers = []
    try:
        with suppress(OSError):
            while True:
                fillers.append(os.dup(0))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in fillers:
            os.close(fd)


def test_files_and_directories_can_be_read(tmp_path: Path) -> None:
    # Seen: no directory could be listed, as os.listdir() duplicates the descriptor that it gets. A
    # job that was thawed while the reaper had no free descriptor stayed frozen.
    (tmp_path / "directory").mkdir()
    (tmp_path / "file").write_bytes(b"text")
    with no_free_descriptor():
        for _ in range(2):
            text = use_file(str(tmp_path / "file"), os.O_RDONLY, lambda fd: os.read(fd, 10))
            assert text == b"text"
            assert sorted(procfs.list_directory(str(tmp_path))) == ["directory", "file"]
            found = [each.path for each in CgroupDirectory(str(tmp_path)).children()]
            assert found == [str(tmp_path / "directory")]


def test_other_errors_are_raised() -> None:
    with no_free_descriptor(), pytest.raises(FileNotFoundError):
        procfs.list_directory("/none")
