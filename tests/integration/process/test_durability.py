"""State that survives the death of an agent, of a connection, and of the reaper."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest

import mythjobs
from mythjobs.errors import Unreachable
from mythjobs.process.cgroup.mounts import read_cgroup_mounts
from mythjobs.process.reaper.directory import try_lock
from mythjobs.process.reaper.journal import read_journal
from mythjobs.process.reaper.launch import find_socket_path, launch_reaper
from mythjobs.process.reaper.recovery import kill_leftovers
from tests.integration.process.reaper_agent import (
    Agent,
    Home,
    read_to_end,
    reaper,
    sh,
    start,
)


def test_an_end_is_reported_at_once_and_durable_later(home: Home) -> None:
    with reaper(home) as agent:
        end = agent.run(1, ["true"])
        agent.wait_synced(end)
        records = read_journal(home.reapers / "r1" / "journal")
        assert records.ended[1, 1] == end
        assert not records.unfinished
        assert records.reaper["pid"] == agent.hello["pid"]


def test_a_new_agent_receives_all_unacknowledged_attempts(home: Home) -> None:
    with reaper(home) as first:
        acknowledged = first.run(1, ["true"])
        unacknowledged = first.run(2, ["true"])
        first.wait_synced(unacknowledged)
        first.ack(acknowledged)
        fifo = home.base / "gate"
        os.mkfifo(fifo)
        gate = os.open(fifo, os.O_RDWR)
        first.start(3, ["cat"], stdin=str(fifo))
        started = first.wait_for("started", 3)
        # The agent disconnects before it can receive `started`.
        first.send(start(4, ["true"]))
        first.close()

        second = Agent(home.reapers / "r1")
        by_job = {each["job"]: each for each in second.hello["attempts"]}
        assert 1 not in by_job
        assert by_job[2] == unacknowledged
        assert by_job[3] == started
        second.wait_synced(unacknowledged)
        if 4 not in by_job or by_job[4]["type"] == "started":
            second.wait_ended(4)
        # Starts of known attempts are ignored.
        second.send(start(2, sh("exit 9")), start(3, sh("exit 9")), start(4, sh("exit 9")))
        second.send({"type": "stop", "job": 3, "n": 1, "by": "user"})
        assert second.wait_ended(3)["outcome"] == {"kind": "stopped", "by": "user"}
        more = [(each["type"], each["job"]) for each in second.received if "job" in each]
        assert more in ([], [("started", 4)])
        os.close(gate)
        second.close()


def test_an_agent_that_does_not_read_blocks_no_job(home: Home) -> None:
    with reaper(home) as first:
        # More than the socket holds: 3,000 unread ends.
        for job in range(1, 3001, 50):
            first.send(*(start(each, ["true"]) for each in range(job, job + 50)))
        last = home.base / "last"
        os.mkfifo(last)
        first.send(start(5000, sh('echo through >"$1"', str(last))))
        assert last.read_text() == "through\n"
        ends = [first.wait_ended(each) for each in range(1, 3001)]
        assert {end["outcome"]["code"] for end in ends} == {0}


def test_an_invalid_message_only_closes_the_connection(home: Home) -> None:
    directory = home.reapers / "r1"
    with reaper(home) as agent:
        agent.start(1, ["sleep", "600"])
        agent.wait_for("started", 1)
        for nonsense in (b"{}\n", b"nonsense\n", b'[{"type":"start"}]\n', b'[{"type":"stop"}]\n'):
            agent.socket.sendall(nonsense)
            while agent.receive():
                pass
            agent.close()
            agent = Agent(directory)
            assert [each["job"] for each in agent.hello["attempts"]] == [1]
        agent.close()
    # A thread writes the log, and has written all of it once the reaper has exited.
    log = (directory / "log").read_text()
    assert " reaper: reaper started with pid " in log
    assert "invalid start message" in log


def test_leftovers_of_a_killed_reaper_are_killed_by_its_journal(home: Home) -> None:
    directory = home.launch()
    agent = Agent(directory)
    leash = home.base / "leash"
    os.mkfifo(leash)
    held = os.open(leash, os.O_RDONLY | os.O_NONBLOCK)
    acknowledged = agent.run(2, ["true"])
    agent.ack(acknowledged)
    # The leader, and a marked process in another session; both ignore TERM.
    deaf = "trap '' TERM HUP PIPE; while :; do sleep 60; done"
    script = f'exec 3<>{leash}; setsid sh -c "{deaf}" & echo ready; {deaf}'
    agent.start(3, sh(script), watch=True)
    pid = agent.wait_for("started", 3)["pid"]
    agent.wait_for("grew", 3)
    done = agent.run(1, ["true"])
    # The sync of an end writes all earlier records.
    agent.wait_synced(done)

    agent.stop_reaper(signal.SIGKILL)
    lock = try_lock(directory)
    assert lock is not None
    records = read_journal(directory / "journal")
    assert records.ended == {(1, 1): done}
    assert set(records.unfinished) == {(3, 1)}
    spawned = records.unfinished[3, 1]
    assert spawned
    assert spawned.pid == pid
    proofs = kill_leftovers(records.unfinished)
    # Each of the two is a shell and its `sleep`.
    assert proofs[3, 1].startswith(f"session {pid} and environment mark: killed ")
    assert proofs[3, 1].endswith(", then none found in 3 scans")
    os.set_blocking(held, True)
    read_to_end(held)
    os.close(lock)


def test_leftovers_in_the_cgroups_of_a_killed_reaper_are_killed_from_another_cgroup(
    home: Home,
) -> None:
    # As that of an agent whose reaper has a scope of systemd.
    unified = read_cgroup_mounts().unified
    group = Path(f"{unified}/test-reaper-{os.getpid()}")
    try:
        group.mkdir()
        (group / "cgroup.procs").write_text("0")
    except OSError as error:
        pytest.skip(f"no cgroup can be created here: {error}")
    try:
        directory = home.launch()
    finally:
        Path(str(unified), "cgroup.procs").write_text("0")
    agent = Agent(directory)
    leash = home.base / "leash"
    os.mkfifo(leash)
    held = os.open(leash, os.O_RDONLY | os.O_NONBLOCK)
    hidden = f"exec 3<>{leash}; setsid env -i sleep 600 & echo ready; sleep 600"
    agent.start(1, sh(hidden), watch=True, contain=True)
    agent.wait_for("grew", 1)
    agent.wait_synced(agent.run(2, ["true"]))
    agent.stop_reaper(signal.SIGKILL)
    records = read_journal(directory / "journal")
    kill_leftovers(records.unfinished, records.reaper["cgroups"])
    os.set_blocking(held, True)
    read_to_end(held)
    for each in [*group.iterdir(), group]:
        if each.is_dir():
            _remove_cgroup(each)


def _remove_cgroup(path: Path) -> None:
    for _ in range(100):
        for directory, _, _ in os.walk(path, topdown=False):
            with suppress(OSError):
                os.rmdir(directory)
        if not path.exists():
            return
        time.sleep(0.05)
    raise AssertionError(f"{path} is not empty")


def test_an_attempt_that_cannot_be_journalled_is_not_started(
    home: Home,
) -> None:
    with reaper(home) as agent:
        pid = agent.hello["pid"]
        agent.wait_synced(agent.run(1, ["true"]))
        # Writes over RLIMIT_FSIZE fail as on a full disk.
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (10, resource.RLIM_INFINITY))
        end = agent.run(2, ["true"])
        assert end["outcome"]["kind"] == "not_started"
        assert "writing the reaper's journal" in end["outcome"]["sentence"]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        later = agent.run(3, ["true"])
        assert later["outcome"] == {"kind": "exited", "code": 0}
        agent.wait_synced(later)
        records = read_journal(home.reapers / "r1" / "journal")
        assert set(records.ended) == {(1, 1), (2, 1), (3, 1)}


def test_a_failed_rewrite_of_the_journal_only_costs_space(home: Home) -> None:
    with reaper(home) as agent:
        journal = home.reapers / "r1" / "journal"
        in_its_way = home.reapers / "r1" / "journal.new"
        in_its_way.mkdir()
        agent.start(1, ["sleep", "600"])
        # The error in its end contains the name of 1 MiB.
        too_long = ["/" + "x" * 2**20]
        for job in range(2, 20):
            end = agent.run(job, too_long)
            assert end["outcome"]["kind"] == "not_started"
            agent.ack(end)
        assert agent.run(20, ["true"])["outcome"] == {"kind": "exited", "code": 0}
        assert journal.stat().st_size > 17 * 2**20
        in_its_way.rmdir()
        for job in (21, 22):
            agent.ack(agent.run(job, too_long))
        agent.wait_synced(agent.run(23, ["true"]))
        assert journal.stat().st_size < 4 * 2**20
        records = read_journal(journal)
        assert set(records.unfinished) == {(1, 1)}
        assert set(records.ended) == {(20, 1), (23, 1)}


def test_reapers_run_side_by_side_in_their_own_directories(home: Home) -> None:
    with reaper(home, "old") as old, reaper(home, "new") as new:
        assert old.hello["pid"] != new.hello["pid"]
        assert old.run(1, ["true"])["outcome"] == new.run(2, ["true"])["outcome"]
        assert try_lock(home.reapers / "old") is None
        with pytest.raises(Unreachable, match=r"another reaper runs in .*/old$"):
            home.launch("old")
        assert old.run(3, ["true"])["outcome"] == {"kind": "exited", "code": 0}


def test_a_retired_reaper_exits_and_removes_its_directory(home: Home) -> None:
    directory = home.launch()
    agent = Agent(directory)
    end = agent.run(1, sh("exit 5"), scratch=True)
    agent.send({"type": "retire"})
    agent.wait_synced(end)
    agent.ack(end)
    while agent.receive():
        pass
    agent.wait_reaper_exit()
    assert not directory.exists()
    assert not list(home.scratch.iterdir())


def test_a_shutdown_stops_jobs_and_keeps_their_ends_in_the_journal(home: Home) -> None:
    directory = home.launch()
    agent = Agent(directory)
    agent.start(1, ["sleep", "600"])
    agent.wait_for("started", 1)
    agent.stop_reaper(signal.SIGTERM)
    [end] = read_journal(directory / "journal").ended.values()
    assert end["outcome"] == {"kind": "stopped", "by": "shutdown"}


def test_a_long_path_moves_the_socket_to_the_runtime_directory(tmp_path: Path) -> None:
    deep = Home(tmp_path.joinpath(*["deep" * 10] * 4))
    deep.runtime = tmp_path / "run"
    with reaper(deep) as agent:
        assert find_socket_path(deep.reapers / "r1").parent == deep.runtime
        assert agent.run(1, ["true"])["outcome"] == {"kind": "exited", "code": 0}


def test_a_failed_launch_reports_the_reapers_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    bad = tmp_path / "file" / "below"
    with pytest.raises(
        Unreachable, match=r"^cannot start a reaper in .*/r1: \[Errno 20\] Not a dir"
    ):
        launch_reaper(tmp_path / "r1", output=bad, scratch=tmp_path, runtime=tmp_path)


def test_a_reaper_works_after_its_files_are_deleted(home: Home) -> None:
    """An upgrade deletes the files of a running reaper, so it imports everything at start."""
    copy = home.base / "site" / "mythjobs"
    shutil.copytree(Path(mythjobs.__file__).parent, copy)
    directory = home.reapers / "r1"
    code = (
        f"import sys; sys.path.insert(0, {str(copy.parent)!r})\n"
        "from pathlib import Path\n"
        "from mythjobs.process.reaper.launch import launch_reaper\n"
        "launch_reaper(*map(Path, sys.argv[1:2]), **{k: Path(v) for k, v in"
        " zip(('output', 'scratch', 'runtime'), sys.argv[2:])})"
    )
    places = [directory, home.output, home.scratch, home.runtime]
    subprocess.run([sys.executable, "-c", code, *map(str, places)], check=True)
    shutil.rmtree(copy)
    agent = Agent(directory)
    assert agent.run(1, ["true"], scratch=True, status=True)["outcome"]["kind"] == "exited"
    assert agent.run(2, ["/no/such"])["outcome"]["kind"] == "not_started"
    agent.start(3, sh("sleep 600 & wait"))
    agent.wait_for("started", 3)
    agent.send({"type": "stop", "job": 3, "n": 1, "by": "user"})
    assert agent.wait_ended(3)["outcome"]["kind"] == "stopped"
    end = agent.run(4, sh("head -c 9999 /dev/zero"), keep=[10, 10])
    assert end["output"] == [[9999, 10, 10]]
    agent.ack(*({"job": job, "n": 1} for job in (1, 2, 3, 4)))
    agent.send({"type": "retire"})
    while agent.receive():
        pass
    agent.wait_reaper_exit()
    assert not directory.exists()


def test_only_the_same_user_and_root_may_connect(home: Home) -> None:
    if os.geteuid():
        pytest.skip("only root can try to be another user")
    with reaper(home) as agent:
        path = find_socket_path(home.reapers / "r1")
        # Open the directories, which otherwise keep other users out already.
        temporary = Path(tempfile.gettempdir())
        for parent in (path, *path.parents):
            if parent.is_relative_to(temporary) and parent != temporary:
                parent.chmod(0o777)
        agent.close()
        child = os.fork()
        if child == 0:
            _speak_as_nobody(str(path))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 42
        agent = Agent(home.reapers / "r1")
        assert agent.hello["attempts"] == []
        agent.close()


def _speak_as_nobody(path: str) -> None:
    try:
        os.setuid(65534)
        stranger = socket.socket(socket.AF_UNIX)
        stranger.connect(path)
        os._exit(42 if stranger.recv(100) == b"" else 1)
    except OSError:
        os._exit(2)
