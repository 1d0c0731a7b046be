"""MythSystem in a host program: threads, forks, signals, asyncio, exit."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
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
    """A FIFO for children to hold open for writing; the reading end gets EOF after the last."""
    path = tmp_path / "leash"
    os.mkfifo(path)
    return str(path), os.open(path, os.O_RDONLY | os.O_NONBLOCK)


def wait_all_closed(leash: int) -> None:
    os.set_blocking(leash, True)
    with open(leash, "rb") as file:
        file.read()


def state_of(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]


def test_processes_left_behind_are_ended(leash: tuple[str, int]) -> None:
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
    wait_all_closed(end)


def test_processes_left_behind_by_a_long_run_are_ended(leash: tuple[str, int]) -> None:
    path, end = leash
    # After so many processes, descendants are searched in all of /proc.
    script = 'exec 3<>"$1"; for i in $(seq 300); do (:); done; setsid sleep 600 & exit 0'
    assert MythSystem.shell(script, path).run().outcome == Exited(0)
    wait_all_closed(end)


def test_leave_daemons_keeps_daemons_running(leash: tuple[str, int]) -> None:
    path, end = leash
    text = 'exec 3<>"$1" >&- 2>&-; (trap "" HUP; read x <&3) & echo $! >"$2"'
    pids = Path(path).parent / "pid"
    done = MythSystem.shell(text, path, str(pids), leave_daemons=True).run()
    assert done.outcome == Exited(0)
    os.kill(int(pids.read_text()), signal.SIGKILL)
    wait_all_closed(end)


def test_the_progress_of_a_stop_is_visible() -> None:
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
        # Delivery of a signal takes a moment.
        os.sched_yield()
    process.resume()
    process.stdin.write(b"b\n")
    process.stdin.close()
    assert b"".join(process.stdout) == b"b\n"
    assert process.wait() == Exited(0)


def test_paused_time_does_not_count() -> None:
    process = MythSystem(["cat"], stdin=PIPE, limits=Limits(wall_s=1.5)).start()
    assert process.pid
    process.pause()
    assert process.wait(1.7) is None
    process.resume()
    process.stdin.close()
    assert process.wait() == Exited(0)


def test_usage_is_available_while_running_and_after() -> None:
    process = MythSystem.shell("(echo ready; while :; do :; done) & wait", stdout=PIPE).start()
    assert next(iter(process.stdout)) == b"ready\n"
    while process.usage().cpu_s < 0.05:
        os.sched_yield()
    assert process.usage().peak_bytes > 100_000
    process.kill()
    assert process.usage().cpu_s >= 0.05


def test_children_of_the_host_are_not_reaped() -> None:
    theirs = subprocess.Popen(["sh", "-c", "exit 5"])
    for _ in range(20):
        MythSystem(["true"]).run()
    assert theirs.wait() == 5


def test_signal_handlers_of_the_host_are_kept() -> None:
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        received.append(number)
        try:
            while True:
                # Common in programs; the supervisor reaps its own child nevertheless.
                os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
                break
        except ChildProcessError:
            pass

    before = signal.signal(signal.SIGCHLD, handle)
    try:
        assert MythSystem(["true"]).run().outcome == Exited(0)
        assert signal.getsignal(signal.SIGCHLD) is handle
        # The handler ran, and waited for nothing that the supervisor needs. The kernel may give the
        # signal to another thread of the host, which has to run first.
        deadline_s = time.monotonic() + 60
        while not received and time.monotonic() < deadline_s:
            time.sleep(0.001)
        assert set(received) == {signal.SIGCHLD}
    finally:
        signal.signal(signal.SIGCHLD, before)


class Woken(Exception):
    pass


@contextmanager
def woken_by_signal() -> Iterator[None]:
    """Let the first SIGUSR1 raise Woken, and ignore further ones."""
    received: list[int] = []

    def wake(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if len(received) == 1:
            raise Woken

    before = signal.signal(signal.SIGUSR1, wake)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


def start_signals_and_sleep(killer: Process) -> None:
    killer.stdin.write(b"go\n")
    time.sleep(60)


def test_a_signal_still_interrupts_the_program() -> None:
    # Repeatedly: a signal between the last check and the sleep would not interrupt the sleep.
    text = 'read go; while kill -USR1 "$1"; do sleep 0.05; done'
    with woken_by_signal():
        killer = MythSystem.shell(text, str(os.getpid()), stdin=PIPE).start()
        try:
            with pytest.raises(Woken):
                start_signals_and_sleep(killer)
        finally:
            killer.kill()


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
        cancelled = asyncio.create_task(processes[0].ended())
        await asyncio.sleep(0)
        cancelled.cancel()
        for each in processes:
            each.stdin.close()
        assert await asyncio.gather(*waiting) == [Exited(0)] * 10
        assert await processes[0].ended() == Exited(0)
        none = await MythSystem(["/no/such"]).start().ended()
        assert isinstance(none, NotStarted)

    asyncio.run(story())


def test_an_interrupted_run_ends_the_program(leash: tuple[str, int]) -> None:
    path, end = leash
    # Repeatedly, as above: Python may be about to wait for its lock.
    text = 'exec 3<>"$2"; while kill -USR1 "$1"; do sleep 0.05; done'
    with woken_by_signal():
        with pytest.raises(Woken):
            MythSystem.shell(text, str(os.getpid()), path).run()
        wait_all_closed(end)


def test_without_session_a_program_stays_in_our_session() -> None:
    text = "ps -o sid= -p $$; (sleep 600 >&- 2>&- & ) ; exit 3"
    done = MythSystem.shell(text, session=False).run()
    assert done.outcome == Exited(3)
    assert int(done.stdout.text()) == os.getsid(0)
    process = MythSystem.shell("sleep 600 & wait", session=False).start()
    assert process.pid
    assert process.terminate() == Stopped("user")


def test_many_threads_start_and_wait() -> None:
    outputs: list[str] = []

    def work(i: int) -> None:
        for n in range(10):
            outputs.append(MythSystem(["echo", f"{i}.{n}"]).run().stdout.text().strip())

    threads = [threading.Thread(target=work, args=(i,)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outputs) == sorted(f"{i}.{n}" for i in range(20) for n in range(10))


def test_a_forked_process_has_its_own_supervisor() -> None:
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
    # The forked process holds no end of this pipe, so it reaches EOF while that process lives.
    process.stdin.close()
    assert process.wait() == Exited(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_dropped_process_is_reaped() -> None:
    process = MythSystem(["cat"], stdin=PIPE).start()
    pid = process.pid
    assert pid
    fd = os.pidfd_open(pid)
    # Dropping the handle closes stdin, which ends cat.
    del process
    limit_s = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < limit_s
        os.sched_yield()
    os.close(fd)


def test_exit_of_the_host_ends_its_children(leash: tuple[str, int]) -> None:
    path, end = leash
    script = (
        "process = MythSystem.shell('exec 3<>\"$1\"; echo ready; sleep 600', sys.argv[1],"
        " stdout=PIPE).start()\n"
        "next(iter(process.stdout))\n"
    )
    done = run_script(script, path)
    assert done.returncode == 0, done.stderr
    wait_all_closed(end)


def test_exit_of_the_host_leaves_children_with_at_exit_leave(leash: tuple[str, int]) -> None:
    path, end = leash
    script = (
        "process = MythSystem.shell('exec 3<>\"$1\"; exec sleep 600', sys.argv[1],"
        " at_exit='leave').start()\n"
        "print(process.pid)\n"
    )
    done = run_script(script, path)
    assert done.returncode == 0, done.stderr
    os.kill(int(done.stdout), signal.SIGKILL)
    wait_all_closed(end)


def test_adopt_orphans_reaps_orphans() -> None:
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
    done = run_script(script)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "none\n"


def test_it_works_with_stdin_stdout_and_stderr_closed(tmp_path: Path) -> None:
    script = (
        "os.close(0); os.close(1); os.close(2)\n"
        "done = MythSystem.shell('cat; echo out; echo err >&2', stdin=b'in\\n').run()\n"
        "result = (done.stdout.text(), done.stderr.text())\n"
        "open(sys.argv[1], 'w').write(repr(result))\n"
    )
    run_script(script, str(tmp_path / "result"))
    assert (tmp_path / "result").read_text() == "('in\\nout\\n', 'err\\n')"


def test_running_out_of_descriptors_is_an_outcome_and_temporary() -> None:
    script = (
        "import resource\n"
        "MythSystem(['true']).run()\n"
        "soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "used = max(int(fd) for fd in os.listdir('/proc/self/fd'))\n"
        "while (last := os.open('/dev/null', os.O_RDONLY)) < used: pass\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (last + 1, hard))\n"
        "print(MythSystem(['true']).run().outcome)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
        "print(MythSystem(['true']).run().outcome)\n"
    )
    lines = run_script(script).stdout.splitlines()
    assert lines[0].startswith("NotStarted(errno=24")
    assert lines[1] == "Exited(code=0)"


def test_the_package_imports_with_the_standard_library_alone() -> None:
    source = Path(__file__).parents[3] / "src"
    code = f"import sys; sys.path.insert(0, {str(source)!r}); import mythjobs.process"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
