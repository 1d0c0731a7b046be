"""Termination of attempts: by a stop, by the wall limit, and after the exit of the leader."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path

import pytest

from tests.integration.process.reaper_agent import Agent, Home, read_to_end, reaper, sh
from tests.support.disks import mount_hanging_disk

# Writes "ready" to stdout, so that no test has to guess; the FIFO that it reads
# never reaches EOF.
STUBBORN = "trap '' TERM; echo ready; while :; do read line <&3 || sleep 1; done"


@pytest.fixture
def leash(tmp_path: Path) -> tuple[str, int]:
    """A FIFO for jobs to hold open for writing; the reading end gets EOF after the last."""
    path = tmp_path / "leash"
    os.mkfifo(path)
    return str(path), os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def stop(agent: Agent, job: int, by: str = "user") -> None:
    agent.send({"type": "stop", "job": job, "n": 1, "by": by})


def wait_until_ready(agent: Agent, job: int) -> None:
    agent.wait_for("grew", job, where=lambda each: each["output"][0][0] >= len("ready\n"))


def wait_all_closed(leash: int) -> None:
    os.set_blocking(leash, True)
    read_to_end(leash)


def test_a_stop_is_reported_as_stopped(agent: Agent) -> None:
    agent.start(1, ["sleep", "600"])
    agent.wait_for("started", 1)
    stop(agent, 1, "shutdown")
    assert agent.wait_ended(1)["outcome"] == {"kind": "stopped", "by": "shutdown"}


def test_an_exit_code_after_a_stop_is_still_reported_as_stopped(agent: Agent) -> None:
    agent.start(2, sh("trap 'exit 0' TERM; echo ready; while :; do sleep 0.01; done"), watch=True)
    wait_until_ready(agent, 2)
    stop(agent, 2)
    assert agent.wait_ended(2)["outcome"] == {"kind": "stopped", "by": "user"}


def test_a_stop_before_the_start_ends_the_attempt(agent: Agent) -> None:
    agent.start(3, ["sleep", "600"])
    stop(agent, 3)
    assert agent.wait_ended(3)["outcome"] == {"kind": "stopped", "by": "user"}


def test_a_tree_that_ignores_term_is_killed_after_the_grace(
    agent: Agent, leash: tuple[str, int]
) -> None:
    path, end = leash
    tree = f'exec 3<>{path}; ({STUBBORN}) & setsid sh -c "{STUBBORN}" & {STUBBORN}'
    agent.start(4, sh(tree), watch=True, grace_s=0.3)
    agent.wait_for("grew", 4, where=lambda each: each["output"][0][0] >= 3 * len("ready\n"))
    begun_s = time.monotonic()
    stop(agent, 4)
    assert agent.wait_ended(4)["outcome"] == {"kind": "stopped", "by": "user"}
    assert 0.3 <= time.monotonic() - begun_s < 5
    wait_all_closed(end)


def test_the_grace_holds_for_children_after_the_shell_has_exited(
    agent: Agent, shared_home: Home
) -> None:
    # As with `sh -c "ffmpeg …; …"`: SIGTERM kills the shell, and ffmpeg finishes its file.
    child = "trap 'sleep 0.2; echo finished; exit' TERM; echo ready; while :; do sleep 0.01; done"
    agent.start(5, sh(f'sh -c "{child}" & wait'), watch=True)
    wait_until_ready(agent, 5)
    stop(agent, 5)
    end = agent.wait_ended(5)
    assert end["outcome"] == {"kind": "stopped", "by": "user"}
    # The inner shell also reports that its `sleep` was terminated.
    assert shared_home.read_output(end).endswith(b"finished\n")
    assert end["usage"]["wall_s"] < 5


def test_the_wall_limit_is_a_breach_and_counts_from_the_start(agent: Agent) -> None:
    end = agent.run(6, ["sleep", "600"], wall_s=0.2)
    assert end["outcome"] == {"kind": "breached", "limit": "wall"}
    assert 0.2 <= end["usage"]["wall_s"] < 5


def test_a_job_within_its_wall_limit_is_not_ended(agent: Agent) -> None:
    end = agent.run(7, ["sleep", "0.1"], wall_s=60)
    assert end["outcome"] == {"kind": "exited", "code": 0}


def test_a_job_stopped_by_sigstop_is_terminated(agent: Agent) -> None:
    agent.start(8, sh("echo ready; kill -STOP $$"), watch=True)
    wait_until_ready(agent, 8)
    stop(agent, 8)
    assert agent.wait_ended(8)["outcome"] == {"kind": "stopped", "by": "user"}


def test_no_process_of_a_finished_job_is_left(agent: Agent, leash: tuple[str, int]) -> None:
    path, end = leash
    # One in its process group, one in its own session, one orphan with ended parents.
    script = f"""
        exec 3<>{path}
        sleep 600 &
        setsid sleep 600 &
        sh -c 'setsid sh -c "trap \\"\\" TERM HUP; sleep 600; sleep 600" &'
        exit 7
    """
    ended = agent.run(9, sh(script))
    assert ended["outcome"] == {"kind": "exited", "code": 7}
    wait_all_closed(end)


def test_a_daemon_without_session_and_environment_is_ended_with_the_last_job(
    home: Home, leash: tuple[str, int]
) -> None:
    path, end = leash
    # `$(…)` returns when the daemon has cleared its environment.
    daemon = "exec >&- 2>&-; trap '' HUP TERM; while :; do sleep 60; done"
    script = f'exec 3<>{path}; x=$(setsid env -i sh -c "{daemon}" &); exit 4'
    with reaper(home) as agent:
        assert agent.run(1, sh(script))["outcome"] == {"kind": "exited", "code": 4}
        wait_all_closed(end)


def test_orphans_that_die_while_their_job_runs_are_reaped(agent: Agent, shared_home: Home) -> None:
    script = """
        for i in 1 2 3 4 5; do sh -c 'sh -c "exit 0" & exit 0'; done
        while ps -o stat= --ppid "$1" | grep -q Z; do sleep 0.01; done
    """
    end = agent.run(10, sh(script, str(agent.hello["pid"])), wall_s=15)
    assert end["outcome"] == {"kind": "exited", "code": 0}


def start_tree_of_dead_leader(agent: Agent, job: int, **more: object) -> None:
    """Start a job and stop it with a grace period of ten minutes; its leader dies at once, and a
    child of the leader uses all of it."""
    agent.start(job, sh(f"exec 3<>/dev/null; ({STUBBORN}) & exec sleep 600"), watch=True, **more)
    leader = os.pidfd_open(agent.wait_for("started", job)["pid"])
    wait_until_ready(agent, job)
    agent.send({"type": "acts", "job": job, "n": 1, "acts": [[1, "stop", "window", 600.0]]})
    assert select.select([leader], [], [], 60)[0]
    os.close(leader)


def test_an_expired_lease_ends_a_tree_whose_leader_is_dead(agent: Agent) -> None:
    # Seen: the tree kept its whole grace period and outlived the lease.
    start_tree_of_dead_leader(agent, 14)
    agent.send({"type": "acts", "job": 14, "n": 1, "acts": [[1, "stop", "lease", 0.1]]})
    assert agent.wait_ended(14)["outcome"] == {"kind": "stopped", "by": "window"}


def test_a_repeated_stop_shortens_a_longer_grace_period(agent: Agent) -> None:
    start_tree_of_dead_leader(agent, 15, grace_s=0.1)
    stop(agent, 15)
    assert agent.wait_ended(15)["outcome"] == {"kind": "stopped", "by": "window"}


@pytest.mark.slow
def test_the_wall_limit_holds_during_a_grace_period(agent: Agent) -> None:
    start_tree_of_dead_leader(agent, 16, wall_s=1, grace_s=0.1)
    end = agent.wait_ended(16)
    # Breached if the stop took more than a second to arrive.
    assert end["outcome"]["kind"] in ("stopped", "breached")
    assert end["usage"]["wall_s"] < 60


@pytest.mark.slow
@pytest.mark.parametrize("limit", ["wall_s", "idle_s"])
def test_a_changed_limit_holds_during_a_grace_period(agent: Agent, limit: str) -> None:
    job = 17 if limit == "wall_s" else 18
    start_tree_of_dead_leader(agent, job)
    agent.send({"type": "limits", "job": job, "n": 1, limit: 0.2, "grace_s": 0.1})
    assert agent.wait_ended(job)["outcome"] == {"kind": "stopped", "by": "window"}


def test_other_attempts_are_not_affected_by_a_stop(agent: Agent) -> None:
    agent.start(11, sh(f"exec 3<>/dev/null; {STUBBORN}"), watch=True, grace_s=30)
    wait_until_ready(agent, 11)
    stop(agent, 11)
    assert agent.run(12, ["true"])["outcome"] == {"kind": "exited", "code": 0}
    agent.start(13, ["sleep", "600"])
    agent.wait_for("started", 13)
    stop(agent, 13)
    agent.wait_ended(13)
    # The shared reaper stops after this file; its stop must not wait for the grace period.
    leader = agent.wait_for("started", 11)["pid"]
    os.killpg(leader, 9)
    assert agent.wait_ended(11)["outcome"] == {"kind": "stopped", "by": "user"}


def test_a_daemon_that_may_stay_survives_later_jobs(home: Home) -> None:
    script = "setsid sleep 7777 </dev/null >/dev/null 2>&1 & echo $!"
    with reaper(home) as agent:
        end = agent.run(1, sh(script), leave_daemons=True)
        left = int(home.read_output(end))
        assert [pid for pid, _ in end["left"]] == [left]
        daemon = os.pidfd_open(left)
        try:
            # Seen: the daemon was taken for an orphan of the only running child.
            agent.run(2, ["true"])
            agent.run(3, ["true"], leave_daemons=True)
            agent.run(4, sh("sleep 60 & exit 0"))
            os.kill(left, 0)
        finally:
            signal.pidfd_send_signal(daemon, signal.SIGKILL)
            os.close(daemon)


def test_a_daemon_that_may_stay_is_thawed_at_the_end_of_a_frozen_job(home: Home) -> None:
    # Seen: it stayed stopped for good, as the end of its job was not expected of a frozen one.
    script = "(setsid sleep 7777 </dev/null >/dev/null 2>&1 & echo $!); exec sleep 7777"
    with reaper(home) as agent:
        agent.start(1, sh(script), leave_daemons=True, watch=True)
        leader = agent.wait_for("started", 1)["pid"]
        agent.wait_for("grew", 1)
        agent.send({"type": "freeze", "job": 1, "n": 1, "holder": "user", "on": True})
        agent.wait_for("frozen", 1)
        os.kill(leader, signal.SIGKILL)
        end = agent.wait_ended(1)
        [[left, _]] = end["left"]
        daemon = os.pidfd_open(left)
        try:
            assert b") T " not in Path(f"/proc/{left}/stat").read_bytes()
        finally:
            signal.pidfd_send_signal(daemon, signal.SIGKILL)
            os.close(daemon)


@pytest.mark.parametrize("environment", ["", "env -i"])
def test_what_a_daemon_starts_later_survives_later_jobs(home: Home, environment: str) -> None:
    # Seen: a process that the daemon started later, in a session of its own, was taken for an
    # orphan of the only running job once its parent had exited.
    fifo = home.base / "fifo"
    os.mkfifo(fifo)
    later = f"setsid sleep 7777 & echo $! >{fifo}"
    daemon = f'read line <{fifo}; {environment} setsid sh -c "$1" & exec sleep 7777'
    script = 'setsid sh -c "$1" sh "$2" </dev/null >/dev/null 2>&1 & echo $!'
    with reaper(home) as agent:
        end = agent.run(1, sh(script, daemon, later), leave_daemons=True)
        pids = [int(home.read_output(end))]
        fifo.write_text("go\n")
        pids.append(int(fifo.read_text()))
        daemons = [os.pidfd_open(pid) for pid in pids]
        agent.run(2, ["true"])
        agent.run(3, sh("sleep 60 & exit 0"))
        assert not select.select(daemons, [], [], 0)[0]
        # Its children become orphans when the daemon dies.
        signal.pidfd_send_signal(daemons[0], signal.SIGKILL)
        assert select.select(daemons[:1], [], [], 60)[0]
        agent.run(4, ["true"])
        try:
            assert not select.select(daemons[1:], [], [], 0)[0]
        finally:
            signal.pidfd_send_signal(daemons[1], signal.SIGKILL)
            for each in daemons:
                os.close(each)


# Until the last background process is in uninterruptible sleep.
_WAIT_FOR_D_STATE = "until grep -q '^State:.D' /proc/$!/status; do sleep 0.01; done"


@pytest.mark.slow
def test_a_process_that_cannot_be_killed_delays_its_own_job_only(
    home: Home, tmp_path: Path
) -> None:
    # Seen: each later job ended two seconds late.
    with mount_hanging_disk(tmp_path) as disk, reaper(home) as agent:
        disk.freeze()
        writer = f"exec dd if=/dev/zero of={disk.path}/file"
        script = f"setsid env -i sh -c '{writer}' & echo $!; {_WAIT_FOR_D_STATE}"
        end = agent.run(1, sh(script), wall_s=20)
        assert end["outcome"] == {"kind": "exited", "code": 0}
        assert end["left"] == [[int(home.read_output(end)), "dd"]]
        walls_s = []
        for job in range(2, 6):
            end = agent.run(job, ["true"])
            assert "left" not in end
            walls_s.append(end["usage"]["wall_s"])
        # On a busy machine some of them are slow as well.
        assert min(walls_s) < 2
        disk.thaw()
