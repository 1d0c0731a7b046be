"""Base of the peers: what is measured of each, its processes and their CPU time."""

from __future__ import annotations

import os
import resource
import select
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import processes
import support

PROGRAMS: Final = Path(__file__).parent / "peer_programs"
PEERS_PYTHON: Final = support.ROOT / ".venv" / "peers" / "bin" / "python"
START_TIMEOUT_S: Final = 30.0
# A job of /bin/true takes some milliseconds: if none ends for so long, none will.
STALL_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class Place:
    """Where a peer runs. `python` has the packages of the peers."""

    directory: Path
    python: Path
    in_flight: int


class RunningPeer(ABC):
    """A started peer. `clients` are the pids of programs that only submit jobs: their CPU time does
    not count, as that of the benchmark itself does not. `has_helpers`: the peer starts a process of
    its own for each job, whose CPU time is that of all ended processes, less that of the jobs."""

    clients: frozenset[int] = frozenset()
    has_helpers = False

    @abstractmethod
    def run(self, jobs: int) -> float:
        """Run jobs; return the seconds from before the first submit until after the last end."""


class Peer(ABC):
    """One row of the table. `durability`: what survives, and by which setting."""

    name: str
    setting: str = ""
    durability: str

    @property
    def title(self) -> str:
        return f"{self.name} {self.setting}".strip()

    @abstractmethod
    def find_missing(self, python: Path) -> str | None:
        """Return a sentence that says what to install, or None if all is there."""

    @abstractmethod
    @contextmanager
    def start(self, place: Place) -> Iterator[RunningPeer]:
        """Run the peer until the end of the block. Raises BenchError if it does not start."""

    @abstractmethod
    def read_version(self, python: Path) -> str:
        """Return the version that is installed."""


class CpuMeter:
    """CPU time of a peer since the meter was made."""

    def __init__(self, peer: RunningPeer) -> None:
        self._peer = peer
        self._before_s = self._read_s()

    def read_us_per_job(self, jobs: int, job_cpu_us: float) -> float:
        """Return the peer's CPU time per job, without that of the job, in microseconds."""
        used_us = (self._read_s() - self._before_s) * 1e6 / jobs
        return used_us - job_cpu_us if self._peer.has_helpers else used_us

    def _read_s(self) -> float:
        total_s = 0.0
        for pid, state in processes.find_descendants(os.getpid()).items():
            if pid in self._peer.clients or state == "Z":
                continue
            try:
                total_s += processes.read_cpu_s(pid)
                if self._peer.has_helpers:
                    total_s += processes.read_children_cpu_s(pid)
            except OSError:
                continue  # it has exited
        if self._peer.has_helpers:
            ended = resource.getrusage(resource.RUSAGE_CHILDREN)
            total_s += ended.ru_utime + ended.ru_stime
        return total_s


def find_missing_program(program: str, package: str) -> str | None:
    if shutil.which(program) is None:
        return f"{program} not found; install the Debian package {package}"
    return None


def find_missing_module(python: Path, module: str, packages: str) -> str | None:
    if not python.exists():
        return (
            f"Python package {module} not found; run: python3 -m venv .venv/peers && "
            f".venv/peers/bin/pip install {packages}"
        )
    imported = subprocess.run([python, "-c", f"import {module}"], capture_output=True, check=False)
    if imported.returncode:
        return f"Python package {module} not found; run: {python} -m pip install {packages}"
    return None


def read_module_version(python: Path, package: str) -> str:
    code = f"import importlib.metadata as m; print(m.version({package!r}))"
    return read_output([python, "-c", code])


def read_output(argv: Sequence[str | Path]) -> str:
    """Return what a program prints. Raises BenchError if it fails."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except OSError as error:
        raise support.BenchError(f"cannot run {argv[0]}: {error}") from error
    if done.returncode:
        message = (done.stderr or done.stdout).strip()
        raise support.BenchError(f"{argv[0]} exited with {done.returncode}: {message}")
    return (done.stdout or done.stderr).strip()


class Programs:
    """Programs that run until the end of the block; what they print to stderr goes to a log."""

    def __init__(self, directory: Path) -> None:
        self._log = directory / "log"
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Programs:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._running:
            each.terminate()
        for each in reversed(self._running):
            try:
                each.wait(support.STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                each.kill()
                each.wait()
            for pipe in (each.stdin, each.stdout):
                if pipe is not None:
                    pipe.close()

    @property
    def pids(self) -> set[int]:
        return {each.pid for each in self._running}

    def start(
        self,
        argv: Sequence[str | Path],
        *,
        stdout: int = subprocess.DEVNULL,
        stdin: int = subprocess.DEVNULL,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start a program. Raises BenchError if it cannot be started."""
        try:
            with self._log.open("ab") as log:
                started = subprocess.Popen(
                    argv,
                    stdin=stdin,
                    stdout=stdout,
                    stderr=log,
                    bufsize=0,
                    cwd=cwd,
                    env=os.environ | (env or {}),
                    # Ctrl-C interrupts only the benchmark, which stops the programs in order.
                    start_new_session=True,
                )
        except OSError as error:
            raise support.BenchError(f"cannot start {argv[0]}: {error}") from error
        self._running.append(started)
        return started

    def check_running(self) -> None:
        """Raises BenchError with the end of the log if a program has exited."""
        for each in self._running:
            if each.poll() is not None:
                name = Path(str(each.args[0] if isinstance(each.args, list) else each.args)).name
                raise support.BenchError(
                    f"{name} exited with {each.returncode}; the log ends with:\n{self.read_log()}"
                )

    def read_log(self) -> str:
        """Return the last lines that the programs wrote to stderr."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-20:])

    def wait_for(self, path: Path) -> None:
        """Wait until a program has created the path. Raises BenchError after half a minute."""
        until_s = time.monotonic() + START_TIMEOUT_S
        while not path.exists():
            self.check_running()
            if time.monotonic() > until_s:
                raise support.BenchError(f"{path} did not appear within {START_TIMEOUT_S:.0f} s")
            time.sleep(0.01)


class EndPipe:
    """Pipe into which the programs of a peer write a byte for each job that has ended."""

    def __init__(self, programs: Programs) -> None:
        self._programs = programs
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)

    def close(self) -> None:
        os.close(self._read_end)
        os.close(self.write_end)

    def wait(self, jobs: int) -> None:
        """Wait for the ends of jobs. Raises BenchError if none ends for a minute."""
        while jobs > 0:
            jobs -= len(self._read())
        if jobs < 0:
            raise support.BenchError(f"{-jobs} jobs ran more than once")

    def wait_ready(self, programs: int) -> None:
        """Wait until each program has written its line `ready`.

        It must do so with one os.write(): print() writes the newline separately if Python is set to
        unbuffered output, and two lines in one pipe then mix.
        """
        text = b""
        while text.count(b"ready\n") < programs:
            text += self._read()

    def _read(self) -> bytes:
        until_s = time.monotonic() + STALL_TIMEOUT_S
        while time.monotonic() < until_s:
            if select.select([self._read_end], [], [], 1.0)[0]:
                return os.read(self._read_end, 65536)
            self._programs.check_running()
        raise support.BenchError(
            f"no job ended within {STALL_TIMEOUT_S:.0f} s; the log ends with:\n"
            + self._programs.read_log()
        )


def write_line(pipe: IO[bytes] | None, number: int) -> None:
    assert pipe is not None
    pipe.write(b"%d\n" % number)
