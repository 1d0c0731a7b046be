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
    """A running server. `database()` gives the URL of a new database, by default an empty one."""

    def __init__(self, socket: Path, process: subprocess.Popen[bytes], user: str) -> None:
        self.socket = socket
        self.process = process
        self._user = user
        self._made = 0

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
def server(binaries: Path) -> Iterator[Server]:
    """Runs one until the end of the block; what it wrote is deleted with it."""
    # It refuses to run as root, and its user must reach the directory: pytest's own it cannot.
    user = _user()
    directory = Path(tempfile.mkdtemp(prefix="mythjobs-postgres-", dir="/tmp"))
    os.chmod(directory, 0o755)
    data, socket = directory / "data", directory
    if os.geteuid() == 0:
        os.chown(directory, pwd.getpwnam(user).pw_uid, -1)
    try:
        _run([binaries / "initdb", "-A", "trust", "-N", "-U", user, "-D", data], user, directory)
        with (directory / "log").open("wb") as log:
            process = subprocess.Popen(
                [binaries / "postgres", "-D", data, "-k", socket, *_SETTINGS],
                cwd=directory,
                stdout=subprocess.DEVNULL,
                stderr=log,
                **_as(user),
            )
        running = Server(socket, process, user)
        try:
            _wait_ready(running, directory)
            yield running
        finally:
            process.send_signal(signal.SIGCONT)
            process.send_signal(signal.SIGQUIT)  # at once, without a checkpoint
            process.wait(30)
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


def _wait_ready(server: Server, directory: Path) -> None:
    # It writes its state into this file (postmaster.pid, eighth line), and tells nobody else.
    pid_file = directory / "data" / "postmaster.pid"
    while True:
        assert server.process.poll() is None, (directory / "log").read_text()
        try:
            lines = pid_file.read_text().splitlines()
        except FileNotFoundError:
            lines = []
        if len(lines) >= 8 and lines[7].strip() == "ready":
            return
        try:
            server.process.wait(0.02)
        except subprocess.TimeoutExpired:
            pass
