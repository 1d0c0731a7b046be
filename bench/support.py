"""Start and stop of `mythjobs up` in a temporary directory, and an HTTP client for it."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import processes

try:
    from mythjobs.agent.probing.probe_cache import ProbeCache, find_targets
    from mythjobs.agent.probing.probe_run import run_probes
    from mythjobs.config.runtime import ensure_runtime_dir
    from mythjobs.config.state import StateDir
except ModuleNotFoundError:
    sys.exit("run this with .venv/bin/python, which make test or make demo sets up")

ROOT: Final = Path(__file__).resolve().parent.parent
MYTHJOBS: Final = ROOT / ".venv" / "bin" / "mythjobs"
READY: Final = b"mythjobs is up"
READY_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 10.0
# A reaper waits one minute for a new agent; the benchmarks terminate it earlier.
REAPER_STOP_TIMEOUT_S: Final = 1.0
MAX_WAIT_S: Final = 60  # of a request with `wait`
_PROBES: Final = "probes.json"

_numbers = count()

TRUE: Final = {"name": "true", "argv": ["/bin/true"], "contain": False}


class BenchError(Exception):
    """Nothing could be measured."""


class RequestRejected(BenchError):
    """The master answered with an error."""


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """Create a temporary directory on the disk of the repository, and delete it at the end."""
    if not MYTHJOBS.exists():
        raise BenchError(".venv/bin/mythjobs not found; run make test or make demo first")
    # .venv is on that disk and ignored by Git.
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / ".venv"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def compile_c(source: str, directory: Path) -> Path:
    """Compile a C file of bench/ and return the program."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise BenchError("no C compiler found; install gcc and libc6-dev, then run this again")
    program = directory / source.removesuffix(".c")
    compiled = subprocess.run(
        [compiler, "-O2", "-pthread", "-o", program, Path(__file__).parent / source],
        capture_output=True,
        text=True,
        check=False,
    )
    if compiled.returncode:
        raise BenchError(f"{compiler} cannot compile bench/{source}:\n{compiled.stderr}")
    return program


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=MAX_WAIT_S + 120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Api:
    """Client with one persistent connection to the master's socket."""

    def __init__(self, socket_path: str) -> None:
        self._socket_path = socket_path
        self._connection = _UnixConnection(socket_path)

    def reopen(self) -> Api:
        """Return a client with another connection, for another thread."""
        return Api(self._socket_path)

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str, **query: object) -> Any:
        return self._request("GET", path, query, None)

    def post(self, path: str, body: object, **query: object) -> Any:
        """Send bytes unchanged, any other body as JSON. Raises RequestRejected."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._request("POST", path, query, data)

    def _request(
        self, method: str, path: str, query: Mapping[str, object], data: bytes | None
    ) -> Any:
        self._reconnect_if_closed()
        target = f"/api/v1/{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            self._connection.request(method, target, data, headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            raise BenchError(
                f"{method} {target}: the master did not respond ({error!r})"
            ) from error
        if response.status >= 400:
            raise RequestRejected(
                _parse_error(text) or f"{method} {target} failed with status {response.status}"
            )
        return json.loads(text)

    def _reconnect_if_closed(self) -> None:
        # The server closes connections that are idle for some seconds.
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()

    def submit(self, command: str, priority: int = 0, **arguments: str) -> int:
        body = {"command": command, "arguments": arguments, "priority": priority}
        return int(self.post("jobs", body)["id"])

    def wait_job(self, job: int) -> None:
        """Wait for the end of a job. Raises BenchError if it did not succeed."""
        while True:
            found = self.get(f"jobs/{job}", wait=MAX_WAIT_S)
            if found["state"] == "succeeded":
                return
            if found["state"] in ("failed", "cancelled"):
                raise BenchError(f"job {job} {found['state']}: {found['reason']['sentence']}")

    def submit_batch(self, command: str, jobs: int) -> int:
        return int(self.post("batches", b"{}\n" * jobs, command=command)["batch"])

    def wait_batch(self, batch: int) -> None:
        while not self.get(f"batches/{batch}", wait=MAX_WAIT_S)["over"]:
            pass

    def counts(self) -> dict[str, int]:
        return dict(self.get("status")["counts"])


class RunningSystem:
    """Running `mythjobs up`: its API, and the pids of master, agent and reaper."""

    def __init__(self, state: Path) -> None:
        self._info = json.loads((state / "master.json").read_bytes())
        self.state = state
        self.api = Api(self._info["socket"])

    def pids(self) -> dict[str, int]:
        """Raises BenchError if one of the processes is missing."""
        found = {"master": int(self._info["pid"])}
        for pid, argv in processes.find_by_path(self.state).items():
            if pid == found["master"]:
                continue
            found["reaper" if any("reaper" in argument for argument in argv) else "agent"] = pid
        for name in ("master", "agent", "reaper"):
            if name not in found:
                raise BenchError(f"{name} process of {self.state} not found in /proc")
        return {name: found[name] for name in ("master", "agent", "reaper")}


def _parse_error(text: bytes) -> str:
    """Return the message of an error response, or "" if it has none."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


@contextmanager
def new_database(url: str) -> Iterator[str]:
    """Create a database on the server of a PostgreSQL URL, and drop it at the end."""
    import psycopg

    name = f"mythjobs_bench_{os.getpid()}_{next(_numbers)}"
    try:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
    except psycopg.Error as error:
        raise BenchError(f"cannot create a database at {url}: {error}") from error
    parts = urlsplit(url)
    try:
        yield f"postgresql://{parts.netloc}/{name}?{parts.query}"
    finally:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


def new_state(directory: Path) -> Path:
    """Create a state directory in `directory`, whose agent knows what this machine can do.

    An agent that finds it out runs ffmpeg and other programs 5 s after its start, which takes two
    seconds of CPU time from whatever is measured then.
    """
    probes = directory / _PROBES
    targets = find_targets(os.environ["PATH"])
    cache = ProbeCache(probes)
    if missing := cache.find_missing(targets):
        cache.add(targets, run_probes(missing))
    state = Path(tempfile.mkdtemp(prefix="state-", dir=directory))
    (state / "agent").mkdir(mode=0o700)
    if probes.exists():
        shutil.copy(probes, state / "agent" / _PROBES)
    return state


@contextmanager
def mythjobs_up(
    directory: Path, jobs: int | None, store: str | None = None
) -> Iterator[RunningSystem]:
    """Run `mythjobs up --jobs N` on a new state directory; stop all of its processes at the end.
    None: without --jobs, so that the load of the machine alone decides how many jobs run."""
    state = new_state(directory)
    options = ["--port", "0", "--stop-jobs"]
    if jobs is not None:
        options += ["--jobs", str(jobs)]
    if store is not None:
        options += ["--store", store]
    # A new session, so that Ctrl-C interrupts only the benchmark, which stops mythjobs in order.
    up = subprocess.Popen(
        [MYTHJOBS, "--state-dir", state, "up", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=build_environment(),
    )
    try:
        _wait_ready(up)
        system = RunningSystem(state)
        try:
            yield system
        finally:
            system.api.close()
    finally:
        _stop(up, state)


def build_environment() -> dict[str, str]:
    """Return the environment excluded variables that slow down the start."""
    excluded = ("PYTHONDONTWRITEBYTECODE", "MYTHJOBS_STATE_DIR")
    return {name: value for name, value in os.environ.items() if name not in excluded}


def _wait_ready(up: subprocess.Popen[bytes]) -> None:
    """Wait for the ready line, and keep reading the output: a full pipe would block the process."""
    last_lines: list[bytes] = []
    is_ready = threading.Event()

    def read() -> None:
        assert up.stdout is not None
        with up.stdout:
            for line in up.stdout:
                last_lines[:] = [*last_lines[-20:], line]
                if line.startswith(READY):
                    is_ready.set()
        is_ready.set()

    threading.Thread(target=read, daemon=True).start()
    is_ready.wait(READY_TIMEOUT_S)
    if not any(line.startswith(READY) for line in last_lines):
        text = b"".join(last_lines).decode(errors="replace")
        raise BenchError(f"mythjobs up did not start; its output:\n{text}")


def _stop(up: subprocess.Popen[bytes], state: Path) -> None:
    old_handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        up.terminate()
        try:
            up.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()
        processes.terminate_all(state, REAPER_STOP_TIMEOUT_S)
        # On tmpfs, outside the temporary directory.
        shutil.rmtree(ensure_runtime_dir(StateDir(state)), ignore_errors=True)
    finally:
        signal.signal(signal.SIGINT, old_handler)


def show_progress(text: str) -> None:
    """Show progress on a terminal. Never on stdout, which has the results."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
