"""PostgreSQL store: a server that hangs, a statement that takes too long, a lock that is held."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import psycopg
import pytest

from mythjobs.errors import StoreFailed, StoreUnavailable
from mythjobs.store.backends.postgres import PostgresStore
from mythjobs.store.backends.postgres_server import TimeLimits
from tests.support import postgres
from tests.support import queue as q

LIMITS = TimeLimits(statement_s=0.3, lock_s=0.1, answer_s=0.5, connect_s=2, commit_check_s=1)
# Far more than the limits together, far less than the minutes of the kernel's own timeouts.
SOON_S = 30.0

pytestmark = pytest.mark.slow


@pytest.fixture
def url(server: postgres.PostgresServer, migrated_database: str) -> str:
    return server.create_database(template=migrated_database)


@pytest.fixture
def database(url: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(url, unsafe=True, limits=LIMITS)
    yield opened
    opened.close()


def _expect(error: type[Exception], text: str, action: Callable[[], object]) -> None:
    start_s = time.monotonic()
    with pytest.raises(error, match=text):
        action()
    assert time.monotonic() - start_s < SOON_S


def _queue(database: PostgresStore) -> int:
    with database.transaction() as tx:
        return q.queue_job(tx)


def _read(database: PostgresStore) -> None:
    with database.snapshot() as tx:
        tx.cursor.execute("SELECT 1")


def test_a_frozen_server_is_unavailable_and_used_again_once_it_answers(
    server: postgres.PostgresServer, database: PostgresStore
) -> None:
    assert _queue(database) == 1
    _read(database)
    with server.frozen():
        for _ in range(2):
            _expect(StoreUnavailable, "cannot reach", lambda: _queue(database))
            _expect(StoreUnavailable, "cannot reach", lambda: _read(database))
    assert _queue(database) == 2
    _read(database)


def test_a_server_that_freezes_within_a_transaction_has_committed_nothing(
    server: postgres.PostgresServer, database: PostgresStore
) -> None:
    def hang() -> None:
        with database.transaction() as tx:
            assert q.queue_job(tx) == 1
            with server.frozen():
                q.queue_job(tx)

    _expect(StoreUnavailable, "has not answered for 0.5 s", hang)
    assert _queue(database) == 1


def test_a_server_that_freezes_at_a_commit_ends_the_master_in_time(
    server: postgres.PostgresServer, database: PostgresStore
) -> None:
    def hang() -> None:
        transaction = database.transaction()
        tx = transaction.__enter__()
        tx.cursor.execute("UPDATE meta SET value = '7' WHERE name = 'next_job_id'")
        with server.frozen():
            transaction.__exit__(None, None, None)

    _expect(StoreFailed, "does not say whether", hang)


def test_a_statement_that_takes_too_long_is_cancelled(database: PostgresStore) -> None:
    def wait() -> None:
        with database.transaction() as tx:
            tx.cursor.execute("SELECT pg_sleep(60)")

    _expect(StoreUnavailable, "longer than 0.3 s", wait)
    assert _queue(database) == 1
    with database.snapshot(long=True) as tx:
        tx.cursor.execute("SELECT pg_sleep(0.6)")


def test_a_lock_of_another_session_does_not_block_the_master(
    url: str, database: PostgresStore
) -> None:
    with psycopg.connect(url) as other:
        other.execute("LOCK TABLE job")
        _expect(StoreUnavailable, "another session", lambda: _queue(database))
    assert _queue(database) == 1
