"""Real cgroups: containment, accounting, limits, kill and removal."""

from __future__ import annotations

import os
import resource
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mythjobs.model.limits import Limits
from mythjobs.process import procfs
from mythjobs.process.cgroup import mounts, open_cgroup_pool
from mythjobs.process.cgroup import pool as cgroup_pool
from mythjobs.process.cgroup.leaf import ChildCgroup
from mythjobs.process.cgroup.pool import CgroupPool
from mythjobs.process.spawn import stub
from mythjobs.process.spawn.program import ChildSetup

_TIMEOUT_S = 60


@pytest.fixture
def pool() -> Iterator[CgroupPool]:
    # Other tests in this process may hold cgroups until it exits.
    before = _list_own()
    found = open_cgroup_pool()
    if found is None:
        pytest.skip("no cgroup can be created on this machine")
    yield found
    found.close()
    assert _list_own() <= before


def _list_own() -> set[str]:
    unified = mounts.read_cgroup_mounts().unified
    names = os.listdir(unified) if unified else []
    return {name for name in names if name.startswith(f"mythjobs-{os.getpid()}-")}


def _unified() -> str:
    unified = mounts.read_cgroup_mounts().unified
    assert unified is not None
    return unified


def start(leaf: ChildCgroup, text: str) -> subprocess.Popen[bytes]:
    """Start a shell in the cgroup, its output in a pipe."""
    reader, writer = os.pipe()
    argv = [b"sh", b"-c", text.encode()]
    wishes = ChildSetup(cgroup_files=tuple(leaf.list_join_files()))
    command = stub.stub_argv(writer, wishes, "/usr/bin:/bin", argv)
    env = {b".PATH": b"/usr/bin:/bin"}
    child = subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=[writer], env=env)
    os.close(writer)
    with open(reader, "rb") as report:
        assert report.read() == b"."
    return child


def wait_for(leaf: ChildCgroup, limit: str | None) -> None:
    """Wait for an event until the cgroup is empty, or has hit `limit` if one is given."""
    with select.epoll() as epoll:
        for fd, mask in leaf.open_events().items():
            epoll.register(fd, mask)
        while not (leaf.is_empty() if limit is None else leaf.find_breach() == limit):
            assert epoll.poll(_TIMEOUT_S), "no event came"
            leaf.clear_events()


def finish(child: subprocess.Popen[bytes]) -> bytes:
    out, _ = child.communicate(timeout=_TIMEOUT_S)
    return out


def test_a_process_with_new_session_and_environment_stays_inside(pool: CgroupPool) -> None:
    leaf = pool.take()
    hidden = "env -i setsid setsid sleep 600"
    child = start(leaf, f"({hidden} & {hidden} &); echo ready")
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    leaf.kill()
    wait_for(leaf, None)
    # All writers of the pipe are gone, so it is at end of file.
    assert finish(child) == b""
    assert leaf.list_pids() == []
    leaf.close()


def test_frozen_processes_use_no_cpu_and_can_be_killed(pool: CgroupPool) -> None:
    leaf = pool.take()
    child = start(leaf, "echo ready; while :; do :; done")
    assert child.stdout is not None
    child.stdout.readline()
    leaf.freeze()
    with select.epoll() as epoll:
        for fd, mask in leaf.open_events().items():
            epoll.register(fd, mask)
        while not leaf.unified.read_keyed_numbers("cgroup.events")["frozen"]:
            assert epoll.poll(_TIMEOUT_S)
            leaf.clear_events()
    used = leaf.read_usage()
    assert leaf.read_usage() == used
    leaf.kill()
    wait_for(leaf, None)
    child.communicate()
    leaf.close()


def test_a_cgroup_closed_while_frozen_is_thawed_for_the_next_child(pool: CgroupPool) -> None:
    # Regression: a child was paused, then killed; the next child in the cgroup never started.
    leaf = pool.take()
    path = leaf.unified.path
    leaf.freeze()
    leaf.close()
    again = pool.take()
    assert again.unified.path == path
    assert finish(start(again, "echo moves")) == b"moves\n"
    wait_for(again, None)
    again.close()


def test_a_cgroup_that_cannot_be_thawed_is_not_reused(pool: CgroupPool) -> None:
    leaf = pool.take()
    leaf.freeze()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        leaf.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    again = pool.take()
    assert finish(start(again, "echo moves")) == b"moves\n"
    wait_for(again, None)
    again.close()


def test_cpu_of_descendants_without_a_waiting_parent_is_counted(pool: CgroupPool) -> None:
    leaf = pool.take()
    burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    child = start(leaf, f"(setsid sh -c '{burn}' &)")
    child.wait()
    wait_for(leaf, None)
    assert finish(child) == b""
    assert leaf.read_usage().cpu_s > 0.02
    leaf.close()
    # The next child in the same cgroup starts at zero.
    again = pool.take()
    assert again.read_usage().cpu_s == 0.0
    again.close()


def test_the_next_child_does_not_inherit_the_memory_peak(pool: CgroupPool) -> None:
    # Seen: `true` was reported with the 4 GiB of its predecessor in the same cgroup.
    leaf = pool.take()
    assert finish(start(leaf, "head -c 100M /dev/zero | tail -c 90M | wc -c")) == b"94371840\n"
    wait_for(leaf, None)
    if leaf.read_usage().peak_bytes < 90 * 2**20:
        leaf.close()
        pytest.skip("no memory controller of cgroup v2 is enabled")
    leaf.close()
    again = pool.take()
    finish(start(again, "true"))
    wait_for(again, None)
    assert again.read_usage().peak_bytes < 50 * 2**20
    again.close()


@pytest.mark.slow
def test_fork_bomb_hits_the_process_limit(pool: CgroupPool) -> None:
    if "processes" not in pool.enforced_limits():
        pytest.skip("no pids controller is writable")
    leaf = pool.take()
    assert leaf.set_limits(Limits(processes=30)) == {}
    leaf.open_events()
    child = start(leaf, "b() { b | b & b | b; }; b 2>/dev/null")
    wait_for(leaf, "processes")
    assert len(leaf.list_pids()) <= 30
    leaf.kill()
    wait_for(leaf, None)
    child.communicate()
    leaf.close()


def test_exceeding_the_memory_limit_is_a_breach(pool: CgroupPool) -> None:
    if "memory" not in pool.enforced_limits():
        pytest.skip("no memory controller is writable")
    leaf = pool.take()
    assert leaf.set_limits(Limits(memory_bytes=32 << 20)) == {}
    leaf.open_events()
    child = start(leaf, "exec head -c 200000000 /dev/zero | tail")
    wait_for(leaf, "memory")
    assert leaf.read_usage().peak_bytes <= 32 << 20
    leaf.kill()
    wait_for(leaf, None)
    child.communicate()
    leaf.close()


def test_processes_of_all_sessions_can_be_signalled(pool: CgroupPool) -> None:
    leaf = pool.take()
    child = start(leaf, "setsid sleep 600 & echo ready; wait")
    assert child.stdout is not None
    child.stdout.readline()
    pids = leaf.list_pids()
    assert len(pids) == 2
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    wait_for(leaf, None)
    child.communicate()
    leaf.close()


def test_cgroups_of_a_dead_owner_are_removed_with_their_processes(pool: CgroupPool) -> None:
    # The owner had this pid, and another start time.
    path = f"{_unified()}/mythjobs-{os.getpid()}-1-{cgroup_pool._namespace_id()}.1"
    os.mkdir(path)
    child = subprocess.Popen(["sleep", "600"])
    with open(f"{path}/cgroup.procs", "w") as procs:
        procs.write(str(child.pid))
    cgroup_pool.remove_stale_cgroups(mounts.read_cgroup_mounts())
    assert child.wait(_TIMEOUT_S) == -signal.SIGKILL
    cgroup_pool.remove_stale_cgroups(mounts.read_cgroup_mounts())
    assert not os.path.exists(path)


@contextmanager
def run_sleeper(pool: CgroupPool) -> Iterator[ChildCgroup]:
    """Run a program in a cgroup of the pool until the end of the block."""
    leaf = pool.take()
    child = start(leaf, "echo ready; sleep 600")
    assert child.stdout is not None
    child.stdout.readline()
    try:
        yield leaf
    finally:
        leaf.kill()
        wait_for(leaf, None)
        child.communicate()
        leaf.close()


def test_cgroups_of_owners_that_proc_hides_are_kept(
    pool: CgroupPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_sleeper(pool) as leaf:
        monkeypatch.setattr(procfs, "read_process", lambda pid: None)
        cgroup_pool.remove_stale_cgroups(mounts.read_cgroup_mounts())
        assert not leaf.is_empty()


def test_cgroups_of_owners_in_other_pid_namespaces_are_kept(pool: CgroupPool) -> None:
    # Regression: a process in a sandbox that shares our cgroup killed our jobs, because it saw no
    # process with the pid of their reaper.
    script = "from mythjobs.process.cgroup import open_cgroup_pool as b; g = b(); g and g.close()"
    command = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", script]
    with run_sleeper(pool) as leaf:
        result = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False)
        survived = not leaf.is_empty()
    if b"unshare" in result.stderr:
        pytest.skip("creating a pid namespace is not permitted")
    assert result.returncode == 0, result.stderr
    assert survived


def test_machine_without_cgroups_has_no_pool() -> None:
    assert open_cgroup_pool(mounts.CgroupMounts(None, {})) is None
    assert open_cgroup_pool(mounts.CgroupMounts("/proc/none", {})) is None
