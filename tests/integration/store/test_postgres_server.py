"""Sessions of a PostgreSQL server: refused settings and URLs, and their time limits."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg import errors

from mythjobs.errors import ConfigError, StoreUnavailable
from mythjobs.store.backends.postgres import PostgresStore
from mythjobs.store.backends.postgres_server import DEFAULT_LIMITS, Server
from tests.support import postgres


def test_a_server_with_unsafe_settings_is_refused(server: postgres.PostgresServer) -> None:
    with pytest.raises(
        ConfigError, match="has fsync = off: a power failure loses acknowledged jobs"
    ):
        PostgresStore(server.create_database())


def test_an_invalid_url_and_an_unreachable_server_are_different_errors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a PostgreSQL URL"):
        Server("postgresql://host/db?nonsense=1", DEFAULT_LIMITS, unsafe=True).connect()
    with pytest.raises(StoreUnavailable, match="cannot reach"):
        Server(f"postgresql:///db?host={tmp_path}", DEFAULT_LIMITS, unsafe=True).connect()


def test_error_messages_do_not_contain_the_password() -> None:
    server = Server("postgresql://anna:secret@127.0.0.1:1/jobs", DEFAULT_LIMITS, unsafe=True)
    with pytest.raises(StoreUnavailable) as caught:
        server.connect()
    assert "postgresql://anna@127.0.0.1:1/jobs" in caught.value.sentence
    assert "secret" not in caught.value.sentence


def test_only_limited_sessions_cancel_long_statements(server: postgres.PostgresServer) -> None:
    limits = DEFAULT_LIMITS._replace(statement_s=0.05)
    found = Server(server.create_database(), limits, unsafe=True)
    with found.connect() as connection:
        connection.execute("SELECT pg_sleep(0.2)")
    with found.connect_limited() as connection, pytest.raises(errors.QueryCanceled):
        connection.execute("SELECT pg_sleep(60)")
