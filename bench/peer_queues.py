"""Peers that are queues with workers: beanstalkd, huey, pgqueuer."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import peer_base
import support
from peer_base import EndPipe, Peer, Place, Programs, RunningPeer

sys.path.append(str(support.ROOT))  # the tests start PostgreSQL as this benchmark does

from tests.support import postgres

BATCH: Final = 100
ARGV: Final = json.dumps(["/bin/true"]).encode()


class SubmitterPeer(RunningPeer):
    """Peer whose submitting program reads numbers of jobs, and whose workers report each end."""

    def __init__(self, submitter: subprocess.Popen[bytes], ends: EndPipe) -> None:
        self._submitter, self._ends = submitter, ends
        self.clients = frozenset({submitter.pid})

    def run(self, jobs: int) -> float:
        start_s = time.monotonic()
        peer_base.write_line(self._submitter.stdin, jobs)
        self._ends.wait(jobs)
        return time.monotonic() - start_s


class BeanstalkdRun(RunningPeer):
    """Running beanstalkd; this process submits, 100 jobs in one message as mythjobs gets them."""

    def __init__(self, path: Path, ends: EndPipe) -> None:
        self._ends = ends
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._answers = self._socket.makefile("rb")

    def close(self) -> None:
        self._answers.close()
        self._socket.close()

    def run(self, jobs: int) -> float:
        # Priority, delay and time to run (s): a job whose worker has died is ready after that.
        put = b"put 0 0 60 %d\r\n%s\r\n" % (len(ARGV), ARGV)
        start_s = time.monotonic()
        for start in range(0, jobs, BATCH):
            size = min(BATCH, jobs - start)
            self._socket.sendall(put * size)
            for _ in range(size):
                if not (answer := self._answers.readline()).startswith(b"INSERTED"):
                    raise support.BenchError(f"beanstalkd answered {answer!r} to put")
        self._ends.wait(jobs)
        return time.monotonic() - start_s


class Beanstalkd(Peer):
    """beanstalkd with one worker process for each job in flight."""

    name = "beanstalkd"

    def __init__(self, options: Sequence[str], durability: str) -> None:
        self._options = options
        self.setting = " ".join(options) or "default"
        self.durability = durability

    def find_missing(self, python: Path) -> str | None:
        return peer_base.find_missing_program("beanstalkd", "beanstalkd")

    def read_version(self, python: Path) -> str:
        return peer_base.read_output(["beanstalkd", "-v"]).removeprefix("beanstalkd ")

    @contextmanager
    def start(self, place: Place) -> Iterator[RunningPeer]:
        path = place.directory / "socket"
        (log := place.directory / "wal").mkdir()
        options = [str(log) if each == "DIR" else each for each in self._options]
        with Programs(place.directory) as programs:
            ends = EndPipe(programs)
            programs.start(["beanstalkd", "-l", f"unix:{path}", *options])
            programs.wait_for(path)
            program = peer_base.PROGRAMS / "beanstalkd_worker.py"
            worker: list[str | Path] = [sys.executable, "-I", program, path]
            for _ in range(place.in_flight):
                programs.start(worker, stdout=ends.write_end)
            ends.wait_ready(place.in_flight)
            running = BeanstalkdRun(path, ends)
            try:
                yield running
            finally:
                running.close()
                ends.close()


def find_missing_postgres() -> str | None:
    if postgres.find_binaries() is None:
        return "initdb not found; install the Debian package postgresql"
    return None


@contextmanager
def run_postgres(directory: Path) -> Iterator[str]:
    """Run a PostgreSQL server that syncs each commit; yield the URL of a database."""
    binaries = postgres.find_binaries()
    if binaries is None:
        raise support.BenchError(str(find_missing_postgres()))
    settings = ("fsync=on", "full_page_writes=on", "autovacuum=on", "shared_buffers=128MB")
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root, and its user must get there
        for each in (directory, *directory.parents):
            if each.is_relative_to(support.ROOT / ".venv"):
                each.chmod(each.stat().st_mode | 0o011)
    with ExitStack() as stack:
        try:
            server = stack.enter_context(postgres.run_server(binaries, *settings, parent=directory))
            url = server.create_database()
        except AssertionError as error:
            raise support.BenchError(f"cannot start PostgreSQL: {error}") from error
        yield url


class Huey(Peer):
    """huey with SQLite and one worker process for each job in flight."""

    name = "huey"
    setting = "SQLite"
    durability = "waiting jobs: power cut (WAL, synchronous = FULL); running ones are lost"

    def find_missing(self, python: Path) -> str | None:
        return peer_base.find_missing_module(python, "huey", "huey")

    def read_version(self, python: Path) -> str:
        return peer_base.read_module_version(python, "huey")

    @contextmanager
    def start(self, place: Place) -> Iterator[RunningPeer]:
        env = {
            "HUEY_DATABASE": str(place.directory / "huey.db"),
            "PYTHONPATH": str(peer_base.PROGRAMS),
        }
        consumer: list[str | Path] = [
            *(place.python, "-m", "huey.bin.huey_consumer", "huey_tasks.huey"),
            *("--workers", str(place.in_flight), "--worker-type", "process", "--quiet"),
            # Idle workers look every 10 ms, so that they start at once.
            *("--delay", "0.01", "--max-delay", "0.01", "--no-periodic"),
        ]
        with Programs(place.directory) as programs:
            ends = EndPipe(programs)
            submitter = programs.start(
                # Not as a script: the consumer knows the task by the name of the module.
                [place.python, "-c", "import huey_tasks; huey_tasks.main()"],
                stdin=subprocess.PIPE,
                stdout=ends.write_end,
                env=env,
            )
            ends.wait_ready(1)
            programs.start(consumer, stdout=ends.write_end, env=env)
            ends.wait_ready(place.in_flight)
            try:
                yield SubmitterPeer(submitter, ends)
            finally:
                ends.close()


class Pgqueuer(Peer):
    """pgqueuer with a PostgreSQL server of its own and one worker process."""

    name = "pgqueuer"
    setting = "PostgreSQL"
    durability = "power cut: fsync and synchronous_commit on; ends within 0.1 s may run again"

    def find_missing(self, python: Path) -> str | None:
        return (
            peer_base.find_missing_module(python, "pgqueuer", "pgqueuer asyncpg")
            or find_missing_postgres()
        )

    def read_version(self, python: Path) -> str:
        return peer_base.read_module_version(python, "pgqueuer")

    @contextmanager
    def start(self, place: Place) -> Iterator[RunningPeer]:
        program = [place.python, peer_base.PROGRAMS / "pgqueuer_jobs.py"]
        with run_postgres(place.directory) as url, Programs(place.directory) as programs:
            peer_base.read_output([*program, "install", url])
            ends = EndPipe(programs)
            programs.start([*program, "worker", url, str(place.in_flight)], stdout=ends.write_end)
            submitter = programs.start(
                [*program, "submit", url], stdin=subprocess.PIPE, stdout=ends.write_end
            )
            ends.wait_ready(2)
            try:
                yield SubmitterPeer(submitter, ends)
            finally:
                ends.close()
