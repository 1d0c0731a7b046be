"""Cgroup mounts, parsed from mountinfo and cgroup files of /proc."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from mythjobs.process.cgroup.mounts import (
    CgroupMounts,
    find_ancestor_with_controllers,
    parse_cgroup_mounts,
)

_UNIFIED = b"30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
_HYBRID = (
    b"40 23 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup rw\n"
    b"41 23 0:31 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
    b"42 23 0:32 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    b"43 23 0:33 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
)


def test_unified_hierarchy_is_found_below_its_mount() -> None:
    found = parse_cgroup_mounts(_UNIFIED, b"0::/system.slice/mythjobs.service\n")
    assert found == CgroupMounts("/sys/fs/cgroup/system.slice/mythjobs.service", {})


def test_hybrid_machine_has_controllers_in_version_1() -> None:
    found = parse_cgroup_mounts(_HYBRID, b"5:memory:/a b\n4:pids:/\n3:cpu,cpuacct:/x\n0::/\n")
    assert found.unified == "/sys/fs/cgroup/unified"
    assert found.controllers == {
        "pids": "/sys/fs/cgroup/pids",
        "memory": "/sys/fs/cgroup/memory/a b",
    }


def test_mount_of_a_subtree_is_used_only_if_it_contains_the_own_cgroup() -> None:
    line = rb"30 23 0:26 /docker/a\040b /cg\040roups ro - cgroup2 cgroup2 rw"
    assert parse_cgroup_mounts(line, b"0::/docker/a b/inner\n").unified == "/cg roups/inner"
    assert parse_cgroup_mounts(line, b"0::/docker/a bc\n").unified is None


def test_machine_without_cgroups_has_no_mounts() -> None:
    assert parse_cgroup_mounts(b"1 1 0:1 / / rw - ext4 /dev/vda rw\n", b"") == CgroupMounts(
        None, {}
    )


def make_cgroup(path: Path, controllers: str = "", is_delegated: bool = False) -> Path:
    """Create the files of a cgroup as plain files."""
    path.mkdir()
    (path / "cgroup.procs").touch()
    (path / "cgroup.subtree_control").write_text(controllers + "\n")
    if is_delegated:
        try:
            os.setxattr(path, "user.delegate", b"1")
        except OSError:
            pytest.skip("this file system has no extended attributes")
    return path


def test_nearest_ancestor_with_controllers_is_found_below_the_delegated_cgroup(
    tmp_path: Path,
) -> None:
    machine = make_cgroup(tmp_path / "user.slice", "cpu memory pids")
    manager = make_cgroup(machine / "user@1000.service", "memory pids", is_delegated=True)
    apps = make_cgroup(manager / "app.slice", "memory")
    own = make_cgroup(apps / "terminal.scope")
    assert find_ancestor_with_controllers(str(own)) == str(manager)
    (apps / "cgroup.subtree_control").write_text("cpu memory pids\n")
    assert find_ancestor_with_controllers(str(own)) == str(apps)


def test_cgroups_above_the_delegated_one_are_not_used(tmp_path: Path) -> None:
    machine = make_cgroup(tmp_path / "system.slice", "cpu memory pids")
    plain = make_cgroup(machine / "cron.service")
    assert find_ancestor_with_controllers(str(plain)) is None
    # The delegated cgroup itself holds processes, which would have to be moved first.
    service = make_cgroup(machine / "mythjobs.service", is_delegated=True)
    assert find_ancestor_with_controllers(str(service)) is None
