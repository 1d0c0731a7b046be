"""Atomic writes of small files."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from mythjobs.config.files import create_once, replace_file
from tests.support.disks import fill_disk, mount_small_disk


@pytest.mark.parametrize("write", [replace_file, create_once])
def test_an_error_names_the_file_and_leaves_no_other(tmp_path: Path, write: object) -> None:
    assert callable(write)
    with pytest.raises(OSError, match=r"missing/token'$"):
        write(tmp_path / "missing" / "token", b"x")
    with mount_small_disk(tmp_path) as disk:
        fill_disk(disk)
        before = sorted(disk.iterdir())
        with pytest.raises(OSError, match=r"/disk/token'$") as refused:
            write(disk / "token", b"x")
        assert refused.value.errno == errno.ENOSPC
        assert sorted(disk.iterdir()) == before
