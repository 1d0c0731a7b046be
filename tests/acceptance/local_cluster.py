"""Cluster of a master and two agents as real processes on one host, for tests that kill them.

The second agent has its own state directory, with links to the socket and key of the master.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from mythjobs.client import locate
from mythjobs.client.client import Client
from mythjobs.config.runtime import ensure_runtime_dir
from mythjobs.config.state import StateDir
from mythjobs.errors import MythJobsError, Unreachable
from tests.support.parent_death import bind_to_parent

MACHINES: Final = ("attic", "cellar")
READY: Final = b"mythjobs master is up"
TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.02
_LOGGING_JOB: Final = Path(__file__).with_name("logging_job.py")


def logging_command(directory: Path) -> dict[str, Any]:
    """Return the definition of a command whose jobs log there (logging_job.py)."""
    argv = [sys.executable, "-I", "-S", str(_LOGGING_JOB), str(directory), "{seconds}", "{code}"]
    parameters = [{"name": "seconds", "type": "text"}, {"name": "code", "type": "int"}]
    return {"name": "log", "argv": argv, "parameters": parameters, "silence": "rerun"}


class ClusterError(Exception):
    """The cluster does not reach the state that a test needs."""


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def wait_until(condition: Callable[[], bool], failure: str, timeout_s: float = TIMEOUT_S) -> None:
    """Poll until the condition holds. Raises ClusterError on timeout."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise ClusterError(f"{failure} after {timeout_s:g} s")
        time.sleep(_POLL_S)


class LocalCluster:
    def __init__(self, root: Path, jobs: int) -> None:
        self.root = root
        self.state = StateDir(root / "attic")
        self.states = {name: StateDir(root / name) for name in MACHINES}
        self._jobs = jobs
        self._log = (root / "log").open("ab")
        self._master: subprocess.Popen[bytes] | None = None
        self._agents: dict[str, subprocess.Popen[bytes]] = {}

    # Starting.

    def start(self) -> None:
        for state in self.states.values():
            state.root.mkdir(mode=0o700)
        self.start_master()
        other = self.states["cellar"].root
        for name in ("master.json", "master.pub"):
            (other / name).symlink_to(self.state.root / name)
        for name in MACHINES:
            self.start_agent(name)
        wait_until(self._are_machines_up, "the machines are still not up")
        for name in MACHINES:
            self.post(f"machines/{name}", {"allow": "all", "jobs": self._jobs})

    def start_master(self) -> None:
        """Start the master, and wait until it accepts requests."""
        arguments = ["--state-dir", str(self.state.root), "master", "--port", "0"]
        self._master = self._start_process(arguments, signal.SIGTERM, stdout=subprocess.PIPE)
        assert self._master.stdout is not None
        with self._master.stdout as stdout:
            ready, _, _ = select.select([stdout], [], [], TIMEOUT_S)
            if not ready or not stdout.readline().startswith(READY):
                raise ClusterError("the master does not start; see its log")

    def start_agent(self, name: str) -> None:
        arguments = [
            "--state-dir",
            str(self.states[name].root),
            "agent",
            "--name",
            name,
            "--no-scaling",
        ]
        # This signal also ends the agent's jobs and reaper.
        self._agents[name] = self._start_process(
            arguments, signal.SIGUSR1, stdout=subprocess.DEVNULL
        )

    def _start_process(
        self, arguments: list[str], number: signal.Signals, stdout: int
    ) -> subprocess.Popen[bytes]:
        """Start a program that gets the signal when this process ends."""
        return subprocess.Popen(
            bind_to_parent(sys.executable, "-P", "-m", "mythjobs", *arguments, number=number),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=self._log,
            start_new_session=True,
        )

    def _are_machines_up(self) -> bool:
        """Return whether all machines are connected, and have told how many jobs they have room
        for: until then they get none, and a job goes to another one than it prefers."""
        try:
            machines = self.get("machines")["machines"]
        except Unreachable:
            return False
        up = [each for each in machines if each["state"] == "up" and each["free"] is not None]
        return len(up) == len(MACHINES)

    # Killing.

    def kill_master(self) -> None:
        assert self._master is not None
        self._master.kill()
        self._master.wait()

    def kill_agent(self, name: str) -> None:
        self._agents[name].kill()
        self._agents[name].wait()

    def signal_agent(self, name: str, number: signal.Signals) -> None:
        self._agents[name].send_signal(number)

    def kill_reaper(self, name: str) -> int | None:
        """Kill the reaper of a machine, if any. Return the CLOCK_BOOTTIME of the kill."""
        pids = find_reaper_pids(self.states[name])
        at_ns = None
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                at_ns = boottime_ns()
            except ProcessLookupError:
                continue
        return at_ns

    def end(self) -> None:
        """Make the agents end their jobs and reapers, then terminate the master."""
        for process in self._agents.values():
            process.send_signal(signal.SIGUSR1)
        for process in [*self._agents.values(), *([self._master] if self._master else [])]:
            if process is self._master:
                process.terminate()
            try:
                process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for state in self.states.values():
            for pid in find_reaper_pids(state):
                os.kill(pid, signal.SIGTERM)
            shutil.rmtree(ensure_runtime_dir(state), ignore_errors=True)
        self._log.close()

    # Requests.

    def get(self, path: str, **query: object) -> dict[str, Any]:
        return self._client().get(path, query)

    def read_output(self, job_id: int) -> bytes:
        """Return the kept output of the last attempt."""
        kept: list[bytes] = []
        self._client().stream(f"jobs/{job_id}/output", {}, kept.append)
        return b"".join(kept)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._client().post(path, body)

    def _client(self) -> Client:
        return Client(locate.find_socket(str(self.state.root)))

    def post_until_answered(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Repeat an idempotent request until a master answers it."""
        deadline = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return self.post(path, body)
            except Unreachable as error:
                if time.monotonic() > deadline:
                    raise ClusterError(f"no response of a master: {error.sentence}") from error
                time.sleep(_POLL_S)
            except MythJobsError as error:
                raise ClusterError(f"POST {path}: {error.sentence}") from error


def find_reaper_pids(state: StateDir) -> list[int]:
    """Return the pids of reapers, by command line: taking their locks would disturb a start."""
    return find_pids_with_argument(state.agent.reapers)


def find_pids_with_argument(path: Path) -> list[int]:
    """Return the pids of programs that have this path, or a longer one, as an argument."""
    pids = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            argv = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
        except OSError:
            continue
        if any(word.startswith(str(path)) for word in argv):
            pids.append(int(entry.name))
    return pids


@contextmanager
def run_cluster(root: Path, jobs: int = 3) -> Iterator[LocalCluster]:
    cluster = LocalCluster(root, jobs)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.end()
