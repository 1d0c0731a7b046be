"""Processes of the peers: their ends, their CPU time, and that none is left."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import peer_base
import peer_clusters
import processes
import support

ROOT = Path(__file__).resolve().parents[3]
BENCH = ROOT / "bench"
needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


def run_python(code: str) -> str:
    """Run code in an interpreter of its own: the pytest process adopts no orphans."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(BENCH)},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_orphans_are_found_and_killed() -> None:
    code = """if True:
        import os, subprocess, processes
        processes.adopt_orphans()
        # The shell exits, and its child becomes an orphan of this process.
        child = int(subprocess.check_output(["sh", "-c", "sleep 1000 >&- & echo $!"]))
        assert list(processes.find_descendants(os.getpid())) == [child]
        processes.kill_descendants()
        assert not processes.find_descendants(os.getpid())
        print("ended")
    """
    assert run_python(code) == "ended\n"


@pytest.mark.slow
def test_only_exited_orphans_are_reaped() -> None:
    code = """if True:
        import os, subprocess, processes
        processes.adopt_orphans()
        waiting = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
        exited = subprocess.Popen(["true"])
        os.waitid(os.P_PID, exited.pid, os.WEXITED | os.WNOWAIT)
        # The shell exits before its child, whose input ends afterwards.
        read_end, write_end = os.pipe()
        shell = ["sh", "-c", f"cat <&{read_end} >/dev/null & echo $!"]
        orphan = int(subprocess.check_output(shell, pass_fds=[read_end]))
        os.close(write_end)
        os.waitid(os.P_PID, orphan, os.WEXITED | os.WNOWAIT)
        reaped = [processes.reap_orphans({waiting.pid, exited.pid}) for _ in range(2)]
        waiting.communicate()
        print(reaped, exited.wait())
    """
    assert run_python(code) == "[1, 0] 0\n"


@pytest.mark.slow
def test_the_cpu_time_of_jobs_and_of_clients_does_not_count() -> None:
    code = """if True:
        import os, subprocess, sys, peer_base
        spin = "import time\\nwhile time.process_time() < 0.2: pass"
        class Running(peer_base.RunningPeer):
            def run(self, jobs): return 0.0
        def measure(has_helpers, clients, job_cpu_us):
            running = Running()
            running.has_helpers, running.clients = has_helpers, clients
            meter = peer_base.CpuMeter(running)
            subprocess.run([sys.executable, "-I", "-S", "-c", spin])
            return meter.read_us_per_job(1, job_cpu_us)
        # A child that has been waited for counts only as a helper, less the time of the job.
        assert measure(False, frozenset(), 0) == 0
        assert 190_000 < measure(True, frozenset(), 0) < 2_000_000
        assert measure(True, frozenset(), 2_000_000) < 0
        live = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", spin + "\\nprint()\\ninput()"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        live.stdout.readline()
        for clients, is_counted in ((frozenset(), True), (frozenset({live.pid}), False)):
            running = Running()
            running.clients = clients
            meter = peer_base.CpuMeter(running)
            meter._before_s = 0.0
            assert (meter.read_us_per_job(1, 0) >= 190_000) is is_counted
        live.communicate(b"\\n")
        print("measured")
    """
    assert run_python(code) == "measured\n"


def test_ends_are_counted_and_a_second_run_of_a_job_is_refused(tmp_path: Path) -> None:
    with peer_base.Programs(tmp_path) as programs:
        ends = peer_base.EndPipe(programs)
        program = programs.start(
            ["sh", "-c", "echo ready; read line; printf ...; printf ..; cat"],
            stdin=subprocess.PIPE,
            stdout=ends.write_end,
        )
        ends.wait_ready(1)
        peer_base.write_line(program.stdin, 5)
        ends.wait(5)
        os.write(ends.write_end, b"..")
        with pytest.raises(support.BenchError, match="1 jobs ran more than once"):
            ends.wait(1)
        ends.close()


@pytest.mark.slow
def test_the_log_of_a_program_that_has_exited_is_shown(tmp_path: Path) -> None:
    with peer_base.Programs(tmp_path) as programs:
        ends = peer_base.EndPipe(programs)
        failing = programs.start(["sh", "-c", "echo the reason >&2; exit 3"])
        failing.wait()
        with pytest.raises(support.BenchError, match=r"sh exited with 3.*\n.*the reason"):
            ends.wait(1)
        with pytest.raises(support.BenchError, match="cannot start /nonexistent/program"):
            programs.start(["/nonexistent/program"])
        ends.close()


def test_a_failed_job_of_slurm_is_noticed(tmp_path: Path) -> None:
    line = "JobId={} UserId=root(0) Name=job.sh JobState={} Partition=bench ExitCode=0:0\n"
    place = peer_base.Place(tmp_path, Path(sys.executable), 8)
    with peer_base.Programs(tmp_path) as programs:
        running = peer_clusters.SlurmRun(place, {}, programs)
        ended = tmp_path / "ended"
        ended.write_text(line.format(1, "COMPLETED") + line.format(2, "COMPLETED"))
        assert running.count_ended(0, ended.stat().st_size) == 2
        start = len(line.format(1, "COMPLETED"))
        assert running.count_ended(start, ended.stat().st_size) == 1
        ended.write_text(line.format(1, "FAILED"))
        with pytest.raises(support.BenchError, match="JobState=FAILED"):
            running.count_ended(0, ended.stat().st_size)


@pytest.mark.slow
@needs_compiler
def test_the_program_measures_what_is_installed_and_skips_the_rest() -> None:
    options = ["--jobs", "100", "--rounds", "1", "--python", "/nonexistent/python", "--json"]
    done = subprocess.run(
        [sys.executable, BENCH / "peers.py", "--only", "mythjobs", "huey", *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    plain = result["peers"][0]
    assert (plain["name"], plain["jobs"]) == ("mythjobs", 100)
    assert plain["jobs_per_s"] > 0
    assert plain["cpu_us_per_job"] > 0
    assert "pip install huey" in result["skipped"]["huey SQLite"]


@pytest.mark.slow
@needs_compiler
def test_nothing_is_left_after_ctrl_c() -> None:
    running = subprocess.Popen(
        [sys.executable, BENCH / "peers.py", "--only", "mythjobs", "--rounds", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        # mythjobs runs once master, agent and reaper do, whose command lines name the state
        # directory.
        while len(pids := find_running(running.pid, "/state-")) < 3:
            with pytest.raises(subprocess.TimeoutExpired):
                running.wait(0.02)
        fds = [os.pidfd_open(pid) for pid in pids]
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=60)
        assert running.returncode == 130, errors
    finally:
        # A benchmark that ignored the signal would run for hours.
        if running.poll() is None:
            for pid in [*processes.find_descendants(running.pid), running.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            running.wait()
    for fd in fds:
        with pytest.raises(ProcessLookupError):
            signal.pidfd_send_signal(fd, 0)
        os.close(fd)


def find_running(root: int, name: str) -> list[int]:
    """Return the running descendants with this text in their command line."""
    found = []
    for pid, state in processes.find_descendants(root).items():
        try:
            if state != "Z" and name in Path(f"/proc/{pid}/cmdline").read_text():
                found.append(pid)
        except OSError:
            continue
    return found
