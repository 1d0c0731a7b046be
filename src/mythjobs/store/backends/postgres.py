"""A store in a PostgreSQL database, alone in it: every session that writes is ours."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NoReturn

import psycopg
from psycopg import errors
from psycopg.pq import TransactionStatus
from sqlalchemy import create_engine
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.pool import NullPool

from mythjobs.errors import BadRequest, ConfigError, StoreAway, StoreFailed, StoreFull, Taken
from mythjobs.store.migrate import migrate
from mythjobs.store.transaction import RetryTransaction, Store, Transaction, redact_password
from mythjobs.store.writes import counters

_CONNECT_S: Final = 5
# A server that answers nothing is not waited for longer than this, in ms.
_SILENT_MS: Final = 15_000
# After a COMMIT without an answer: so long the server is asked what became of it.
_SETTLE_S: Final = 60.0
_LOOK_S: Final = 0.2
_LOCK: Final = int.from_bytes(b"mythjobs", "big")
_HOLDER: Final = (
    "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
    "AND (classid::bigint << 32 | objid::bigint) = %s"
)
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED; SELECT pg_current_xact_id()::text"
_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
_OLDEST: Final = 130_000  # pg_xact_status() of 64 bits
# Every statement of a turn has its index. The planner, which may have seen the queue last when it
# was empty, must not choose to read all of it.
_PLANS: Final = (
    "SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off; SET jit = off"
)
_UNSAFE: Final = {
    "fsync": ("off", "acknowledged jobs are lost with the power"),
    "synchronous_commit": ("off", "acknowledged jobs are lost with the server"),
    "data_sync_retry": ("on", "a failed fsync would be taken for a good one"),
}

Connection = psycopg.Connection[tuple[Any, ...]]


class PostgresStore(Store):
    """`unsafe` takes a server that may lose what it has acknowledged: in tests only."""

    def __init__(self, url: str, *, unsafe: bool = False, settle_s: float = _SETTLE_S) -> None:
        """Raises ConfigError, StoreAway, Taken. `turn()` raises Taken as well, once another master
        has the database."""
        self._url = url
        self._said_url = redact_password(url)
        self._unsafe = unsafe
        self._settle_s = settle_s
        # Values by position, so that our statements are the same tuples for both drivers.
        self._dialect = PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]
        self._readers: list[Connection] = []
        self._writer: Connection | None = None
        self._session = 0  # the server's process that has the lock for us
        self._writer = self._open_writer()
        engine = create_engine("postgresql+psycopg://", poolclass=NullPool, creator=self._connect)
        migrate(engine)
        engine.dispose()

    def _connect(self) -> Connection:
        try:
            connection = psycopg.connect(
                self._url,
                autocommit=True,
                prepare_threshold=2,
                connect_timeout=_CONNECT_S,
                tcp_user_timeout=_SILENT_MS,
                application_name="mythjobs",
            )
        except psycopg.ProgrammingError as error:
            raise ConfigError(f"{self._said_url} is no PostgreSQL URL: {error}") from error
        except psycopg.OperationalError as error:
            raise self._away(error) from error
        connection.prepared_max = 500
        return connection

    def _open_writer(self) -> Connection:
        writer = self._connect()
        try:
            self._refuse_unsafe(writer)
            writer.execute(_PLANS)
            # Of a session, so that the server lets go of it when we are gone.
            [taken] = writer.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone() or [0]
            if not taken:
                self._give_way(writer)
        except BaseException:
            writer.close()
            raise
        self._session = writer.info.backend_pid
        return writer

    def _give_way(self, connection: Connection) -> NoReturn:
        """Somebody has the lock. Raises Taken; or StoreAway if it is the session that we lost,
        which the server may not notice for hours: that is ended."""
        row = connection.execute(_HOLDER, (_LOCK,)).fetchone()
        holder = None if row is None else row[0]
        if holder == self._session:
            connection.execute("SELECT pg_terminate_backend(%s)", (holder,))
        if self._session and holder in (None, self._session):
            raise StoreAway(f"{self._said_url} has not let go of the connection that was lost")
        what = "has taken" if self._session else "uses"
        raise Taken(f"another master {what} {self._said_url}; end it first")

    def _refuse_unsafe(self, connection: Connection) -> None:
        if connection.info.server_version < _OLDEST:
            raise ConfigError(
                f"{self._said_url} is PostgreSQL {connection.info.server_version // 10000}; "
                f"mythjobs needs {_OLDEST // 10000} or newer"
            )
        if self._unsafe:
            return
        for name, (bad, why) in _UNSAFE.items():
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            if row is not None and row[0] == bad:
                raise ConfigError(
                    f"{self._said_url} has {name} = {bad}, with which {why}; change it there"
                )

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        writer, tx, transaction_id = self._begun()
        try:
            yield tx
            tx.completed_batches = counters.write_changes(tx)
        except BaseException as error:
            self._roll_back(writer)
            if isinstance(error, psycopg.Error):
                self._take_in(error, writer)
            raise
        try:
            writer.execute("COMMIT", prepare=False)
        except psycopg.Error as error:
            if not writer.closed:
                self._roll_back(writer)
                self._take_in(error, writer)
                raise
            self._forget(writer)
            self._settle(transaction_id, error)

    def _begun(self) -> tuple[Connection, Transaction, str]:
        """A transaction, and its own number, by which its fate can be asked. Raises StoreAway."""
        # A connection that was lost while nothing was asked of it is found out here.
        for last in (False, True):
            writer = self._there()
            tx = Transaction(writer.cursor(), self._dialect)
            try:
                tx.cursor.execute(_BEGIN, prepare=False)
                tx.cursor.nextset()
                return writer, tx, str(tx.cursor.fetchone()[0])
            except psycopg.OperationalError as error:
                self._roll_back(writer)
                if last or not writer.closed:
                    self._take_in(error, writer)
                    raise
        raise AssertionError("unreachable")

    def _there(self) -> Connection:
        """The writing connection, made again if it was lost. Raises StoreAway, Taken."""
        if self._writer is not None and self._writer.closed:
            self._forget(self._writer)
        if self._writer is None:
            self._writer = self._open_writer()
        return self._writer

    def _roll_back(self, writer: Connection) -> None:
        try:
            if not writer.closed and writer.info.transaction_status is not TransactionStatus.IDLE:
                writer.execute("ROLLBACK", prepare=False)
        except psycopg.Error:
            writer.close()  # the server rolls back what has no session

    def _forget(self, writer: Connection) -> None:
        writer.close()
        self._writer = None

    def _take_in(self, error: psycopg.Error, writer: Connection) -> None:
        """Raises our own error for what is not the statement's fault."""
        if isinstance(error, errors.SerializationFailure | errors.DeadlockDetected):
            raise RetryTransaction from error
        if isinstance(error, errors.DiskFull):
            raise StoreFull(
                f"the disk of {self._said_url} is full; nothing new is taken until there is room"
            ) from error
        if isinstance(error, psycopg.DataError):
            raise BadRequest(f"a text cannot be stored in PostgreSQL: {error}") from error
        if isinstance(error, errors.IoError):
            raise StoreFailed(f"{self._said_url} failed: {error}; nothing was lost") from error
        if writer.closed:
            # Before a COMMIT was sent: all of it is undone.
            self._forget(writer)
            raise self._away(error) from error

    def _settle(self, transaction_id: str, lost: psycopg.Error) -> None:
        """The connection was lost at COMMIT: returns if it was committed all the same.

        Nothing is done twice on a guess. Raises StoreAway if it was not committed, StoreFailed
        if nobody can say; whoever starts again then reads what is so.
        """
        until = time.monotonic() + self._settle_s
        while time.monotonic() < until:
            try:
                with self._connect() as connection:
                    status = _status(connection, transaction_id)
            except (StoreAway, psycopg.OperationalError):
                status = "in progress"
            if status == "committed":
                return
            if status == "aborted":
                raise self._away(lost) from lost
            time.sleep(_LOOK_S)
        raise StoreFailed(
            f"the connection to {self._said_url} was lost at a commit, and the server does not "
            "say whether it was made; start again when it answers"
        ) from lost

    def _away(self, error: psycopg.Error) -> StoreAway:
        first = (str(error).strip().splitlines() or ["no answer"])[0]
        return StoreAway(f"{self._said_url} cannot be reached: {first}")

    @contextmanager
    def snapshot(self) -> Iterator[Transaction]:
        connection = self._begun_reader()
        try:
            yield Transaction(connection.cursor(), self._dialect)
        except psycopg.Error as error:
            if connection.closed:
                raise self._away(error) from error
            raise
        finally:
            self._roll_back(connection)
            if connection.closed:
                connection.close()
            else:
                self._readers.append(connection)

    def _begun_reader(self) -> Connection:
        """A session in a snapshot. One that was lost while it was idle is found out here."""
        while True:
            pooled = self._pooled()
            connection = pooled or self._connect()
            try:
                connection.execute(_SNAPSHOT)
                return connection
            except psycopg.OperationalError as error:
                connection.close()
                if pooled is None:
                    raise self._away(error) from error

    def _pooled(self) -> Connection | None:
        try:
            return self._readers.pop()
        except IndexError:
            return None

    def close(self) -> None:
        for connection in (*self._readers, self._writer):
            if connection is not None:
                connection.close()


def _status(connection: Connection, transaction_id: str) -> str:
    row = connection.execute("SELECT pg_xact_status(%s::xid8)", (transaction_id,)).fetchone()
    # NULL: so long ago that the server has forgotten it, which cannot be.
    return str(row[0]) if row is not None and row[0] is not None else "in progress"
