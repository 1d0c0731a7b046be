"""What only a database does: refuse, go away, be taken, answer nothing at a COMMIT."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import errors

from mythjobs.errors import (
    AlreadyRunning,
    BadRequest,
    ConfigError,
    StoreFailed,
    StoreFull,
    StoreUnavailable,
)
from mythjobs.store.backends.postgres import PostgresStore
from mythjobs.store.transaction import RetryTransaction, Transaction
from tests.support import postgres
from tests.support import queue as q
from tests.support.lossy import Lossy


@pytest.fixture
def url(server: postgres.Server, migrated_database: str) -> str:
    return server.database(like=migrated_database)


@pytest.fixture
def database(url: str) -> Iterator[PostgresStore]:
    opened = PostgresStore(url, unsafe=True)
    yield opened
    opened.close()


@pytest.fixture
def lossy(server: postgres.Server) -> Iterator[Lossy]:
    with tempfile.TemporaryDirectory(prefix="lossy-") as directory:
        proxy = Lossy(Path(directory), server.socket)
        yield proxy
        proxy.close()


def _through(url: str, proxy: Lossy, *, commit_check_s: float = 60) -> PostgresStore:
    directory = Path(proxy._listener.getsockname()).parent
    name = url.removeprefix("postgresql:///").partition("?")[0]
    user = url.rpartition("user=")[2]
    return PostgresStore(
        f"postgresql:///{name}?host={directory}&user={user}",
        unsafe=True,
        commit_check_s=commit_check_s,
    )


def test_a_server_that_does_not_keep_what_it_says_is_refused(url: str) -> None:
    with pytest.raises(
        ConfigError, match="has fsync = off: a power failure loses acknowledged jobs"
    ):
        PostgresStore(url)


def test_what_is_no_url_and_who_does_not_answer_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a PostgreSQL URL"):
        PostgresStore("postgresql://host/db?nonsense=1", unsafe=True)
    with pytest.raises(StoreUnavailable, match="cannot reach"):
        PostgresStore(f"postgresql:///db?host={tmp_path}", unsafe=True)


def test_a_password_is_in_no_sentence() -> None:
    with pytest.raises(StoreUnavailable) as caught:
        PostgresStore("postgresql://anna:secret@127.0.0.1:1/jobs", unsafe=True)
    assert "postgresql://anna@127.0.0.1:1/jobs" in caught.value.sentence
    assert "secret" not in caught.value.sentence


def test_a_second_master_is_refused_until_the_first_is_gone(url: str) -> None:
    first = PostgresStore(url, unsafe=True)
    with pytest.raises(AlreadyRunning, match="another master uses"):
        PostgresStore(url, unsafe=True)
    first.close()
    PostgresStore(url, unsafe=True).close()


def test_a_connection_lost_between_two_turns_is_made_again(
    url: str, database: PostgresStore
) -> None:
    with database.transaction() as tx:
        q.queue_job(tx)
    _end_sessions(url)
    with database.transaction() as tx:
        assert q.queue_job(tx) == 2


def test_a_turn_that_lost_its_connection_changed_nothing_and_says_so(
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


def test_a_snapshot_that_lost_its_connection_says_so_and_the_next_is_good(
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


def test_a_session_that_was_lost_while_nothing_was_read_is_made_again(
    url: str, database: PostgresStore
) -> None:
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


def test_a_commit_whose_answer_was_lost_counts_once(url: str, lossy: Lossy) -> None:
    store = _through(url, lossy)
    lossy.lose = "answer"
    with store.transaction() as tx:
        job_id = q.queue_job(tx, key="once")
    # The turn ended well: the server had it.
    with store.transaction() as tx:
        assert q.state_of(tx, job_id) == "queued"
    store.close()


def test_a_commit_that_never_arrived_is_said_not_to_be_made(url: str, lossy: Lossy) -> None:
    store = _through(url, lossy)
    lossy.lose = "request"
    with pytest.raises(StoreUnavailable), store.transaction() as tx:
        q.queue_job(tx, key="once")
    with store.transaction() as tx:
        assert q.queue_job(tx, key="once") == 1
    store.close()


def test_a_commit_that_nobody_can_tell_of_ends_the_master(url: str, lossy: Lossy) -> None:
    store = _through(url, lossy, commit_check_s=0)
    lossy.lose = "answer"
    with pytest.raises(StoreFailed, match="does not say whether it was made"):
        store.run_transaction(q.queue_job)
    store.close()


def test_a_lost_session_that_the_server_does_not_notice_is_ended(url: str, lossy: Lossy) -> None:
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


def test_a_master_whose_database_another_has_taken_is_told_so(
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


def test_a_turn_that_met_another_runs_again_five_times_and_no_more(
    database: PostgresStore,
) -> None:
    tries: list[int] = []

    def body(tx: Transaction) -> int:
        tries.append(q.queue_job(tx))
        if len(tries) <= meets:
            # As a deadlock is told; one alone in its database meets nobody.
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


def test_a_full_disk_of_the_server_is_told_as_one(database: PostgresStore) -> None:
    def body(tx: Transaction) -> None:
        tx.cursor.execute("DO $$ BEGIN RAISE EXCEPTION USING ERRCODE = '53100'; END $$")

    with pytest.raises(StoreFull, match="requests that need space are refused"):
        database.run_transaction(body)
    with database.transaction() as tx:
        q.queue_job(tx)


@pytest.mark.parametrize("count", [1, 2])
def test_a_text_that_it_cannot_store_is_the_askers_fault(
    database: PostgresStore, count: int
) -> None:
    with pytest.raises(BadRequest, match="PostgreSQL cannot store a text"):
        database.run_transaction(lambda tx: q.queue_jobs(tx, count, subject="a\0b"))
    with database.transaction() as tx:
        q.queue_job(tx)


def test_a_statement_that_is_wrong_is_nobody_elses_fault(database: PostgresStore) -> None:
    with pytest.raises(errors.UndefinedTable), database.transaction() as tx:
        tx.cursor.execute("SELECT * FROM nowhere")
    with database.transaction() as tx:
        q.queue_job(tx)
