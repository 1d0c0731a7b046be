"""Disks of files, and the kernel's counters of disks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mythjobs.agent.measurement.disks import DiskMap, parse_diskstats
from mythjobs.agent.scaling.counters import DiskCounters


@pytest.fixture
def sys_block(tmp_path: Path) -> Path:
    """A disk sda (8:0) with a partition sda1 (8:1), and a logical volume dm-0 (253:0)."""
    devices = tmp_path / "devices"
    for name in ("pci/block/sda", "pci/block/sda/sda1", "virtual/block/dm-0"):
        (devices / name).mkdir(parents=True)
    (devices / "pci/block/sda/sda1/partition").write_text("1\n")
    block = tmp_path / "block"
    block.mkdir()
    for number, target in (
        ("8:0", "pci/block/sda"), ("8:1", "pci/block/sda/sda1"), ("253:0", "virtual/block/dm-0"),
    ):  # fmt: skip
        (block / number).symlink_to(devices / target)
    return block


def test_a_partition_counts_as_its_disk_and_a_logical_volume_as_itself(sys_block: Path) -> None:
    disks = DiskMap(sys_block)
    assert disks.find(os.makedev(8, 1)) == "sda"
    assert disks.find(os.makedev(8, 0)) == "sda"
    assert disks.find(os.makedev(253, 0)) == "dm-0"
    assert disks.find(os.makedev(9, 9)) is None
    assert disks.names == {"sda", "dm-0"}


def test_a_file_system_without_a_block_device_has_no_disk(sys_block: Path, tmp_path: Path) -> None:
    mountinfo = tmp_path / "mountinfo"
    mountinfo.write_text(
        "30 1 0:40 / /mnt rw - nfs nas:/tv rw\n"
        "31 1 0:41 / /data rw shared:1 - btrfs /nonexistent/disk rw\n"
    )
    disks = DiskMap(sys_block, mountinfo)
    for minor in (40, 41, 42):
        assert disks.find(os.makedev(0, minor)) is None
    assert disks.find_for_path(str(tmp_path / "missing")) is None


def test_the_bytes_and_the_busy_time_of_a_disk_are_read_from_diskstats() -> None:
    text = (
        b"   8       0 sda 1000 5 2000 10 300 7 4000 20 0 1500 30 0 0 0 0 0 0\n"
        b"   8       1 sda1 900 5 1900 10 300 7 4000 20 0 1400 30\n"
        b"   7       0 loop0 1 0 8 0 0 0 0 0 0 0 0\n"
    )
    assert parse_diskstats(text, {"sda", "sdb"}) == {"sda": DiskCounters(6000 * 512, 1.5)}
