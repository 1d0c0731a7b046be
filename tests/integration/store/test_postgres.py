"""PostgreSQL store: lost connections, locks, and commits of unknown result."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from mythjobs.errors import (
    AlreadyRunning,
    BadRequest,
    StoreFailed,
    StoreFull,
    StoreUnavailable,
)
from mythjobs.store.backends.postgres import PostgresStore
from mythjobs.store.backends.postgres_server import TimeLimits
from mythjobs.store.transaction import RetryTransaction, Transaction
from tests.support import postgres
from tests.support import queue as q
from tests.support.lossy import LossyProxy


@pytest.fixture
def url(server: postgres.PostgresServer, migrated_database: str) -> str:
    return server.create_database(template=migrated_database)


@pytest.fixture
def database(url: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(url, unsafe=True)
    yield opened
    opened.close()


@pytest.fixture
def lossy(server: postgres.PostgresServer) -> Iterator[LossyProxy]:
    with tempfile.TemporaryDirectory(prefix="lossy-") as directory:
        proxy = LossyProxy(Path(directory), server.socket)
        yield proxy
        proxy.close()


def _through(url: str, proxy: LossyProxy, *, commit_check_s: float = 60) -> PostgresStore:
    directory = Path(proxy._listener.getsockname()).parent
    name = url.removeprefix("postgresql:///").partition("?")[0]
    user = url.rpartition("user=")[2]
    return PostgresStore(
        f"postgresql:///{name}?host={directory}&user={user}",
        unsafe=True,
        limits=TimeLimits(commit_check_s=commit_check_s),
    )


def test_a_second_master_is_refused_until_the_first_has_ended(url: str) -> None:
    first = PostgresStore(url, unsafe=True)
    with pytest.raises(AlreadyRunning, match="another master uses"):
        PostgresStore(url, unsafe=True)
    first.close()
    PostgresStore(url, unsafe=True).close()


def test_a_connection_lost_between_transactions_is_reopened(
    url: str, database: PostgresStore
) -> None:
    with database.transaction() as tx:
        q.queue_job(tx)
    _end_sessions(url)
    with database.transaction() as tx:
        assert q.queue_job(tx) == 2


def test_a_transaction_that_loses_its_connection_is_rolled_back(
    url: str, database: PostgresStore
) -> None:
    def body(tx: Transaction) -> None:
        q.queue_job(tx)
        _end_sessions(url)
        q.queue_job(tx)

    with pytest.raises(StoreUnavailable, match="cannot reach"):
        database.run_transaction(body)
    with database.transaction() as tx:
        assert q.queue_job(tx) == 1


def test_a_snapshot_that_loses_its_connection_fails_and_the_next_works(
    url: str, database: PostgresStore
) -> None:
    def read() -> None:
        with database.snapshot() as tx:
            _end_sessions(url)
            tx.cursor.execute("SELECT 1")

    with pytest.raises(StoreUnavailable):
        read()
    with database.snapshot() as tx:
        tx.cursor.execute("SELECT 1")


def test_a_read_session_lost_while_idle_is_reopened(url: str, database: PostgresStore) -> None:
    with database.snapshot() as first, database.snapshot() as second:
        for tx in (first, second):
            tx.cursor.execute("SELECT 1")
    _end_sessions(url)
    with database.snapshot() as tx:
        tx.cursor.execute("SELECT 1")


def _end_sessions(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as other:
        other.execute(
            "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


def test_a_commit_whose_answer_was_lost_takes_effect_once(url: str, lossy: LossyProxy) -> None:
    store = _through(url, lossy)
    lossy.lose = "answer"
    with store.transaction() as tx:
        job_id = q.queue_job(tx, key="once")
    # The transaction succeeded: the server had committed it.
    with store.transaction() as tx:
        assert q.read_state(tx, job_id) == "queued"
    store.close()


def test_a_commit_that_never_reached_the_server_is_reported_as_failed(
    url: str, lossy: LossyProxy
) -> None:
    store = _through(url, lossy)
    lossy.lose = "request"
    with pytest.raises(StoreUnavailable), store.transaction() as tx:
        q.queue_job(tx, key="once")
    with store.transaction() as tx:
        assert q.queue_job(tx, key="once") == 1
    store.close()


def test_a_commit_of_unknown_result_makes_the_store_fail(url: str, lossy: LossyProxy) -> None:
    store = _through(url, lossy, commit_check_s=0)
    lossy.lose = "answer"
    with pytest.raises(StoreFailed, match="does not say whether it was made"):
        store.run_transaction(q.queue_job)
    store.close()


def test_a_lost_session_that_the_server_did_not_notice_is_terminated(
    url: str, lossy: LossyProxy
) -> None:
    store = _through(url, lossy)
    with store.transaction() as tx:
        q.queue_job(tx)
    lossy.lose = "unseen"
    with pytest.raises(StoreUnavailable, match="still holds the lock"), store.transaction() as tx:
        q.queue_job(tx)
    for _ in range(200):
        try:
            with store.transaction() as tx:
                assert q.queue_job(tx) == 2
            break
        except StoreUnavailable:
            time.sleep(0.05)
    else:
        pytest.fail("the lost session kept the lock")
    store.close()


def test_a_master_whose_database_was_taken_over_is_refused(
    url: str, database: PostgresStore
) -> None:
    _end_sessions(url)
    other = PostgresStore(url, unsafe=True)
    with (
        pytest.raises(AlreadyRunning, match="another master has taken over"),
        database.transaction(),
    ):
        pass
    with other.transaction() as tx:
        assert q.queue_job(tx) == 1
    other.close()


def test_a_deadlocked_transaction_is_retried_at_most_five_times(
    database: PostgresStore,
) -> None:
    tries: list[int] = []

    def body(tx: Transaction) -> int:
        tries.append(q.queue_job(tx))
        if len(tries) <= meets:
            # The error of a deadlock, which a single session cannot cause.
            tx.cursor.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '40P01'; END $$")
        return tries[-1]

    meets = 5
    assert database.run_transaction(body) == (1, [])
    assert tries == [1] * 6
    tries.clear()
    meets = 6
    with pytest.raises(RetryTransaction):
        database.run_transaction(body)
    assert tries == [2] * 6


def test_a_full_disk_of_the_server_is_reported_as_store_full(database: PostgresStore) -> None:
    def body(tx: Transaction) -> None:
        tx.cursor.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$")

    with pytest.raises(StoreFull, match="requests that need space are refused"):
        database.run_transaction(body)
    with database.transaction() as tx:
        q.queue_job(tx)


@pytest.mark.parametrize("count", [1, 2])
def test_a_text_that_postgresql_cannot_store_is_a_bad_request(
    database: PostgresStore, count: int
) -> None:
    with pytest.raises(BadRequest, match="PostgreSQL cannot store a text"):
        database.run_transaction(lambda tx: q.queue_jobs(tx, count, subject="a\0b"))
    with database.transaction() as tx:
        q.queue_job(tx)


def test_long_snapshots_end_when_they_are_interrupted(database: PostgresStore) -> None:
    begun = threading.Event()

    def wait_long() -> None:
        with database.snapshot(long=True) as tx:
            begun.set()
            tx.cursor.execute("SELECT pg_sleep(600)")

    with ThreadPoolExecutor(1) as threads:
        reading = threads.submit(wait_long)
        assert begun.wait(60)
        # The statement may not have reached the server yet.
        while not reading.done():
            database.interrupt_long_snapshots()
            wait([reading], 0.1)
        with pytest.raises(StoreUnavailable):
            reading.result()


def test_an_error_in_a_statement_is_passed_on(database: PostgresStore) -> None:
    with pytest.raises(errors.UndefinedTable), database.transaction() as tx:
        tx.cursor.execute("SELECT * FROM nowhere")
    with database.transaction() as tx:
        q.queue_job(tx)
