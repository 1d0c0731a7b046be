"""PostgreSQL store. An advisory lock ensures that only one master uses the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple, NoReturn, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import NullPool

from mythjobs.errors import (
    AlreadyRunning,
    BadRequest,
    ConfigError,
    StoreFailed,
    StoreFull,
    StoreUnavailable,
)
from mythjobs.store.migrate import migrate
from mythjobs.store.transaction import RetryTransaction, Store, Transaction, redact_password
from mythjobs.store.writes import counters

# Time (TCP_USER_TIMEOUT) after which a server that acknowledges no packet counts as lost.
_TCP_TIMEOUT_MS: Final = 15_000
_COMMIT_POLL_S: Final = 0.2
# Time for the server to receive a request to cancel a statement.
_CANCEL_S: Final = 1.0
T = TypeVar("T")

_LOCK_KEY: Final = int.from_bytes(b"mythjobs", "big")
_FIND_LOCK_HOLDER: Final = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (classid::bigint << 32 | objid::bigint) = %s"
)
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_current_xact_id()::text"
_BEGIN_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_MIN_VERSION: Final = 130_000  # first with a 64-bit pg_xact_status()
# Forbid plans that read whole tables. Every statement of a transaction or request can use an index,
# but with statistics from an empty queue the planner may prefer to scan the table.
_PLANNER_SETTINGS: Final = (
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
)
# Server settings: for each, the value with which the master refuses to start, and the reason.
_UNSAFE_SETTINGS: Final = {
    "fsync": ("off", "a power failure loses acknowledged jobs"),
    "synchronous_commit": ("off", "a crash of the server loses acknowledged jobs"),
    "data_sync_retry": ("on", "the server treats a failed fsync as successful"),
}


class TimeLimits(NamedTuple):
    """Time limits of the PostgreSQL store. Only tests use other values than the defaults.

    statement_s: duration of a statement; the server aborts it. long_s: duration of a statement
    that reads whole tables, as in `mythjobs check`. lock_s: wait for another session's lock.
    answer_s: wait for an answer of the server, longer than statement_s. This limit detects a
    server process that hangs while its kernel still acknowledges packets: no TCP timeout does.
    commit_check_s: time to find the result of a COMMIT whose answer was lost.
    """

    statement_s: float = 20.0
    lock_s: float = 5.0
    answer_s: float = 30.0
    long_s: float = 900.0
    connect_s: int = 5
    commit_check_s: float = 60.0


_LIMITS: Final = TimeLimits()


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that closes itself if the server does not answer within `answer_s`.

    answer_s: None means no limit.
    """

    answer_s: float | None = None

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        try:
            return super().wait(gen, interval, self.answer_s if timeout is None else timeout)
        except errors._WaitTimeout:
            self.close()
            raise psycopg.OperationalError(
                f"the server has not answered for {self.answer_s:g} s"
            ) from None


class PostgresStore(Store):
    """Store in a PostgreSQL database.

    unsafe: accept a server that may lose acknowledged data; for tests only.
    """

    def __init__(self, url: str, *, unsafe: bool = False, limits: TimeLimits = _LIMITS) -> None:
        """Connect, lock the database and migrate it.

        Raises ConfigError, StoreUnavailable, and AlreadyRunning if another master uses the
        database. transaction() also raises AlreadyRunning, if another master has locked the
        database after this store lost its connection.
        """
        self._url = url
        self._shown_url = redact_password(url)
        self._unsafe = unsafe
        self._limits = limits
        # Use positional parameters, as SQLite does, so that both drivers take the same tuples.
        self._dialect = PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]
        self._readers: list[Connection] = []
        self._long_readers: set[Connection] = set()
        self._writer: Connection | None = None
        self._lock_pid = 0  # server process (pid) of the session that holds this master's lock
        self._writer = self._open_writer()
        # Migrate on a session without time limits, because a migration may take long.
        engine = create_engine("postgresql+psycopg://", poolclass=NullPool, creator=self._connect)
        migrate(engine)
        engine.dispose()

    def _connect(self) -> Connection:
        """Open a session without time limits for statements."""
        try:
            connection = Connection.connect(
                self._url,
                autocommit=True,
                prepare_threshold=2,
                connect_timeout=self._limits.connect_s,
                tcp_user_timeout=_TCP_TIMEOUT_MS,
                application_name="mythjobs",
                # TCP keepalive of an idle connection: three unanswered probes end it.
                keepalives=1,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
            )
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"{self._shown_url} is not a PostgreSQL URL: {error}") from error
        except psycopg.OperationalError as error:
            raise self._unavailable(error) from error
        connection.prepared_max = 500
        return connection

    def _connect_limited(self) -> Connection:
        connection = self._connect()
        connection.answer_s = self._limits.answer_s
        statement_ms, lock_ms = (
            round(1000 * each) for each in (self._limits.statement_s, self._limits.lock_s)
        )
        connection.execute(
            f"{_PLANNER_SETTINGS}; SET statement_timeout = {statement_ms}; "
            f"SET lock_timeout = {lock_ms}"
        )
        return connection

    def _open_writer(self) -> Connection:
        writer = self._connect_limited()
        try:
            self._check_server(writer)
            # Take a session-level lock, which the server releases when the session ends.
            row = writer.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK_KEY,)).fetchone()
            if row is None or not row[0]:
                self._raise_locked(writer)
        except BaseException:
            writer.close()
            raise
        self._lock_pid = writer.info.backend_pid
        return writer

    def _raise_locked(self, connection: Connection) -> NoReturn:
        """Raise AlreadyRunning if another master holds the lock.

        If this store's own lost session still holds the lock (the server may take hours to notice
        the loss), terminate that session and raise StoreUnavailable.
        """
        row = connection.execute(_FIND_LOCK_HOLDER, (_LOCK_KEY,)).fetchone()
        holder = None if row is None else row[0]
        if holder == self._lock_pid:
            connection.execute("SELECT pg_terminate_backend(%s)", (holder,))
        if self._lock_pid and holder in (None, self._lock_pid):
            raise StoreUnavailable(f"{self._shown_url} still holds the lock of the lost connection")
        verb = "has taken over" if self._lock_pid else "uses"
        raise AlreadyRunning(f"another master {verb} {self._shown_url}; stop that master first")

    def _check_server(self, connection: Connection) -> None:
        """Raise ConfigError if the server is too old or its settings lose acknowledged data."""
        version = connection.info.server_version
        if version < _MIN_VERSION:
            raise ConfigError(
                f"{self._shown_url} is PostgreSQL {version // 10000}; "
                f"mythjobs needs {_MIN_VERSION // 10000} or newer"
            )
        if self._unsafe:
            return
        for name, (refused, why) in _UNSAFE_SETTINGS.items():
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            if row is not None and row[0] == refused:
                raise ConfigError(
                    f"{self._shown_url} has {name} = {refused}: {why}; change it on the server"
                )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        writer, tx, transaction_id = self._begin()
        try:
            yield tx
            tx.completed_batches += counters.write_changes(tx)
        except BaseException as error:
            self._roll_back(writer)
            if isinstance(error, psycopg.Error):
                self._raise_store_error(error, writer)
            raise
        try:
            writer.execute("COMMIT", prepare=False)
        except psycopg.Error as error:
            if not writer.closed:
                self._roll_back(writer)
                self._raise_store_error(error, writer)
                raise
            self._discard_writer(writer)
            self._resolve_commit(transaction_id, error)

    def _begin(self) -> tuple[Connection, Transaction, str]:
        """Begin a transaction; return its connection, the transaction, and the transaction id.

        The loss of an idle connection is noticed only at its next use, here. So a failure that
        closed the connection is retried once, on a new one. Raises StoreUnavailable.
        """
        for is_last in (False, True):
            writer = self._ensure_writer()
            tx = Transaction(writer.cursor(), self._dialect)
            try:
                tx.cursor.execute(_BEGIN, prepare=False)
                tx.cursor.nextset()
                return writer, tx, str(tx.cursor.fetchone()[0])
            except psycopg.OperationalError as error:
                self._roll_back(writer)
                if is_last or not writer.closed:
                    self._raise_store_error(error, writer)
                    raise
        raise AssertionError("unreachable")

    def _ensure_writer(self) -> Connection:
        """Return the writing connection; open a new one if it was lost.

        Raises StoreUnavailable, AlreadyRunning.
        """
        if self._writer is not None and self._writer.closed:
            self._discard_writer(self._writer)
        if self._writer is None:
            self._writer = self._open_writer()
        return self._writer

    def _roll_back(self, connection: Connection) -> None:
        try:
            if connection.closed or connection.info.transaction_status is TransactionStatus.IDLE:
                return
            connection.execute("ROLLBACK", prepare=False)
        except psycopg.Error:
            connection.close()  # the server rolls back when the session ends

    def _discard_writer(self, writer: Connection) -> None:
        writer.close()
        self._writer = None

    def _raise_store_error(self, error: psycopg.Error, writer: Connection) -> None:
        """Raise a store error if server or connection failed; return if only a statement failed."""
        if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
            raise RetryTransaction from error
        if isinstance(error, errors.DiskFull):
            raise StoreFull(
                f"the disk of {self._shown_url} is full; requests that need space are refused "
                "until some is freed"
            ) from error
        if isinstance(error, psycopg.DataError):
            raise BadRequest(f"PostgreSQL cannot store a text of the request: {error}") from error
        if isinstance(error, errors.IoError):
            raise StoreFailed(f"{self._shown_url} failed: {error}; nothing was lost") from error
        if isinstance(error, errors.QueryCanceled):
            raise StoreUnavailable(
                f"{self._shown_url} is overloaded: a statement took longer than "
                f"{self._limits.statement_s:g} s; see pg_stat_activity on the server"
            ) from error
        if isinstance(error, errors.LockNotAvailable):
            raise StoreUnavailable(
                f"{self._shown_url} is blocked: another session has locked a table for longer "
                f"than {self._limits.lock_s:g} s; find the session in pg_locks and end it"
            ) from error
        if writer.closed:
            # No COMMIT was sent, so the server rolls the whole transaction back.
            self._discard_writer(writer)
            raise self._unavailable(error) from error

    def _resolve_commit(self, transaction_id: str, lost: psycopg.Error) -> None:
        """Find out whether a transaction was committed whose connection was lost at COMMIT.

        Return if it was committed. Raises StoreUnavailable if the server rolled it back. Raises
        StoreFailed if the result is not known in time; then the master exits, and after its restart
        it reads from the store what was committed.
        """
        until = time.monotonic() + self._limits.commit_check_s
        while time.monotonic() < until:
            try:
                with self._connect() as connection:
                    status = _read_status(connection, transaction_id)
            except (StoreUnavailable, psycopg.OperationalError):
                status = "in progress"
            if status == "committed":
                return
            if status == "aborted":
                raise self._unavailable(lost) from lost
            time.sleep(_COMMIT_POLL_S)
        raise StoreFailed(
            f"the connection to {self._shown_url} was lost at a commit, and the server does not "
            "say whether it was made; start the master again when the server answers"
        ) from lost

    def _unavailable(self, error: psycopg.Error) -> StoreUnavailable:
        first = (str(error).strip().splitlines() or ["no answer"])[0]
        return StoreUnavailable(f"cannot reach {self._shown_url}: {first}")

    @contextmanager
    def snapshot(self, *, long: bool = False) -> Iterator[Transaction]:
        connection = self._begin_snapshot()
        try:
            if long:
                connection.answer_s = self._limits.long_s
                connection.execute("SET LOCAL statement_timeout = 0")
                self._long_readers.add(connection)
            yield Transaction(connection.cursor(), self._dialect)
        except psycopg.Error as error:
            if connection.closed:
                raise self._unavailable(error) from error
            if isinstance(error, errors.QueryCanceled):
                self._raise_store_error(error, connection)
            raise
        finally:
            self._long_readers.discard(connection)
            connection.answer_s = self._limits.answer_s
            self._roll_back(connection)
            if connection.closed:
                connection.close()
            else:
                self._readers.append(connection)

    def _begin_snapshot(self) -> Connection:
        """Begin a snapshot on an idle session that is not lost, or on a new session.

        Raises StoreUnavailable.
        """
        while True:
            idle = self._pop_reader()
            connection = idle or self._connect_limited()
            try:
                connection.execute(_BEGIN_SNAPSHOT)
                return connection
            except psycopg.OperationalError as error:
                connection.close()
                if idle is None:
                    raise self._unavailable(error) from error

    def _pop_reader(self) -> Connection | None:
        try:
            return self._readers.pop()
        except IndexError:
            return None

    def interrupt_long_snapshots(self) -> None:
        # Otherwise the server finishes these statements, also after this process has ended.
        for connection in tuple(self._long_readers):
            with suppress(psycopg.Error):
                connection.cancel_safe(timeout=_CANCEL_S)

    def close(self) -> None:
        for connection in (*self._readers, self._writer):
            if connection is not None:
                connection.close()


def _read_status(connection: Connection, transaction_id: str) -> str:
    row = connection.execute("SELECT pg_xact_status(%s::xid8)", (transaction_id,)).fetchone()
    # The server returns NULL for a transaction too old to have a known status. This transaction
    # began minutes ago at most, so do not trust NULL: the caller tries again.
    return str(row[0]) if row is not None and row[0] is not None else "in progress"
