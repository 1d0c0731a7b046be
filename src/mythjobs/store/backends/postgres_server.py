"""Sessions of a PostgreSQL server: time limits, connecting, and checks of the server."""

from __future__ import annotations

from typing import Any, Final, NamedTuple, TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen

from mythjobs.errors import ConfigError, StoreUnavailable
from mythjobs.store.transaction import redact_password

# Time (TCP_USER_TIMEOUT) after which a server that acknowledges no packet counts as lost.
_TCP_TIMEOUT_MS: Final = 15_000
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
T = TypeVar("T")


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


DEFAULT_LIMITS: Final = TimeLimits()


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


class Server:
    """The server and database of a store, named by a URL. label: the URL without its password.

    unsafe: accept a server that may lose acknowledged data; for tests only.
    """

    def __init__(self, url: str, limits: TimeLimits, *, unsafe: bool) -> None:
        self._url = url
        self._limits = limits
        self._unsafe = unsafe
        self.label = redact_password(url)

    def connect(self) -> Connection:
        """Open a session without time limits for statements. Raises ConfigError if the URL is not
        one of PostgreSQL, StoreUnavailable."""
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
            raise ConfigError(f"{self.label} is not a PostgreSQL URL: {error}") from error
        except psycopg.OperationalError as error:
            raise self.explain_loss(error) from error
        connection.prepared_max = 500
        return connection

    def connect_limited(self) -> Connection:
        """Open a session with time limits, and without plans that read whole tables."""
        connection = self.connect()
        connection.answer_s = self._limits.answer_s
        statement_ms, lock_ms = (
            round(1000 * each) for each in (self._limits.statement_s, self._limits.lock_s)
        )
        connection.execute(
            f"{_PLANNER_SETTINGS}; SET statement_timeout = {statement_ms}; "
            f"SET lock_timeout = {lock_ms}"
        )
        return connection

    def check(self, connection: Connection) -> None:
        """Raise ConfigError if the server is too old or its settings lose acknowledged data."""
        version = connection.info.server_version
        if version < _MIN_VERSION:
            raise ConfigError(
                f"{self.label} is PostgreSQL {version // 10000}; "
                f"mythjobs needs {_MIN_VERSION // 10000} or newer"
            )
        if self._unsafe:
            return
        for name, (refused, why) in _UNSAFE_SETTINGS.items():
            row = connection.execute("SELECT current_setting(%s)", (name,)).fetchone()
            if row is not None and row[0] == refused:
                raise ConfigError(
                    f"{self.label} has {name} = {refused}: {why}; change it on the server"
                )

    def explain_loss(self, error: psycopg.Error) -> StoreUnavailable:
        """Return the error of a lost or refused connection."""
        first = (str(error).strip().splitlines() or ["no answer"])[0]
        return StoreUnavailable(f"cannot reach {self.label}: {first}")
