"""Where our groups are, from what the kernel writes of mounts and of a process."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mythjobs.process.cgroup.mounts import Places, places, with_limits

_UNIFIED = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
_HYBRID = (
    "40 23 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n"
    "41 23 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    "42 23 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "43 23 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def test_the_unified_hierarchy_is_found_below_its_mount() -> None:
    found = places(_UNIFIED, "0::/system.slice/mythjobs.service\n")
    assert found == Places("/sys/fs/cgroup/system.slice/mythjobs.service", {})


def test_a_hybrid_machine_has_its_limits_in_the_first_version() -> None:
    found = places(_HYBRID, "5:memory:/a b\n4:pids:/\n3:cpu,cpuacct:/x\n0::/\n")
    assert found.unified == "/sys/fs/cgroup/unified"
    assert found.controllers == {
        "pids": "/sys/fs/cgroup/pids",
        "memory": "/sys/fs/cgroup/memory/a b",
    }


def test_a_mount_of_a_part_of_the_tree_is_ours_only_if_we_are_in_it() -> None:
    line = r"30 23 0:26 /docker/a\040b /cg\040roups ro - cgroup2 cgroup2 rw"
    assert places(line, "0::/docker/a b/inner\n").unified == "/cg roups/inner"
    assert places(line, "0::/docker/a bc\n").unified is None


def test_a_machine_without_cgroups_has_no_place() -> None:
    assert places("1 1 0:1 / / rw - ext4 /dev/vda rw\n", "") == Places(None, {})


def group(path: Path, hands_on: str = "", delegated: bool = False) -> Path:
    """What a group looks like, made of plain files."""
    path.mkdir()
    (path / "cgroup.procs").touch()
    (path / "cgroup.subtree_control").write_text(hands_on + "\n")
    if delegated:
        try:
            os.setxattr(path, "user.delegate", b"1")
        except OSError:
            pytest.skip("this file system keeps no attributes")
    return path


def test_limits_are_to_be_had_above_our_own_group_within_what_was_delegated(
    tmp_path: Path,
) -> None:
    machine = group(tmp_path / "user.slice", "cpu memory pids")
    manager = group(machine / "user@1000.service", "memory pids", delegated=True)
    apps = group(manager / "app.slice", "memory")
    ours = group(apps / "terminal.scope")
    assert with_limits(str(ours)) == str(manager)
    (apps / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert with_limits(str(ours)) == str(apps)


def test_what_was_not_delegated_is_left_alone(tmp_path: Path) -> None:
    machine = group(tmp_path / "system.slice", "cpu memory pids")
    plain = group(machine / "cron.service")
    assert with_limits(str(plain)) is None
    # Here the processes of the service would have to be moved first, ours and others'.
    service = group(machine / "mythjobs.service", delegated=True)
    assert with_limits(str(service)) is None
