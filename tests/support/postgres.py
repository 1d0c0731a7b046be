"""PostgreSQL server for tests, from the system's package, listening on a Unix socket only."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import glob
from pathlib import Path
from typing import Any, Final

import psycopg

from tests.support.freezing import freeze
from tests.support.parent_death import bind_to_parent


class PostgresServer:
    """A running server with its data in a temporary directory."""

    def __init__(self, binaries: Path, directory: Path, user: str, *settings: str) -> None:
        self._settings = [each for setting in settings for each in ("-c", setting)]
        self.socket = directory
        self._program = binaries / "postgres"
        self._user = user
        self._made = 0
        self.start()

    def start(self) -> None:
        """Start the server; return once it accepts connections."""
        data = self.socket / "data"
        with (self.socket / "log").open("ab") as log:
            self._process = subprocess.Popen(
                bind_to_parent(
                    self._program,
                    "-D",
                    data,
                    "-k",
                    self.socket,
                    *_SETTINGS,
                    *self._settings,
                    number=signal.SIGQUIT,
                ),
                cwd=self.socket,
                stdout=subprocess.DEVNULL,
                stderr=log,
                **_as(self._user),
            )
        self._wait_ready(data / "postmaster.pid")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT is a fast shutdown, SIGQUIT an immediate one, as after a crash."""
        self._process.send_signal(how)
        self._process.wait(60)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all processes of the server with SIGSTOP, as when its host hangs."""
        # The first one starts the others, so none is missed.
        pids = [self._process.pid]
        freeze(self._process.pid)
        pids += find_children(self._process.pid)
        try:
            for pid in pids[1:]:
                freeze(pid)
            yield
        finally:
            for pid in pids:
                # A session that had ended before is reaped by the first process once it continues.
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def _wait_ready(self, pid_file: Path) -> None:
        # The eighth line of postmaster.pid is the only place where the server shows its state.
        while True:
            assert self._process.poll() is None, (self.socket / "log").read_text()
            try:
                lines = pid_file.read_text().splitlines()
            except FileNotFoundError:
                lines = []
            mine = lines[:1] == [str(self._process.pid)]
            if mine and len(lines) >= 8 and lines[7].strip() == "ready":
                return
            try:
                self._process.wait(0.02)
            except subprocess.TimeoutExpired:
                pass

    def url(self, database: str = "postgres") -> str:
        return f"postgresql:///{database}?host={self.socket}&user={self._user}"

    def create_database(self, template: str = "template1") -> str:
        self._made += 1
        name = f"test{self._made}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            # wal_log copies the template without a checkpoint.
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
        return self.url(name)


def find_children(pid: int) -> list[int]:
    found = []
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with suppress(OSError):
                # The parent's pid is the second field after the name in brackets (proc(5)).
                if int((each / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.append(int(each.name))
    return found


def find_binaries() -> Path | None:
    """Return the directory of initdb and postgres, None if PostgreSQL is not installed."""
    found = [
        shutil.which("initdb"),
        *sorted(glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True),
    ]
    for each in found:
        if each is not None:
            return Path(os.path.realpath(each)).parent
    return None


@contextmanager
def run_server(
    binaries: Path, *settings: str, parent: Path | None = None
) -> Iterator[PostgresServer]:
    """Run a server until the end of the block, then delete its data, a directory below `parent`.

    Settings like `fsync=on` override those that make tests fast. By default the data is in memory.
    """
    # PostgreSQL refuses to run as root, and another user cannot access pytest's directories.
    user = _user()
    directory = Path(tempfile.mkdtemp(prefix="mythjobs-postgres-", dir=parent or _parent()))
    os.chmod(directory, 0o755)
    if os.geteuid() == 0:
        os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
    try:
        data = directory / "data"
        _run([binaries / "initdb", "-A", "trust", "-N", "-U", user, "-D", data], user, directory)
        running = PostgresServer(binaries, directory, user, *settings)
        try:
            yield running
        finally:
            running.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _parent() -> str:
    """Return /dev/shm if it has room for the databases of a test run.

    Each has 300 files, and some disks take minutes to delete those of all tests.
    """
    with suppress(OSError):
        if shutil.disk_usage("/dev/shm").free >= _NEEDED_BYTES and os.access("/dev/shm", os.W_OK):
            return "/dev/shm"
    return "/tmp"


_NEEDED_BYTES: Final = 4 * 2**30
_SETTINGS = [
    option
    for setting in (
        "listen_addresses=",
        "fsync=off",
        "full_page_writes=off",
        "max_connections=40",
        "shared_buffers=16MB",
        "autovacuum=off",
    )
    for option in ("-c", setting)
]


def _user() -> str:
    if os.geteuid() != 0:
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return "nobody"


def _as(user: str) -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def _run(command: list[str | Path], user: str, directory: Path) -> None:
    done = subprocess.run(
        [str(each) for each in command], cwd=directory, capture_output=True, text=True, **_as(user)
    )
    assert done.returncode == 0, done.stderr
