"""A PostgreSQL server of the tests' own: from the system's package, on a unix socket alone."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from typing import Any

import psycopg


class Server:
    """A server in a directory of its own. `database()` gives the URL of a new database, by
    default an empty one."""

    def __init__(self, binaries: Path, directory: Path, user: str, *settings: str) -> None:
        self._settings = [each for setting in settings for each in ("-c", setting)]
        self.socket = directory
        self._program = binaries / "postgres"
        self._user = user
        self._made = 0
        self.start()

    def start(self) -> None:
        """Returns once it takes connections."""
        data = self.socket / "data"
        with (self.socket / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._program, "-D", data, "-k", self.socket, *_SETTINGS, *self._settings],
                cwd=self.socket,
                stdout=subprocess.DEVNULL,
                stderr=log,
                **_as(self._user),
            )
        self._wait_ready(data / "postmaster.pid")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """SIGINT ends it in order, SIGQUIT at once, as a crash does."""
        self._process.send_signal(how)
        self._process.wait(60)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        self.stop()
        try:
            yield
        finally:
            self.start()

    def _wait_ready(self, pid_file: Path) -> None:
        # It writes its state into the eighth line of this file, and tells nobody else.
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

    def database(self, like: str = "template1") -> str:
        self._made += 1
        name = f"test{self._made}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            # Without a checkpoint for each, and without waiting for one.
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {like} STRATEGY wal_log")
        return self.url(name)


def programs() -> Path | None:
    """Where initdb and postgres are, or None without the package."""
    found = [
        shutil.which("initdb"),
        *sorted(glob("/usr/lib/postgresql/*/bin/initdb"), reverse=True),
    ]
    for each in found:
        if each is not None:
            return Path(os.path.realpath(each)).parent
    return None


@contextmanager
def server(binaries: Path, *settings: str) -> Iterator[Server]:
    """Runs one until the end of the block; what it wrote is deleted with it. Settings are like
    `fsync=on`, and stand above those that make tests quick."""
    # It refuses to run as root, and its user must reach the directory: pytest's own it cannot.
    user = _user()
    directory = Path(tempfile.mkdtemp(prefix="mythjobs-postgres-", dir="/tmp"))
    os.chmod(directory, 0o755)
    if os.geteuid() == 0:
        os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
    try:
        data = directory / "data"
        _run([binaries / "initdb", "-A", "trust", "-N", "-U", user, "-D", data], user, directory)
        running = Server(binaries, directory, user, *settings)
        try:
            yield running
        finally:
            running.stop(signal.SIGQUIT)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


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
