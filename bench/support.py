"""A mythjobs of the bench's own: started in a temporary place, asked by HTTP, ended for sure."""

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
    from mythjobs.config.runtime import ensure_runtime_dir
    from mythjobs.config.state import StateDir
except ModuleNotFoundError:
    sys.exit("run this with .venv/bin/python, which make test or make demo sets up")

ROOT: Final = Path(__file__).resolve().parent.parent
MYTHJOBS: Final = ROOT / ".venv" / "bin" / "mythjobs"
READY: Final = b"mythjobs is up"
READY_WITHIN_S: Final = 60.0
END_WITHIN_S: Final = 10.0
# The reaper stays for a minute after its agent, for the next one; nobody waits for that here.
LEFT_WITHIN_S: Final = 1.0
LONGEST_WAIT_S: Final = 60  # of one request with `wait`

_numbers = count()

TRUE: Final = {"name": "true", "argv": ["/bin/true"], "contain": False}


class BenchError(Exception):
    """Nothing could be measured; the text is a sentence for the user."""


class Refused(BenchError):
    """The master answered a request with an error; the text is its message."""


@contextmanager
def workplace() -> Iterator[Path]:
    """A temporary directory on the disk of the checkout, deleted at the end."""
    if not MYTHJOBS.exists():
        raise BenchError("there is no .venv/bin/mythjobs; run make test or make demo first")
    # .venv is on that disk and no part of the repository.
    path = Path(tempfile.mkdtemp(prefix="bench-", dir=ROOT / ".venv"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def compiled(source: str, directory: Path) -> Path:
    """The program of a C file of this folder, compiled into the directory."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise BenchError("there is no C compiler; install gcc and libc6-dev, then run this again")
    program = directory / source.removesuffix(".c")
    made = subprocess.run(
        [compiler, "-O2", "-pthread", "-o", program, Path(__file__).parent / source],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        raise BenchError(f"{compiler} cannot compile bench/{source}:\n{made.stderr}")
    return program


class _UnixConnection(HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=LONGEST_WAIT_S + 120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Api:
    """One persistent connection to the master's socket. A request blocks until it is answered."""

    def __init__(self, socket_path: str) -> None:
        self._connection = _UnixConnection(socket_path)

    def close(self) -> None:
        self._connection.close()

    def get(self, path: str, **query: object) -> Any:
        return self._ask("GET", path, query, None)

    def post(self, path: str, body: object, **query: object) -> Any:
        """A body of bytes is sent as it is, anything else as JSON. Raises Refused."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self._ask("POST", path, query, data)

    def _ask(self, method: str, path: str, query: Mapping[str, object], data: bytes | None) -> Any:
        self._drop_if_closed()
        target = f"/api/v1/{path}" + (f"?{urlencode(query)}" if query else "")
        headers = {"Content-Type": "application/json"} if data is not None else {}
        try:
            self._connection.request(method, target, data, headers)
            answer = self._connection.getresponse()
            text = answer.read()
        except (OSError, HTTPException) as error:
            raise BenchError(f"{method} {target}: the master did not answer ({error!r})") from error
        if answer.status >= 400:
            raise Refused(_message(text) or f"{method} {target} was answered {answer.status}")
        return json.loads(text)

    def _drop_if_closed(self) -> None:
        # The server closes a connection that was idle for some seconds; a request must not
        # be lost on it.
        sock = self._connection.sock
        if sock is not None and select.select([sock], [], [], 0)[0]:
            self._connection.close()

    def submit(self, command: str, priority: int = 0, **arguments: str) -> int:
        body = {"command": command, "arguments": arguments, "priority": priority}
        return int(self.post("jobs", body)["id"])

    def wait_job(self, job: int) -> None:
        """Until it is over. Raises BenchError if it did not succeed."""
        while True:
            found = self.get(f"jobs/{job}", wait=LONGEST_WAIT_S)
            if found["state"] == "succeeded":
                return
            if found["state"] in ("failed", "cancelled"):
                raise BenchError(f"job {job} {found['state']}: {found['reason']['sentence']}")

    def batch(self, command: str, jobs: int) -> int:
        return int(self.post("batches", b"{}\n" * jobs, command=command)["batch"])

    def wait_batch(self, batch: int) -> None:
        while not self.get(f"batches/{batch}", wait=LONGEST_WAIT_S)["over"]:
            pass

    def counts(self) -> dict[str, int]:
        return dict(self.get("status")["counts"])


class System:
    """A running `mythjobs up`: its api, and its processes by the names master, agent, reaper."""

    def __init__(self, state: Path) -> None:
        self._info = json.loads((state / "master.json").read_bytes())
        self.state = state
        self.api = Api(self._info["socket"])

    def pids(self) -> dict[str, int]:
        """Raises BenchError if one of the three is not there."""
        found = {"master": int(self._info["pid"])}
        for pid, words in processes.naming(self.state).items():
            if pid == found["master"]:
                continue
            found["reaper" if any("reaper" in word for word in words) else "agent"] = pid
        for name in ("master", "agent", "reaper"):
            if name not in found:
                raise BenchError(f"the {name} of {self.state} was not found in /proc")
        return {name: found[name] for name in ("master", "agent", "reaper")}


def _message(text: bytes) -> str:
    """The sentence of an error, or nothing if it is not one of ours."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


@contextmanager
def new_database(url: str) -> Iterator[str]:
    """A database of its own on the server of a PostgreSQL URL, dropped at the end."""
    import psycopg

    name = f"mythjobs_bench_{os.getpid()}_{next(_numbers)}"
    try:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")
    except psycopg.Error as error:
        raise BenchError(f"no database can be made at {url}: {error}") from error
    parts = urlsplit(url)
    try:
        yield f"postgresql://{parts.netloc}/{name}?{parts.query}"
    finally:
        with psycopg.connect(url, autocommit=True) as server:
            server.execute(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def mythjobs_up(directory: Path, jobs: int, store: str | None = None) -> Iterator[System]:
    """`mythjobs up --jobs N` on a new state directory; at the end nothing of it is left."""
    state = Path(tempfile.mkdtemp(prefix="state-", dir=directory))
    options = ["--port", "0", "--jobs", str(jobs), "--stop-jobs"]
    if store is not None:
        options += ["--store", store]
    # In a session of its own, so that Ctrl-C comes to us alone and we end it in order.
    up = subprocess.Popen(
        [MYTHJOBS, "--state-dir", state, "up", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env=environment(),
    )
    try:
        _wait_until_ready(up)
        system = System(state)
        try:
            yield system
        finally:
            system.api.close()
    finally:
        _end(up, state)


def environment() -> dict[str, str]:
    """Ours, except what would make a start slower than it is for users."""
    without = ("PYTHONDONTWRITEBYTECODE", "MYTHJOBS_STATE_DIR")
    return {name: value for name, value in os.environ.items() if name not in without}


def _wait_until_ready(up: subprocess.Popen[bytes]) -> None:
    """Reads what it says, for ever: a full pipe would stop it."""
    said: list[bytes] = []
    told = threading.Event()

    def read() -> None:
        assert up.stdout is not None
        with up.stdout:
            for line in up.stdout:
                said[:] = [*said[-20:], line]
                if line.startswith(READY):
                    told.set()
        told.set()

    threading.Thread(target=read, daemon=True).start()
    told.wait(READY_WITHIN_S)
    if not any(line.startswith(READY) for line in said):
        text = b"".join(said).decode(errors="replace")
        raise BenchError(f"mythjobs up did not come up; it said:\n{text}")


def _end(up: subprocess.Popen[bytes], state: Path) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        up.terminate()
        try:
            up.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            up.kill()
            up.wait()
        processes.end(state, LEFT_WITHIN_S)
        # On tmpfs, outside of the workplace.
        shutil.rmtree(ensure_runtime_dir(StateDir(state)), ignore_errors=True)
    finally:
        signal.signal(signal.SIGINT, before)


def note(text: str) -> None:
    """Tell whoever watches what goes on; never on stdout, which holds the figures."""
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
