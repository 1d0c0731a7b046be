"""The library as a guest in a program: its threads, forks, signals, event loop, and its end."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

import pytest

from mythjobs.process import (
    PIPE,
    Exited,
    Limits,
    MythSystem,
    NotStarted,
    Process,
    Stopped,
)


def run_script(script: str, *args: str) -> subprocess.CompletedProcess[str]:
    head = "from mythjobs.process import *\nimport os, sys, signal, threading, time\n"
    argv = [sys.executable, "-c", head + script, *args]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


@pytest.fixture
def leash(tmp_path: Path) -> tuple[str, int]:
    """A FIFO for children to hold open for writing; its reading end sees the last one go."""
    path = tmp_path / "leash"
    os.mkfifo(path)
    return str(path), os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def gone(leash: int) -> None:
    os.set_blocking(leash, True)
    with open(leash, "rb") as file:
        file.read()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_what_is_left_behind_is_ended(leash: tuple[str, int]) -> None:
    path, end = leash
    script = """
        exec 3<>"$1"
        sleep 600 &
        setsid sleep 600 &
        sh -c 'setsid sh -c "trap \\"\\" TERM HUP; sleep 600; sleep 600" &'
        exit 7
    """
    done = MythSystem.shell(script, path).run()
    assert done.outcome == Exited(7)
    gone(end)


def test_what_was_left_after_a_long_run_is_ended_too(leash: tuple[str, int]) -> None:
    path, end = leash
    # So many processes later that its descendants are looked for in all of /proc.
    script = 'exec 3<>"$1"; for i in $(seq 300); do (:); done; setsid sleep 600 & exit 0'
    assert MythSystem.shell(script, path).run().outcome == Exited(0)
    gone(end)


def test_daemons_may_be_left_if_that_is_asked_for(leash: tuple[str, int]) -> None:
    path, end = leash
    text = 'exec 3<>"$1" >&- 2>&-; (trap "" HUP; read x <&3) & echo $! >"$2"'
    pids = Path(path).parent / "pid"
    done = MythSystem.shell(text, path, str(pids), leave_daemons=True).run()
    assert done.outcome == Exited(0)
    os.kill(int(pids.read_text()), signal.SIGKILL)
    gone(end)


def test_a_stop_can_be_watched() -> None:
    text = "trap '' TERM; echo ready; while :; do sleep 0.05; done"
    process = MythSystem.shell(text, stdout=PIPE).start()
    assert process.stopping is None
    assert next(iter(process.stdout)) == b"ready\n"
    process.stop(grace_s=60, by="me")
    while (stopping := process.stopping) is None:
        os.sched_yield()
    assert 50 < stopping.grace_left_s <= 60
    assert process.pid in stopping.pids
    assert process.kill() == Stopped("me")
    assert process.stopping is None


def test_pause_and_resume_reach_the_whole_tree() -> None:
    text = "sh -c 'while read l; do echo \"$l\"; done' | cat"
    process = MythSystem.shell(text, stdin=PIPE, stdout=PIPE).start()
    process.stdin.write(b"a\n")
    assert next(iter(process.stdout)) == b"a\n"
    process.pause()
    while {state_of(pid) for pid in process.pids()} != {"T"}:
        # A signal is on its way for a moment.
        os.sched_yield()
    process.resume()
    process.stdin.write(b"b\n")
    process.stdin.close()
    assert b"".join(process.stdout) == b"b\n"
    assert process.wait() == Exited(0)


def test_paused_time_does_not_count() -> None:
    process = MythSystem(["cat"], stdin=PIPE, limits=Limits(wall_s=0.5)).start()
    assert process.pid
    process.pause()
    assert process.wait(0.7) is None
    process.resume()
    process.stdin.close()
    assert process.wait() == Exited(0)


def test_usage_can_be_asked_for_at_any_time() -> None:
    process = MythSystem.shell("(echo ready; while :; do :; done) & wait", stdout=PIPE).start()
    assert next(iter(process.stdout)) == b"ready\n"
    while process.usage().cpu_s < 0.05:
        os.sched_yield()
    assert process.usage().peak_bytes > 100_000
    process.kill()
    assert process.usage().cpu_s >= 0.05


def test_children_of_others_are_left_alone() -> None:
    theirs = subprocess.Popen(["sh", "-c", "exit 5"])
    for _ in range(20):
        MythSystem(["true"]).run()
    assert theirs.wait() == 5


def test_handlers_of_others_are_left_alone() -> None:
    heard: list[int] = []

    def hear(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        try:
            while True:
                # As many programs do; a child of ours is reaped by us all the same.
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                break
        except ChildProcessError:
            pass

    before = signal.signal(signal.SIGCHLD, hear)
    try:
        assert MythSystem(["true"]).run().outcome == Exited(0)
        assert signal.getsignal(signal.SIGCHLD) is hear
    finally:
        signal.signal(signal.SIGCHLD, before)


class Woken(Exception):
    pass


def let_go_and_sleep(killer: Process) -> None:
    killer.stdin.write(b"go\n")
    time.sleep(60)


def test_a_signal_still_interrupts_the_program() -> None:
    heard: list[int] = []

    def wake(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        if len(heard) == 1:
            raise Woken

    before = signal.signal(signal.SIGUSR1, wake)
    # More than once: one that comes between a last look and the sleep would be slept through.
    text = 'read go; while kill -USR1 "$1"; do sleep 0.05; done'
    killer = MythSystem.shell(text, str(os.getpid()), stdin=PIPE).start()
    try:
        with pytest.raises(Woken):
            let_go_and_sleep(killer)
    finally:
        killer.kill()
        signal.signal(signal.SIGUSR1, before)


def test_children_have_no_signal_blocked() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        status = MythSystem(["cat", "/proc/self/status"]).run().stdout.text()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    assert "SigBlk:\t0000000000000000" in status


def test_asyncio_waits_without_a_thread() -> None:
    async def story() -> None:
        processes = [MythSystem(["cat"], stdin=PIPE).start() for _ in range(10)]
        waiting = [asyncio.create_task(each.ended()) for each in processes]
        impatient = asyncio.create_task(processes[0].ended())
        await asyncio.sleep(0)
        impatient.cancel()
        for each in processes:
            each.stdin.close()
        assert await asyncio.gather(*waiting) == [Exited(0)] * 10
        assert await processes[0].ended() == Exited(0)
        none = await MythSystem(["/no/such"]).start().ended()
        assert isinstance(none, NotStarted)

    asyncio.run(story())


def test_whoever_is_interrupted_in_run_ends_the_program(leash: tuple[str, int]) -> None:
    path, end = leash
    heard: list[int] = []

    def wake(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        if len(heard) == 1:
            raise Woken

    before = signal.signal(signal.SIGUSR1, wake)
    # More than once, as above: Python may be about to wait for its lock.
    text = 'exec 3<>"$2"; while kill -USR1 "$1"; do sleep 0.05; done'
    try:
        with pytest.raises(Woken):
            MythSystem.shell(text, str(os.getpid()), path).run()
        gone(end)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_a_program_of_the_terminal_stays_in_our_session() -> None:
    text = "ps -o sid= -p $$; (sleep 600 >&- 2>&- & ) ; exit 3"
    done = MythSystem.shell(text, session=False).run()
    assert done.outcome == Exited(3)
    assert int(done.stdout.text()) == os.getsid(0)
    process = MythSystem.shell("sleep 600 & wait", session=False).start()
    assert process.pid
    assert process.terminate() == Stopped("user")


def test_many_threads_start_and_wait() -> None:
    said: list[str] = []

    def work(i: int) -> None:
        for n in range(10):
            said.append(MythSystem(["echo", f"{i}.{n}"]).run().stdout.text().strip())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said) == sorted(f"{i}.{n}" for i in range(20) for n in range(10))


def test_a_fork_has_a_keeper_of_its_own() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    assert process.pid
    child = os.fork()
    if child == 0:
        code = 1
        try:
            ours = MythSystem(["echo", "fork"]).run().stdout.text() == "fork\n"
            try:
                process.wait(0)
            except ValueError:
                code = 0 if ours else 2
        finally:
            os._exit(code)
    # The fork holds no end of its pipe: it comes to its end although the fork may live on.
    process.stdin.close()
    assert process.wait() == Exited(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_one_that_was_dropped_is_reaped() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    pid = process.pid
    assert pid
    fd = os.pidfd_open(pid)
    # Dropping it closes its input, and so ends it.
    del process
    limit_s = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < limit_s
        os.sched_yield()
    os.close(fd)


def test_the_end_of_the_program_ends_its_children(leash: tuple[str, int]) -> None:
    path, end = leash
    script = (
        "process = MythSystem.shell('exec 3<>\"$1\"; echo ready; sleep 600', sys.argv[1],"
        " stdout=PIPE).start()\n"
        "next(iter(process.stdout))\n"
    )
    said = run_script(script, path)
    assert said.returncode == 0, said.stderr
    gone(end)


def test_or_leaves_them_by_choice(leash: tuple[str, int]) -> None:
    path, end = leash
    script = (
        "process = MythSystem.shell('exec 3<>\"$1\"; exec sleep 600', sys.argv[1],"
        " at_exit='leave').start()\n"
        "print(process.pid)\n"
    )
    said = run_script(script, path)
    assert said.returncode == 0, said.stderr
    os.kill(int(said.stdout), signal.SIGKILL)
    gone(end)


def test_orphans_are_adopted_and_reaped_when_asked() -> None:
    script = (
        "MythSystem.adopt_orphans()\n"
        "import subprocess\n"
        "theirs = subprocess.Popen(['true'])\n"
        "text = '(sh -c \"exit 3\" &); setsid sleep 600 & (sleep 600 &); exit 0'\n"
        "MythSystem.shell(text).run()\n"
        "assert theirs.wait() == 0\n"
        "for _ in range(100):\n"
        "    MythSystem(['true']).run()\n"
        "    try: os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)\n"
        "    except ChildProcessError: print('none'); break\n"
    )
    said = run_script(script)
    assert said.returncode == 0, said.stderr
    assert said.stdout == "none\n"


def test_it_works_with_stdin_stdout_and_stderr_closed(tmp_path: Path) -> None:
    script = (
        "os.close(0); os.close(1); os.close(2)\n"
        "done = MythSystem.shell('cat; echo out; echo err >&2', stdin=b'in\\n').run()\n"
        "said = (done.stdout.text(), done.stderr.text())\n"
        "open(sys.argv[1], 'w').write(repr(said))\n"
    )
    run_script(script, str(tmp_path / "said"))
    assert (tmp_path / "said").read_text() == "('in\\nout\\n', 'err\\n')"


def test_without_descriptors_it_is_an_outcome_and_heals() -> None:
    script = (
        "import resource\n"
        "MythSystem(['true']).run()\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "used = len(os.listdir('/proc/self/fd'))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (used, hard))\n"
        "print(MythSystem(['true']).run().outcome)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
        "print(MythSystem(['true']).run().outcome)\n"
    )
    said = run_script(script).stdout.splitlines()
    assert said[0].startswith("NotStarted(errno=24")
    assert said[1] == "Exited(code=0)"


def test_the_package_imports_with_the_standard_library_alone() -> None:
    source = Path(__file__).parents[3] / "src"
    code = f"import sys; sys.path.insert(0, {str(source)!r}); import mythjobs.process"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: MythSystem([]),
        lambda: MythSystem([""]),
        lambda: MythSystem("ls -l"),
        lambda: MythSystem(["a\0b"]),
        lambda: MythSystem(["a"], env={"A=B": "c"}),
        lambda: MythSystem(["a"], cwd="a\0b"),
        lambda: MythSystem(["a"], limits=Limits(wall_s=-1)),
        lambda: MythSystem(["a"], limits=Limits(cpu_s=float("inf"))),
        lambda: MythSystem(["a"], stdout=PIPE).run(),
        lambda: MythSystem(["true"]).start().stdin,
    ],
)
def test_only_misuse_raises(wrong: object) -> None:
    with pytest.raises(ValueError):
        wrong()  # type: ignore[operator]
