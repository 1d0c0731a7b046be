"""MariaDB server for tests, from the system's package, with MythTV's schema as it was recorded."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mythjobs.errors import Unreachable
from mythjobs.mythtv.database.address import DatabaseAddress
from mythjobs.mythtv.database.connection import MythDatabase
from tests.support.freezing import freeze
from tests.support.parent_death import bind_to_parent

HERE = Path(__file__).parent
# Options that make the server small and quick to start; data need not survive a crash.
_OPTIONS = (
    "--no-defaults", "--skip-networking", "--skip-name-resolve", "--skip-log-bin",
    "--innodb-buffer-pool-size=8M", "--innodb-log-file-size=4M", "--innodb-fast-shutdown=2",
    "--innodb-flush-log-at-trx-commit=0", "--key-buffer-size=1M", "--aria-pagecache-buffer-size=1M",
    "--performance-schema=OFF", "--default-time-zone=+01:00",
)  # fmt: skip
_READY_S = 60


def find_server() -> tuple[str, str] | None:
    """Return the paths of the server and of the program that makes its data directory."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    server = shutil.which("mariadbd", path=path)
    install = shutil.which("mariadb-install-db", path=path)
    return (server, install) if server and install else None


class DatabaseServer:
    """A server in a directory of its own. options: as on its command line."""

    def __init__(
        self, programs: tuple[str, str], directory: Path, options: tuple[str, ...]
    ) -> None:
        self._server, install = programs
        self._directory = directory
        self._options = options
        self._user = pwd.getpwuid(os.geteuid()).pw_name
        self.socket = directory / "socket"
        self._process: subprocess.Popen[bytes] | None = None
        # A server that starts removes the temporary tables of all that have the same directory.
        temporary = directory / "tmp"
        temporary.mkdir()
        self._env = os.environ | {"TMPDIR": str(temporary)}
        log = directory / "log"
        with log.open("ab") as output:
            done = subprocess.run(
                [
                    install, "--no-defaults", f"--datadir={directory}/data", f"--user={self._user}",
                    "--auth-root-authentication-method=normal", "--skip-test-db",
                    "--innodb-log-file-size=4M",
                ],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._env,
            )  # fmt: skip
        assert done.returncode == 0, log.read_text()

    def start(self) -> None:
        """Start the server, and wait until it accepts connections."""
        log = self._directory / "log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                bind_to_parent(
                    self._server, *_OPTIONS, f"--datadir={self._directory}/data",
                    f"--socket={self.socket}", f"--pid-file={self._directory}/pid",
                    f"--user={self._user}", *self._options, number=signal.SIGKILL,
                ),
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self._env,
            )  # fmt: skip
        _wait_ready(self._process, self.socket, log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop the server with SIGSTOP, as when its host hangs."""
        assert self._process is not None
        freeze(self._process.pid)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGCONT)


@contextmanager
def run_server(programs: tuple[str, str], *options: str) -> Iterator[DatabaseServer]:
    """Run a server until the end of the block."""
    directory = Path(tempfile.mkdtemp(prefix="mythjobs-mariadb-", dir="/tmp"))
    try:
        server = DatabaseServer(programs, directory, options)
        try:
            server.start()
            yield server
        finally:
            server.kill()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _wait_ready(process: subprocess.Popen[bytes], socket: Path, log: Path) -> None:
    address = _root(socket, "mysql")
    deadline_s = time.monotonic() + _READY_S
    while True:
        try:
            with MythDatabase(address) as database:
                database.query("SELECT 1")
                return
        except Unreachable:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.02)  # the server has no other sign that it accepts connections


def make_database(socket: Path, name: str, *, with_rows: bool = True) -> DatabaseAddress:
    """Make a database with the recorded schema, and the rows of the recorded installation."""
    with MythDatabase(_root(socket, "mysql")) as database:
        database.execute(f"DROP DATABASE IF EXISTS {name}")
        database.execute(f"CREATE DATABASE {name} DEFAULT CHARACTER SET utf8mb3")
        database.execute("CREATE USER IF NOT EXISTS mythtv@localhost IDENTIFIED BY 'pass/word'")
        database.execute(f"GRANT ALL ON {name}.* TO mythtv@localhost")
    address = DatabaseAddress(
        user="mythtv", password="pass/word", name=name, socket=str(socket), source="the test"
    )
    with MythDatabase(address) as database:
        for statement in (HERE / "schema.sql").read_text(encoding="utf-8").split(";\n"):
            if statement.strip():
                database.execute(statement)
        if with_rows:
            reset_rows(database)
    return address


def reset_rows(database: MythDatabase) -> None:
    """Let all tables have exactly the recorded rows."""
    for each in database.query("SHOW TABLES"):
        database.execute(f"TRUNCATE TABLE {next(iter(each.values()))}")
    for path in sorted((HERE / "rows").glob("*.tsv")):
        header, *lines = path.read_text(encoding="utf-8").removesuffix("\n").split("\n")
        columns = header.split("\t")
        places = ", ".join(["%s"] * len(columns))
        names = ", ".join(f"`{each}`" for each in columns)
        database.execute_many(
            f"INSERT INTO `{path.stem}` ({names}) VALUES ({places})",
            [[_decode(each) for each in line.split("\t")] for line in lines],
        )


def _decode(field: str) -> Any:
    """Return the value of a field as `mysql --batch` prints it."""
    if field == "\\N":
        return None
    parts = field.split("\\\\")
    return "\\".join(each.replace("\\n", "\n").replace("\\t", "\t") for each in parts)


def _root(socket: Path, name: str) -> DatabaseAddress:
    return DatabaseAddress(user="root", password="", name=name, socket=str(socket))


def write_setting(database: MythDatabase, name: str, value: str, host: str | None = None) -> None:
    """Set a setting of a host, or for None a global one."""
    database.execute("DELETE FROM settings WHERE value = %s AND hostname <=> %s", name, host)
    database.execute(
        "INSERT INTO settings (value, data, hostname) VALUES (%s, %s, %s)", name, value, host
    )
