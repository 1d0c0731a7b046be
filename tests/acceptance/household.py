"""A master and two machines as real processes on one host, to be killed and started again.

The second machine is an agent with a state directory of its own, which shows it the socket and the
key of the one master.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
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

MACHINES: Final = ("attic", "cellar")
READY: Final = b"mythjobs master is up"
PATIENCE_S: Final = 60.0
_STEP_S: Final = 0.02
_WITNESS: Final = Path(__file__).with_name("witness_job.py")


def witness_command(directory: Path) -> dict[str, Any]:
    """The definition of a command whose jobs testify there (witness_job.py)."""
    words = [sys.executable, "-I", "-S", str(_WITNESS), str(directory), "{seconds}", "{code}"]
    parameters = [{"name": "seconds", "type": "text"}, {"name": "code", "type": "int"}]
    return {"name": "witness", "argv": words, "parameters": parameters, "silence": "rerun"}


class TortureError(Exception):
    """The household does not come to where it could be judged; the text says how."""


def boottime_ns() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


def until(is_so: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    """Raises TortureError if it never is."""
    deadline = time.monotonic() + within_s
    while not is_so():
        if time.monotonic() > deadline:
            raise TortureError(f"{what}, after {within_s:g} s")
        time.sleep(_STEP_S)


class Household:
    def __init__(self, root: Path, jobs: int) -> None:
        self.root = root
        self.state = StateDir(root / "attic")
        self.states = {name: StateDir(root / name) for name in MACHINES}
        self._jobs = jobs
        self._log = (root / "log").open("ab")
        self._master: subprocess.Popen[bytes] | None = None
        self._agents: dict[str, subprocess.Popen[bytes]] = {}
        # What is running changes under whoever asks, from several threads.
        self._lock = threading.Lock()

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
        until(self._both_are_up, "the machines are not up")
        for name in MACHINES:
            self.post(f"machines/{name}", {"allow": "all", "jobs": self._jobs})

    def start_master(self) -> None:
        """Returns when it serves."""
        words = ["--state-dir", str(self.state.root), "master", "--port", "0"]
        self._master = self._run(words, stdout=subprocess.PIPE)
        assert self._master.stdout is not None
        with self._master.stdout as said:
            ready, _, _ = select.select([said], [], [], PATIENCE_S)
            if not ready or not said.readline().startswith(READY):
                raise TortureError("the master does not come up; see its log")

    def start_agent(self, name: str) -> None:
        words = ["--state-dir", str(self.states[name].root), "agent", "--name", name]
        self._agents[name] = self._run(words, stdout=subprocess.DEVNULL)

    def _run(self, words: list[str], stdout: int) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "mythjobs", *words],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=self._log,
            start_new_session=True,
        )

    def _both_are_up(self) -> bool:
        try:
            found = self.get("machines")["machines"]
        except Unreachable:
            return False
        return [each["state"] for each in found] == ["up"] * len(MACHINES)

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
        """When (CLOCK_BOOTTIME) the reaper of a machine was killed; None if it has none now."""
        pids = reapers(self.states[name])
        at_ns = None
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
                at_ns = boottime_ns()
            except ProcessLookupError:
                continue
        return at_ns

    def end(self) -> None:
        """Agents end their jobs and their reapers, then the master ends."""
        for process in self._agents.values():
            process.send_signal(signal.SIGUSR1)
        for process in [*self._agents.values(), *([self._master] if self._master else [])]:
            if process is self._master:
                process.terminate()
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for state in self.states.values():
            for pid in reapers(state):
                os.kill(pid, signal.SIGTERM)
            shutil.rmtree(ensure_runtime_dir(state), ignore_errors=True)
        self._log.close()

    # Asking. A master that is killed under a request is asked again when there is one.

    def get(self, path: str, **query: object) -> dict[str, Any]:
        return self._client().get(path, query)

    def output(self, job_id: int) -> bytes:
        """What is kept of the last attempt, wherever it lies."""
        kept: list[bytes] = []
        self._client().stream(f"jobs/{job_id}/output", {}, kept.append)
        return b"".join(kept)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        return self._client().post(path, body)

    def _client(self) -> Client:
        return Client(locate.find_socket(str(self.state.root)))

    def insist(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Until a master answers; the request must be one that may come twice."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.post(path, body)
            except Unreachable as error:
                if time.monotonic() > deadline:
                    raise TortureError(f"no master answers: {error.sentence}") from error
                time.sleep(_STEP_S)
            except MythJobsError as error:
                raise TortureError(f"POST {path}: {error.sentence}") from error


def reapers(state: StateDir) -> list[int]:
    """Their pids, by their command lines: to try their locks would disturb those that begin."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = os.fsdecode((entry / "cmdline").read_bytes()).split("\0")
        except OSError:
            continue
        if any(word.startswith(str(state.agent.reapers)) for word in words):
            found.append(int(entry.name))
    return found


@contextmanager
def a_household(root: Path, jobs: int = 3) -> Iterator[Household]:
    household = Household(root, jobs)
    try:
        household.start()
        yield household
    finally:
        household.end()
