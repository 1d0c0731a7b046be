"""Limits of process trees, and settings applied before exec."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mythjobs.process import (
    PIPE,
    Breached,
    Exited,
    Limits,
    MythSystem,
    NotStarted,
)
from tests.integration.process.reaper_agent import Agent, Home, sh, start

BURN = "while :; do :; done"


def can_start(limits: Limits) -> bool:
    return MythSystem(["true"], limits=limits).run().outcome == Exited(0)


def can_contain() -> bool:
    text = MythSystem(["cat", "/proc/self/cgroup"], contain=True).run().stdout.text()
    return "/mythjobs-" in text


@pytest.mark.slow
def test_cpu_limit_covers_the_whole_tree() -> None:
    text = f"({BURN}) & ({BURN}) & wait"
    done = MythSystem.shell(text, limits=Limits(cpu_s=0.3, grace_s=2)).run()
    assert done.outcome == Breached("cpu")
    assert 0.3 <= done.usage.cpu_s < 1.5


@pytest.mark.slow
def test_cpu_limit_of_jobs_covers_the_whole_tree(agent: Agent) -> None:
    end = agent.run(1, sh(f"({BURN}) & ({BURN}) & wait"), cpu_s=0.3, grace_s=2)
    assert end["outcome"] == {"kind": "breached", "limit": "cpu"}
    assert end["usage"]["user_s"] + end["usage"]["system_s"] >= 0.3


@pytest.mark.slow
def test_idle_limit_ends_a_sleeping_program_and_not_a_writing_one() -> None:
    limits = Limits(idle_s=1.5, grace_s=1)
    assert MythSystem(["sleep", "600"], limits=limits).run().outcome == Breached("idle")
    busy = "for i in 1 2 3 4 5 6 7 8 9 10 11; do echo $i; sleep 0.15; done"
    assert MythSystem.shell(busy, limits=limits).run().outcome == Exited(0)


@pytest.mark.slow
def test_a_frozen_job_is_not_idle(agent: Agent) -> None:
    agent.start(2, ["sleep", "600"], idle_s=1.5)
    agent.wait_for("started", 2)
    freeze = {"type": "freeze", "job": 2, "n": 1, "holder": "user", "on": True}
    # Neither do limits that are sent again meanwhile, as on every new connection.
    agent.send(freeze, {"type": "limits", "job": 2, "n": 1, "idle_s": 1.5})
    agent.run(3, ["sleep", "1.8"])
    assert not [each for each in agent.received if each["type"] == "ended" and each["job"] == 2]
    agent.send({**freeze, "on": False})
    assert agent.wait_ended(2)["outcome"] == {"kind": "breached", "limit": "idle"}


@pytest.mark.slow
def test_repeated_or_changed_limits_do_not_reset_the_idle_time(agent: Agent) -> None:
    agent.start(40, ["sleep", "600"], idle_s=0.5)
    agent.wait_for("started", 40)
    for job, grace_s in ((41, 10.0), (42, 5.0), (43, 5.0), (44, 4.0)):
        agent.run(job, ["sleep", "0.3"])
        agent.send({"type": "limits", "job": 40, "n": 1, "idle_s": 0.5, "grace_s": grace_s})
    agent.run(45, ["true"])
    [end] = [each for each in agent.received if each["type"] == "ended" and each["job"] == 40]
    assert end["outcome"] == {"kind": "breached", "limit": "idle"}


@pytest.mark.parametrize("contain", [False, True])
def test_wall_limit_is_enforced_without_a_free_descriptor(agent: Agent, contain: bool) -> None:
    job = 46 + contain
    # Its child is in another session and ignores SIGTERM.
    text = "trap '' TERM; setsid sleep 600 & sleep 600"
    agent.start(job, sh(text), wall_s=0.4, grace_s=0.2, contain=contain)
    agent.wait_for("started", job)
    reaper = agent.hello["pid"]
    used = {int(name) for name in os.listdir(f"/proc/{reaper}/fd")}
    free = next(number for number in range(len(used) + 1) if number not in used)
    soft, hard = resource.prlimit(reaper, resource.RLIMIT_NOFILE)
    resource.prlimit(reaper, resource.RLIMIT_NOFILE, (free, hard))
    try:
        end = agent.wait_ended(job)
        assert end["outcome"] == {"kind": "breached", "limit": "wall"}
        assert "left" not in end
    finally:
        resource.prlimit(reaper, resource.RLIMIT_NOFILE, (soft, hard))


def test_a_fork_bomb_is_killed_completely() -> None:
    if not can_start(Limits(processes=30)):
        pytest.skip("no pids controller is writable")
    bomb = "f() { f | f & }; f; wait; sleep 600"
    process = MythSystem.shell(bomb, limits=Limits(processes=30, grace_s=0.2)).start()
    assert process.wait() == Breached("processes")


def test_memory_is_limited() -> None:
    if not can_start(Limits(memory_bytes=2**30)):
        pytest.skip("no memory controller is writable")
    limits = Limits(memory_bytes=32 * 2**20, grace_s=0.2)
    hog = ["python3", "-c", "x = bytearray(200 * 2**20); input()"]
    assert MythSystem(hog, stdin=PIPE, limits=limits).start().wait() == Breached("memory")


def test_a_memory_limit_too_small_for_any_program_is_named() -> None:
    if not can_start(Limits(memory_bytes=2**30)):
        pytest.skip("no memory controller is writable")
    outcome = MythSystem(["true"], limits=Limits(memory_bytes=1)).run().outcome
    # Kernels differ in what they charge to a cgroup before exec.
    if outcome != Breached("memory"):
        assert isinstance(outcome, NotStarted)
        assert outcome.sentence.endswith("as happens if the limit on memory is too small")


def test_an_unenforceable_limit_is_rejected_or_reported() -> None:
    script = (
        "from mythjobs.process.supervise import limits as supervise_limits\n"
        "supervise_limits.open_cgroup_pool = lambda: None\n"
        "from mythjobs.process import *\n"
        "limits = Limits(processes=3, grace_s=0.2)\n"
        "print(MythSystem(['true'], limits=limits).run().outcome)\n"
        "done = MythSystem(['true'], limits=limits, best_effort=True).run()\n"
        "print(done.outcome, done.unenforced)\n"
        "text = 'sleep 60 & sleep 60 & sleep 60 & wait'\n"
        "print(MythSystem.shell(text, limits=limits, best_effort=True).run().outcome)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    first, second, third = result.stdout.splitlines()
    sentence = "the limit processes cannot be enforced here"
    assert first.startswith("NotStarted(errno=0")
    assert second.startswith("Exited(code=0)")
    assert sentence in first
    assert sentence in second
    assert third == "Breached(limit='processes')"


def test_limits_of_a_running_tree_can_be_changed() -> None:
    process = MythSystem.shell(BURN).start()
    assert process.pid
    process.limit(Limits(cpu_s=0.1, grace_s=1))
    assert process.wait() == Breached("cpu")


@pytest.mark.parametrize("leave_daemons", [False, True])
def test_rlimit_cpu_follows_changes_of_the_cpu_limit(leave_daemons: bool) -> None:
    text = "sleep 600 & echo; wait"
    wanted = MythSystem.shell(
        text, stdout=PIPE, leave_daemons=leave_daemons, limits=Limits(cpu_s=100, grace_s=0)
    )
    with wanted.start() as process:
        assert next(iter(process.stdout)) == b"\n"

        def cpu_rlimits() -> set[tuple[int, int]]:
            pids = process.pids()
            assert len(pids) == 2
            return {resource.prlimit(pid, resource.RLIMIT_CPU) for pid in pids}

        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        process.limit(Limits(cpu_s=50))
        assert cpu_rlimits() == {(52, hard)}
        process.limit(Limits(cpu_s=200))
        assert cpu_rlimits() == {(202, hard)}
        process.limit(Limits())
        assert cpu_rlimits() == {(hard, hard)}
        # A limit that a process set itself is kept.
        resource.prlimit(process.pids()[1], resource.RLIMIT_CPU, (7, hard))
        process.limit(Limits(cpu_s=50))
        assert cpu_rlimits() == {(52, hard), (7, hard)}
        process.limit(Limits())
        assert cpu_rlimits() == {(hard, hard), (7, hard)}
        process.kill()


def test_a_limit_set_after_the_start_is_checked_without_a_cgroup() -> None:
    text = "sleep 600 & sleep 600 & sleep 600 & wait"
    process = MythSystem.shell(text).start()
    process.limit(Limits(processes=2, grace_s=0))
    assert process.unenforced == (
        "the limit processes cannot be enforced here: it was started without a cgroup",
    )
    assert process.wait(60) == Breached("processes")


def test_a_wall_limit_may_be_months_away(agent: Agent) -> None:
    # epoll_wait(2) waits for at most 24 days.
    process = MythSystem(["sleep", "0.1"], limits=Limits(wall_s=40 * 86_400)).start()
    assert process.wait(60) == Exited(0)
    end = agent.run(6, ["sleep", "0.1"], wall_s=40 * 86_400)
    assert end["outcome"] == {"kind": "exited", "code": 0}


def test_priorities_and_rlimits_are_set_before_exec() -> None:
    text = "nice; ionice -p $$; umask; ulimit -n; ulimit -Hn"
    rlimits = {resource.RLIMIT_NOFILE: (100, 200)}
    done = MythSystem.shell(text, nice=7, io="idle", umask=0o27, rlimits=rlimits).run()
    assert done.stdout.text().split() == ["7", "idle", "0027", "100", "200"]


@pytest.mark.slow
@pytest.mark.parametrize("contain", [False, True])
def test_jobs_never_see_the_reapers_own_limit_of_open_files(home: Home, contain: bool) -> None:
    # Seen: the reaper raised its limit and lowered that of a job after exec, so that a program
    # that was fast enough read the raised one.
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, hard))
    try:
        directory = home.launch()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    agent = Agent(directory)
    agent.send(*(start(job, ["sleep", "600"]) for job in range(1, 101)))
    jobs = range(1001, 1301)
    command = ["grep", "open files", "/proc/self/limits"]
    agent.send(*(start(job, command, contain=contain) for job in jobs))
    seen = {home.read_output(agent.wait_ended(job)).split()[3] for job in jobs}
    assert seen == {b"400"}
    # It did raise its own, for the 100 that run.
    assert resource.prlimit(agent.hello["pid"], resource.RLIMIT_NOFILE) == (hard, hard)
    agent.stop_reaper()


def test_a_reaper_with_few_jobs_keeps_its_limit_of_open_files(agent: Agent) -> None:
    # Lowering that of jobs needs the stub, which costs each start a millisecond.
    agent.run(50, ["true"])
    limit = resource.prlimit(agent.hello["pid"], resource.RLIMIT_NOFILE)
    assert limit == resource.getrlimit(resource.RLIMIT_NOFILE)


def test_the_cpu_limit_of_each_process_holds_from_the_first_instruction() -> None:
    limits = Limits(cpu_s=40)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    own = {resource.RLIMIT_CPU: (7, hard)}
    command = ["grep", "cpu time", "/proc/self/limits"]
    for rlimits, expected in ((None, "42"), (own, "7")):
        done = MythSystem(command, limits=limits, rlimits=rlimits).run()
        assert done.stdout.text().split()[3] == expected


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_program_can_run_as_another_user() -> None:
    done = MythSystem(["id", "-un"], user="nobody").run()
    assert done.stdout.text() == "nobody\n"
    with pytest.raises(ValueError, match="does not exist on this machine"):
        MythSystem(["id"], user="nobody-of-that-name")


def test_exec_errors_through_the_stub_equal_those_without(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("echo\n")
    commands = [["/no/such"], ["nosuch"], [str(plain)], ["true", "x" * 131_072]]
    straight = [MythSystem(argv).run().outcome for argv in commands]
    nice = [MythSystem(argv, nice=1).run().outcome for argv in commands]
    assert straight == nice
    outcome = MythSystem(["true"], rlimits={resource.RLIMIT_CPU: (10, 5)}).run().outcome
    assert isinstance(outcome, NotStarted)
    assert outcome.sentence.startswith("setting resource limits: ")


def test_jobs_run_with_their_priority(agent: Agent, shared_home: object) -> None:
    end = agent.run(4, sh("[ $(nice) = 5 ] && ionice -p $$ | grep -q 'best-effort: prio 7'"),
                    nice=5, io="best-effort:7")  # fmt: skip
    assert end["outcome"] == {"kind": "exited", "code": 0}


def test_a_contained_job_leaves_no_process_in_a_new_session_behind(
    agent: Agent, tmp_path: Path
) -> None:
    leash = tmp_path / "leash"
    os.mkfifo(leash)
    end = os.open(leash, os.O_RDONLY | os.O_NONBLOCK)
    hiding = f"exec 3<>{leash}; (env -i setsid sh -c 'trap \"\" TERM HUP; sleep 600' &); exit 3"
    assert agent.run(5, sh(hiding), contain=True)["outcome"] == {"kind": "exited", "code": 3}
    os.set_blocking(end, True)
    with open(end, "rb") as file:
        file.read()


def test_usage_of_a_contained_tree_is_exact(tmp_path: Path) -> None:
    if not can_contain():
        pytest.skip("no cgroup is writable")
    burner = 'i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; echo >"$1"'
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    text = f'(setsid sh -c \'{burner}\' sh "$1" &); read done <"$1"'
    done = MythSystem.shell(text, str(fifo), contain=True).run()
    assert done.usage.exact
    assert done.usage.cpu_s >= 0.1


def test_survivors_of_a_leader_that_could_not_fork_are_killed() -> None:
    # The shell exits at the limit (code 2) before the breach is read.
    text = "for i in 1 2 3 4 5 6 7 8 9; do sleep 600 & done; wait"
    limits = Limits(processes=5, grace_s=600)
    done = MythSystem.shell(text, limits=limits, best_effort=True).run()
    assert done.outcome == Breached("processes")
