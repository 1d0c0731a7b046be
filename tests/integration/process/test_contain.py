"""Cgroups of this machine, for real: what is in one is held, counted, limited and ended."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from mythjobs.model.limits import Limits
from mythjobs.process.cgroup import mounts, open_cgroup_pool, pool
from mythjobs.process.cgroup.leaf import LeafCgroup
from mythjobs.process.cgroup.pool import CgroupPool
from mythjobs.process.spawn import stub
from mythjobs.process.spawn.program import ChildSetup

_PATIENCE_S = 20


@pytest.fixture
def groups() -> Iterator[CgroupPool]:
    # Other tests of this process may hold groups of their own, for as long as it lives.
    before = _ours()
    found = open_cgroup_pool()
    if found is None:
        pytest.skip("this machine lets nobody of us make a cgroup")
    yield found
    found.close()
    assert _ours() <= before


def _ours() -> set[str]:
    unified = mounts.read_cgroup_mounts().unified
    names = os.listdir(unified) if unified else []
    return {name for name in names if name.startswith(f"mythjobs-{os.getpid()}-")}


def _unified() -> str:
    unified = mounts.read_cgroup_mounts().unified
    assert unified is not None
    return unified


def start(leaf: LeafCgroup, text: str) -> subprocess.Popen[bytes]:
    """A shell in it, whose output is a pipe."""
    ours, theirs = os.pipe()
    argv = [b"sh", b"-c", text.encode()]
    wishes = ChildSetup(cgroup_files=tuple(leaf.list_join_files()))
    command = stub.stub_argv(theirs, wishes, "/usr/bin:/bin", [b"PATH=/usr/bin:/bin"], argv)
    child = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[theirs])
    os.close(theirs)
    with open(ours, "rb") as report:
        assert report.read() == b""
    return child


def until(leaf: LeafCgroup, what: str | None) -> None:
    """Until it is empty, or until it has met this limit; by its events, not by looking."""
    with select.epoll() as epoll:
        for fd, mask in leaf.open_events().items():
            epoll.register(fd, mask)
        while not (leaf.is_empty() if what is None else leaf.find_breach() == what):
            assert epoll.poll(_PATIENCE_S), "no event came"
            leaf.clear_events()


def finish(child: subprocess.Popen[bytes]) -> bytes:
    out, _ = child.communicate(timeout=_PATIENCE_S)
    return out


def test_what_has_left_session_and_environment_is_still_inside(groups: CgroupPool) -> None:
    leaf = groups.take()
    hidden = "env -i setsid setsid sleep 600"
    child = start(leaf, f"({hidden} & {hidden} &); echo ready")
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    leaf.kill()
    until(leaf, None)
    # What held the pipe is gone, so it comes to its end.
    assert finish(child) == b""
    assert leaf.list_pids() == []
    leaf.close()


def test_frozen_processes_stand_still_and_can_be_killed(groups: CgroupPool) -> None:
    leaf = groups.take()
    child = start(leaf, "echo ready; while :; do :; done")
    assert child.stdout is not None
    child.stdout.readline()
    leaf.freeze()
    with select.epoll() as epoll:
        for fd, mask in leaf.open_events().items():
            epoll.register(fd, mask)
        while not leaf.unified.read_keyed_numbers("cgroup.events")["frozen"]:
            assert epoll.poll(_PATIENCE_S)
            leaf.clear_events()
    used = leaf.read_usage()
    assert leaf.read_usage() == used
    leaf.kill()
    until(leaf, None)
    child.communicate()
    leaf.close()


def test_a_group_that_was_left_frozen_is_none_to_the_next(groups: CgroupPool) -> None:
    # Seen: a child was paused, then killed; the stub of the next one in its group never ended.
    leaf = groups.take()
    path = leaf.unified.path
    leaf.freeze()
    leaf.close()
    again = groups.take()
    assert again.unified.path == path
    assert finish(start(again, "echo moves")) == b"moves\n"
    until(again, None)
    again.close()


def test_cpu_of_grandchildren_is_counted_that_nobody_waited_for(groups: CgroupPool) -> None:
    leaf = groups.take()
    burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    child = start(leaf, f"(setsid sh -c '{burn}' &)")
    child.wait()
    until(leaf, None)
    assert finish(child) == b""
    assert leaf.read_usage().cpu_s > 0.02
    leaf.close()
    # The next one in the same group begins at nothing.
    again = groups.take()
    assert again.read_usage().cpu_s == 0.0
    again.close()


@pytest.mark.slow
def test_a_fork_bomb_meets_the_limit_of_processes(groups: CgroupPool) -> None:
    if "processes" not in groups.enforced_limits():
        pytest.skip("no controller of processes can be written here")
    leaf = groups.take()
    assert leaf.set_limits(Limits(processes=30)) == {}
    leaf.open_events()
    child = start(leaf, "b() { b | b & b | b; }; b 2>/dev/null")
    until(leaf, "processes")
    assert len(leaf.list_pids()) <= 30
    leaf.kill()
    until(leaf, None)
    child.communicate()
    leaf.close()


def test_more_memory_than_allowed_ends_the_tree(groups: CgroupPool) -> None:
    if "memory" not in groups.enforced_limits():
        pytest.skip("no controller of memory can be written here")
    leaf = groups.take()
    assert leaf.set_limits(Limits(memory_bytes=32 << 20)) == {}
    leaf.open_events()
    child = start(leaf, "exec head -c 200000000 /dev/zero | tail")
    until(leaf, "memory")
    assert leaf.read_usage().peak_bytes <= 32 << 20
    leaf.kill()
    until(leaf, None)
    child.communicate()
    leaf.close()


def test_signals_reach_all_of_it(groups: CgroupPool) -> None:
    leaf = groups.take()
    child = start(leaf, "setsid sleep 600 & echo ready; wait")
    assert child.stdout is not None
    child.stdout.readline()
    assert leaf.send_signal(signal.SIGTERM) == 2
    until(leaf, None)
    child.communicate()
    leaf.close()


def test_what_a_dead_owner_left_behind_is_swept_up(groups: CgroupPool) -> None:
    # A group of a process that has this pid no more: it was born at another time.
    path = f"{_unified()}/mythjobs-{os.getpid()}-1-{pool._namespace_id()}.1"
    os.mkdir(path)
    child = subprocess.Popen(["sleep", "600"])
    with open(f"{path}/cgroup.procs", "w") as procs:
        procs.write(str(child.pid))
    pool.remove_stale_cgroups(mounts.read_cgroup_mounts())
    assert child.wait(_PATIENCE_S) == -signal.SIGKILL
    pool.remove_stale_cgroups(mounts.read_cgroup_mounts())
    assert not os.path.exists(path)


def test_what_is_of_another_namespace_of_processes_is_left_alone(groups: CgroupPool) -> None:
    # Seen: whoever looked for containers in a sandbox that shares our cgroup ended our jobs,
    # whose reaper has no number there.
    leaf = groups.take()
    child = start(leaf, "echo ready; sleep 600")
    assert child.stdout is not None
    child.stdout.readline()
    look = "from mythjobs.process.cgroup import open_cgroup_pool as b; g = b(); g and g.close()"
    apart = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", look]
    try:
        looked = subprocess.run(apart, capture_output=True, timeout=_PATIENCE_S, check=False)
        lived_on = not leaf.is_empty()
    finally:
        leaf.kill()
        until(leaf, None)
        child.communicate()
        leaf.close()
    if b"unshare" in looked.stderr:
        pytest.skip("nobody here may have a namespace of processes")
    assert looked.returncode == 0, looked.stderr
    assert lived_on


def test_a_machine_without_cgroups_has_none() -> None:
    assert open_cgroup_pool(mounts.CgroupMounts(None, {})) is None
    assert open_cgroup_pool(mounts.CgroupMounts("/proc/none", {})) is None
