"""Connection to MythTV's database: statements, reconnection, table locks, times."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from mythjobs.errors import ConfigError, MythJobsError, Unreachable
from mythjobs.mythtv.database.address import DatabaseAddress

if TYPE_CHECKING:
    import ssl

    import pymysql

Row = dict[str, Any]

# Oldest and newest schema with the columns that are read here: 0.28, and what is known of v36.
OLDEST_SCHEMA: Final = 1344
# Of one statement.
TIMEOUT_S: Final = 60.0
_CONNECT_TIMEOUT_S: Final = 10
# A connection that was idle for longer is checked before it is used.
_CHECK_AFTER_S: Final = 30.0
# Time between two attempts to connect, with `max_backoff_s`: it doubles from this.
_MIN_BACKOFF_S: Final = 0.25
# Error numbers of the client library and the server: the connection is lost.
_LOST: Final = frozenset(
    {0, 1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1927, 2006, 2013, 2055}
)
_REFUSED: Final = frozenset({1044, 1045, 1049, 1130, 1698})
_FORMAT: Final = "%Y-%m-%d %H:%M:%S"


class RecordingKey(NamedTuple):
    """MythTV's key of a recording: channel, and start of the recording rounded to a minute."""

    chanid: int
    start_ms: int

    @property
    def columns(self) -> tuple[int, str]:
        """Values of the columns chanid and starttime."""
        return self.chanid, format_ms(self.start_ms)


class MythDatabaseError(MythJobsError):
    """A statement failed in MythTV's database, for example because a table is crashed."""

    code = "mythtv_database"


class MythDatabase:
    """One connection, for one thread. It is opened by the first statement and, when it is lost, by
    the next. Raises ConfigError (access refused), Unreachable (no server, connection lost, no
    answer in time) and MythDatabaseError (the statement failed).

    max_backoff_s: after a failed attempt to connect, statements fail at once with the same error,
    for a time that doubles with each attempt, up to this. 0: each statement tries to connect.
    """

    def __init__(
        self,
        address: DatabaseAddress,
        *,
        timeout_s: float = TIMEOUT_S,
        max_backoff_s: float = 0.0,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.address = address
        self._timeout_s = timeout_s
        self._max_backoff_s = max_backoff_s
        self._now_s = now_s
        self._connection: pymysql.Connection[Any] | None = None
        self._used_s = 0.0
        # Of the last attempt to connect, None after a successful one.
        self._failure: MythJobsError | None = None
        self._retry_s = 0.0
        self._backoff_s = _MIN_BACKOFF_S

    def query(self, sql: str, *values: object) -> list[Row]:
        """Return the rows of a read, repeated once if the connection was lost."""
        try:
            return self._fetch(sql, values)
        except Unreachable:
            if self._connection is not None:
                raise
            return self._fetch(sql, values)

    def execute(self, sql: str, *values: object) -> int:
        """Return the number of rows that a change changed; rows that had the values already do not
        count. It is not repeated: if the connection is lost, the change may have been made."""
        return self._run(sql, values)[0]

    def insert(self, sql: str, *values: object) -> int:
        """Insert a row; return its automatic number."""
        return self._run(sql, values)[1]

    def execute_many(self, sql: str, rows: Sequence[Sequence[object]]) -> None:
        """Insert many rows; pymysql joins them into few statements."""
        if rows:
            with self._translated() as connection, connection.cursor() as cursor:
                cursor.executemany(sql, rows)

    @contextmanager
    def locked(self, *tables: str) -> Iterator[None]:
        """Lock tables for writing until the end of the block. Most tables of MythTV are MyISAM,
        which has no transactions: a lock is the only way to hide a change of two statements. Only
        the locked tables may be used inside."""
        self._run("LOCK TABLES " + ", ".join(f"{each} WRITE" for each in tables), ())
        try:
            yield
        finally:
            # The server releases the locks of a connection that is lost.
            if self._connection is not None:
                self._run("UNLOCK TABLES", ())

    @property
    def is_connected(self) -> bool:
        return self._connection is not None

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            connection.close()

    def __enter__(self) -> MythDatabase:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _fetch(self, sql: str, values: Sequence[object]) -> list[Row]:
        with self._translated() as connection, connection.cursor() as cursor:
            # Without values pymysql does not read % as a placeholder.
            cursor.execute(sql, values or None)
            return list(cursor.fetchall())

    def _run(self, sql: str, values: Sequence[object]) -> tuple[int, int]:
        with self._translated() as connection, connection.cursor() as cursor:
            changed = cursor.execute(sql, values or None)
            return changed, int(cursor.lastrowid or 0)

    @contextmanager
    def _translated(self) -> Iterator[pymysql.Connection[Any]]:
        """Yield the connection; raise its errors as errors of mythjobs."""
        import pymysql

        connection = self._open()
        try:
            yield connection
        except pymysql.MySQLError as error:
            number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
            text = error.args[-1] if error.args else ""
            if number in _LOST:
                self.close()
                raise Unreachable(
                    f"lost the connection to MythTV's database {self.address.label}: "
                    f"{text or number}"
                ) from None
            if number in (1044, 1142, 1143, 1227):
                raise ConfigError(
                    f"MythTV's database {self.address.label} does not permit it: {text}; grant the "
                    f"user all rights on {self.address.name}, as MythTV's set-up does"
                ) from None
            raise MythDatabaseError(
                f"MythTV's database {self.address.label} failed: {text} (error {number})"
            ) from None
        except UnicodeError as error:
            # What the server has sent after it is not read.
            self.close()
            raise MythDatabaseError(
                f"MythTV's database {self.address.label} has or gets a text that is not valid "
                f"({error})"
            ) from None
        self._used_s = self._now_s()

    def _open(self) -> pymysql.Connection[Any]:
        import pymysql

        if self._connection is not None:
            if self._now_s() - self._used_s < _CHECK_AFTER_S:
                return self._connection
            try:
                self._connection.ping(reconnect=False)
                return self._connection
            except pymysql.MySQLError:
                self.close()
        if self._failure is not None and self._now_s() < self._retry_s:
            raise type(self._failure)(self._failure.sentence)
        try:
            self._connection = self._connect()
        except MythJobsError as error:
            self._failure = error
            self._retry_s = self._now_s() + min(self._backoff_s, self._max_backoff_s)
            self._backoff_s = min(2 * self._backoff_s, max(self._max_backoff_s, _MIN_BACKOFF_S))
            raise
        self._failure, self._backoff_s = None, _MIN_BACKOFF_S
        self._used_s = self._now_s()
        return self._connection

    def _connect(self) -> pymysql.Connection[Any]:
        import pymysql
        from pymysql.constants import FIELD_TYPE
        from pymysql.converters import conversions

        # Dates stay texts: MythTV writes 0000-00-00, which is no date in Python.
        texts = (FIELD_TYPE.DATETIME, FIELD_TYPE.TIMESTAMP, FIELD_TYPE.DATE, FIELD_TYPE.TIME)
        address = self.address
        try:
            connection = pymysql.connect(
                host=address.host,
                port=address.port,
                user=address.user,
                password=address.password,
                database=address.name,
                charset="utf8mb4",
                autocommit=True,
                connect_timeout=_CONNECT_TIMEOUT_S,
                read_timeout=self._timeout_s,
                write_timeout=self._timeout_s,
                cursorclass=pymysql.cursors.DictCursor,
                conv={each: to for each, to in conversions.items() if each not in texts},
                # As MythTV does: times are UTC, and strict mode would refuse its own defaults.
                init_command="SET time_zone = '+00:00', sql_mode = ''",
                # Without this pymysql loads all certificates of the system, which takes 15 ms, into
                # a context that checks none of them.
                ssl_disabled=True,
                defer_connect=True,
            )
            # TLS if the server has it, as by default.
            connection.ssl, connection.ctx = True, _make_tls_context()
            connection.connect(_connect_socket(address.socket) if address.socket else None)
            return connection
        except pymysql.MySQLError as error:
            number = error.args[0] if error.args else 0
            text = error.args[-1] if error.args else error
            if number in _REFUSED:
                raise ConfigError(
                    f"MythTV's database {address.label} refuses access: {text}; correct user, "
                    f"password and name in {address.source or 'the address'}"
                ) from None
            raise Unreachable(
                f"cannot reach MythTV's database {address.label}: {text}; check that its server "
                "runs and listens on this address (bind-address in its configuration), and the "
                f"address in {address.source or 'the settings'}"
            ) from None


def _make_tls_context() -> ssl.SSLContext:
    """Return a context that encrypts and checks no certificate: MythTV's servers have their own."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _connect_socket(path: str) -> socket.socket:
    """Return a connected Unix socket. pymysql does not close its own if the connect fails."""
    import pymysql

    sock = socket.socket(socket.AF_UNIX)
    try:
        sock.settimeout(_CONNECT_TIMEOUT_S)
        sock.connect(path)
    except OSError as error:
        sock.close()
        raise pymysql.OperationalError(2002, f"{path}: {error.strerror or error}") from None
    return sock


def read_schema(database: MythDatabase) -> int:
    """Return the schema's version. Raises ConfigError if this is not a usable MythTV database."""
    try:
        rows = database.query("SELECT data FROM settings WHERE value = 'DBSchemaVer'")
    except MythDatabaseError as error:
        if "1146" not in error.sentence:
            raise
        rows = []
    found = str(rows[0]["data"]) if rows else ""
    if not found.isdecimal():
        raise ConfigError(f"{database.address.label} is not a database of MythTV")
    if int(found) < OLDEST_SCHEMA:
        raise ConfigError(
            f"MythTV's database has schema {found}; mythjobs needs {OLDEST_SCHEMA} (MythTV 0.28) "
            "or newer"
        )
    return int(found)


def parse_ms(text: object) -> int | None:
    """Return the instant of a datetime column; None for NULL and 0000-00-00."""
    if not isinstance(text, str) or text.startswith("0000"):
        return None
    try:
        parsed = datetime.fromisoformat(text[:19])
    except ValueError:
        return None
    return round(parsed.replace(tzinfo=UTC).timestamp() * 1000)


def format_ms(instant_ms: int) -> str:
    """Return the text of an instant for a datetime column, in UTC."""
    return datetime.fromtimestamp(instant_ms // 1000, UTC).strftime(_FORMAT)
