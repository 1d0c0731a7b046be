"""PostgreSQL store. An advisory lock ensures that only one master uses the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final, NoReturn

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import NullPool

from mythjobs.errors import (
    AlreadyRunning,
    BadRequest,
    StoreFailed,
    StoreFull,
    StoreUnavailable,
)
from mythjobs.store.backends.postgres_server import DEFAULT_LIMITS, Connection, Server, TimeLimits
from mythjobs.store.migrate import migrate
from mythjobs.store.transaction import RetryTransaction, Store, Transaction
from mythjobs.store.writes import counters

_COMMIT_POLL_S: Final = 0.2
# Time for the server to receive a request to cancel a statement.
_CANCEL_S: Final = 1.0

_LOCK_KEY: Final = int.from_bytes(b"mythjobs", "big")
_FIND_LOCK_HOLDER: Final = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (classid::bigint << 32 | objid::bigint) = %s"
)
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_current_xact_id()::text"
_BEGIN_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PostgresStore(Store):
    """Store in a PostgreSQL database.

    unsafe: accept a server that may lose acknowledged data; for tests only.
    """

    def __init__(
        self, url: str, *, unsafe: bool = False, limits: TimeLimits = DEFAULT_LIMITS
    ) -> None:
        """Connect, lock the database and migrate it.

        Raises ConfigError, StoreUnavailable, and AlreadyRunning if another master uses the
        database. transaction() also raises AlreadyRunning, if another master has locked the
        database after this store lost its connection.
        """
        self._server = Server(url, limits, unsafe=unsafe)
        self._limits = limits
        # Use positional parameters, as SQLite does, so that both drivers take the same tuples.
        self._dialect = PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]
        self._readers: list[Connection] = []
        self._long_readers: set[Connection] = set()
        self._writer: Connection | None = None
        self._lock_pid = 0  # server process (pid) of the session that holds this master's lock
        self._writer = self._open_writer()
        # Migrate on a session without time limits, because a migration may take long.
        engine = create_engine(
            "postgresql+psycopg://", poolclass=NullPool, creator=self._server.connect
        )
        migrate(engine)
        engine.dispose()

    def _open_writer(self) -> Connection:
        writer = self._server.connect_limited()
        try:
            self._server.check(writer)
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
        label = self._server.label
        if self._lock_pid and holder in (None, self._lock_pid):
            raise StoreUnavailable(f"{label} still holds the lock of the lost connection")
        verb = "has taken over" if self._lock_pid else "uses"
        raise AlreadyRunning(f"another master {verb} {label}; stop that master first")

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
        label = self._server.label
        if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
            raise RetryTransaction from error
        if isinstance(error, errors.DiskFull):
            raise StoreFull(
                f"the disk of {label} is full; requests that need space are refused "
                "until some is freed"
            ) from error
        if isinstance(error, psycopg.DataError):
            raise BadRequest(f"PostgreSQL cannot store a text of the request: {error}") from error
        if isinstance(error, errors.IoError):
            raise StoreFailed(f"{label} failed: {error}; nothing was lost") from error
        if isinstance(error, errors.QueryCanceled):
            raise StoreUnavailable(
                f"{label} is overloaded: a statement took longer than "
                f"{self._limits.statement_s:g} s; see pg_stat_activity on the server"
            ) from error
        if isinstance(error, errors.LockNotAvailable):
            raise StoreUnavailable(
                f"{label} is blocked: another session has locked a table for longer "
                f"than {self._limits.lock_s:g} s; find the session in pg_locks and end it"
            ) from error
        if writer.closed:
            # No COMMIT was sent, so the server rolls the whole transaction back.
            self._discard_writer(writer)
            raise self._server.explain_loss(error) from error

    def _resolve_commit(self, transaction_id: str, lost: psycopg.Error) -> None:
        """Find out whether a transaction was committed whose connection was lost at COMMIT.

        Return if it was committed. Raises StoreUnavailable if the server rolled it back. Raises
        StoreFailed if the result is not known in time; then the master exits, and after its restart
        it reads from the store what was committed.
        """
        until = time.monotonic() + self._limits.commit_check_s
        while time.monotonic() < until:
            try:
                with self._server.connect() as connection:
                    status = _read_status(connection, transaction_id)
            except (StoreUnavailable, psycopg.OperationalError):
                status = "in progress"
            if status == "committed":
                return
            if status == "aborted":
                raise self._server.explain_loss(lost) from lost
            time.sleep(_COMMIT_POLL_S)
        raise StoreFailed(
            f"the connection to {self._server.label} was lost at a commit, and the server does not "
            "say whether it was made; start the master again when the server answers"
        ) from lost

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
                raise self._server.explain_loss(error) from error
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
            connection = idle or self._server.connect_limited()
            try:
                connection.execute(_BEGIN_SNAPSHOT)
                return connection
            except psycopg.OperationalError as error:
                connection.close()
                if idle is None:
                    raise self._server.explain_loss(error) from error

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
