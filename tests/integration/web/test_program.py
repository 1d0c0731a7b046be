"""The master program as a process: start, signals, exit codes, files left behind."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from mythjobs.config import locks
from mythjobs.config.state import open_state, read_master_info
from tests.support.parent_death import bind_to_parent

WAIT_S = 60.0
PROGRAM = """
import sys
from mythjobs.config.state import open_state
from mythjobs.errors import MythJobsError
from mythjobs.web.server.program import run_master
root, port, local = sys.argv[1:]
try:
    code = run_master(open_state(root), port=int(port), jobs=1, local_agent=local == "local",
                      stop_jobs=False, ready=lambda text: print(text, flush=True))
except MythJobsError as error:
    print(error.sentence, flush=True)
    code = error.exit_code
sys.exit(code)
"""


@contextmanager
def master(
    root: Path, port: int = 0, *, local: bool = False, before: str = ""
) -> Iterator[subprocess.Popen[str]]:
    command = bind_to_parent(
        sys.executable, "-c", before + PROGRAM, root, str(port), "local" if local else "alone"
    )
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3] / "src")}
    process = subprocess.Popen(command, env=env, text=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout:
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], WAIT_S)
    assert ready, "the master printed nothing"
    return process.stdout.readline().strip()


def end(process: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    process.send_signal(number)
    return process.wait(WAIT_S)


def until(is_so: Callable[[], bool]) -> None:
    """Poll until another process has done something that it does not announce."""
    last = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < last
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_master_prints_its_address_and_removes_its_files_on_exit(
    tmp_path: Path, number: int
) -> None:
    state = open_state(tmp_path / "state")
    with master(state.root) as process:
        address = first_line(process)
        info = read_master_info(state)
        assert info is not None
        assert (info.pid, info.address) == (process.pid, address)
        assert os.stat(info.socket).st_mode & 0o777 == 0o600
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.connect(info.socket)
            sock.sendall(b"GET /api/v1/status HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in sock.recv(100)
            # An open connection does not delay the exit.
            assert end(process, number) == 0
    assert read_master_info(state) is None
    assert not os.path.exists(info.socket)


@pytest.mark.slow
@pytest.mark.parametrize(
    "endless",
    [
        "tx.cursor.execute('WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) '"
        "'SELECT max(i) FROM n').fetchall()",
        "threading.Event().wait()",
    ],
    ids=["statement", "computation"],
)
def test_a_master_stops_while_a_long_read_runs(tmp_path: Path, endless: str) -> None:
    # Seen: after SIGTERM the master lived on until a check of 300,000 jobs had ended.
    state, begun = open_state(tmp_path / "state"), tmp_path / "begun"
    before = (
        "import pathlib, threading\nfrom mythjobs.web.routes import maintenance\n"
        f"def check(tx):\n    pathlib.Path({str(begun)!r}).touch()\n    {endless}\n"
        "maintenance.check_store = check\n"
    )
    with master(state.root, before=before) as process:
        first_line(process)
        info = read_master_info(state)
        assert info is not None
        with closing(socket.socket(socket.AF_UNIX)) as sock:
            sock.connect(info.socket)
            sock.sendall(b"GET /api/v1/check HTTP/1.1\r\nHost: localhost\r\n\r\n")
            until(begun.exists)
            assert end(process) == 0
    assert read_master_info(state) is None


@pytest.mark.slow
def test_a_second_master_and_a_used_port_are_rejected(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    with master(state.root) as first:
        port = first_line(first).rpartition(":")[2]
        with master(state.root) as second:
            sentence = first_line(second)
            assert second.wait(WAIT_S) == 75
            assert f"pid {first.pid}" in sentence
        other = tmp_path / "other"
        with master(other, int(port)) as second:
            sentence = first_line(second)
            assert second.wait(WAIT_S) == 75
            assert f"port {port} is in use" in sentence
            assert "--port" in sentence
        # The first master is unaffected.
        info = read_master_info(state)
        assert info is not None
        assert os.path.exists(info.socket)


@pytest.mark.slow
def test_files_of_a_killed_master_do_not_block_the_next(tmp_path: Path) -> None:
    state = open_state(tmp_path / "state")
    with master(state.root) as process:
        first_line(process)
    assert read_master_info(state) is not None  # a killed master leaves its files
    with master(state.root) as process:
        first_line(process)
        info = read_master_info(state)
        assert info is not None
        assert info.pid == process.pid
        assert end(process) == 0


@pytest.mark.slow
def test_the_local_agent_is_restarted_and_reused_by_the_next_master(
    tmp_path: Path,
) -> None:
    state = open_state(tmp_path / "state")

    def agent() -> int:
        """Return the pid of the running agent, 0 for none."""
        if not state.agent.lock.exists():
            return 0
        lock = locks.try_acquire(state.agent.lock)
        if lock is not None:
            lock.close()
            return 0
        return locks.read_holder_pid(state.agent.lock) or 0

    with master(state.root, local=True) as process:
        first_line(process)
        until(lambda: agent() not in (0, os.getpid()))
        first = agent()
        os.kill(first, signal.SIGKILL)
        until(lambda: agent() not in (0, first, os.getpid()))
        second = agent()
    # That master was killed. Its agent still runs, and the next master reuses it.
    assert agent() == second
    with master(state.root, local=True) as process:
        first_line(process)
        until(lambda: _connected(state.root))
        assert agent() == second
        assert end(process) == 0
    assert agent() == 0


def _connected(root: Path) -> bool:
    info = read_master_info(open_state(root))
    assert info is not None
    with closing(socket.socket(socket.AF_UNIX)) as sock:
        sock.connect(info.socket)
        sock.sendall(
            b"GET /api/v1/machines HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        )
        answer = b""
        while data := sock.recv(65536):
            answer += data
    machines = json.loads(answer.partition(b"\r\n\r\n")[2])["machines"]
    return [each["state"] for each in machines] == ["up"]


FAILING = """
import asyncio
from mythjobs.errors import StoreFailed
from mythjobs.master.service import Master
start = Master.start
def failing(self):
    start(self)
    asyncio.get_running_loop().call_later(0.2, self._fail, {error})
Master.start = failing
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "error, code", [("StoreFailed('the disk is full')", 74), ("ZeroDivisionError('a bug')", 70)]
)
def test_a_failure_of_the_core_ends_the_program(tmp_path: Path, error: str, code: int) -> None:
    state = open_state(tmp_path / "state")
    with master(state.root, before=FAILING.format(error=error)) as process:
        first_line(process)
        assert process.wait(WAIT_S) == code
    # No client is directed to a dead master.
    assert read_master_info(state) is None


@pytest.mark.slow
def test_a_file_that_cannot_be_removed_hides_no_failure(tmp_path: Path) -> None:
    """Observed: on a read-only disk the master ended with an error about its socket, and 73."""
    state = open_state(tmp_path / "state")
    before = FAILING.format(error="StoreFailed('the disk failed')")
    directory = """
from mythjobs.web.server import program
program.write_master_info = lambda state, info: state.master_json.mkdir()
"""
    with master(state.root, before=before + directory) as process:
        first_line(process)
        assert process.stdout is not None
        assert process.stdout.read().strip() == "the disk failed"
        assert process.wait(WAIT_S) == os.EX_IOERR


@pytest.mark.slow
def test_an_invalid_port_is_a_usage_error(tmp_path: Path) -> None:
    with master(tmp_path / "state", 70_000) as process:
        assert "port 70000" in first_line(process)
        assert process.wait(WAIT_S) == 2


def test_a_damaged_store_is_reported_with_the_remedy(tmp_path: Path) -> None:
    with master(tmp_path / "s") as process:
        assert first_line(process).startswith("http://")
        assert end(process, signal.SIGTERM) == 0
    with (tmp_path / "s/store.db").open("r+b") as file:
        file.seek(20_000)
        file.write(b"x" * 40_000)
    with master(tmp_path / "s") as process:
        line = first_line(process)
        assert "store.db is damaged" in line
        assert line.strip().endswith("restore a backup with `mythjobs restore FILE`")
        assert process.wait(WAIT_S) == 74
