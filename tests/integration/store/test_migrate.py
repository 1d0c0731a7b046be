"""Schema migrations: they produce the declared tables, and are all or nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.pool import NullPool

import mythjobs.store
import mythjobs.store.notify_tables  # adds its tables to the metadata
from mythjobs.errors import ConfigError
from mythjobs.scheduler.order import deadline_order
from mythjobs.store.migrate import HEAD, migrate
from mythjobs.store.tables import metadata

SCRIPTS = Path(mythjobs.store.__file__).parent / "migrations"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Return an engine of an empty store, of each kind in turn."""
    if request.param == "sqlite":
        return create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    url = request.getfixturevalue("server").create_database()
    return create_engine(
        "postgresql+psycopg://",
        poolclass=NullPool,
        creator=lambda: psycopg.connect(url, autocommit=True),
    )


def _upgrade(engine: Engine, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def _differ(
    _: object, __: object, ___: object, found: str | None, ____: object, declared: str
) -> bool:
    """Return whether two defaults differ in more than quotes, brackets and casts."""

    def bare(default: str | None) -> str | None:
        return default and default.partition("::")[0].strip("()'")

    return bare(found) != bare(declared)


def test_the_migrations_produce_the_declared_tables(engine: Engine) -> None:
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_server_default": _differ, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_rows_of_the_first_schema_survive_the_migration(engine: Engine) -> None:
    _upgrade(engine, "0001")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO machine (machine_id, name, key, rights, jobs, cores, boot_id, "
                "enrolled_ms, attached_ms) VALUES (1, 'attic', 'k', '{}', NULL, 4, 'b', 1, 1)"
            )
        )
    migrate(engine)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT name, settings, zone FROM machine")).one()
    assert tuple(row) == ("attic", "{}", "")


def test_jobs_of_the_second_schema_are_ordered_by_their_deadlines(engine: Engine) -> None:
    _upgrade(engine, "0002")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # The test inserts jobs without classes.
            connection.execute(text("ALTER TABLE job DROP CONSTRAINT job_class_id_fkey"))
        for number, deadline in ((1, "NULL"), (2, "1795521600000"), (3, "1795521500000")):
            connection.execute(
                text(
                    "INSERT INTO job (job_id, class_id, command_id, arguments, overlap, priority, "
                    "state, hold, deadline_ms, unmet, ready_class, attempts, losses, submitted_ms, "
                    "comment, reason_code, reason) VALUES "
                    f"({number}, 1, 1, '{{}}', 0, 0, 'queued', 0, {deadline}, 0, 1, 0, 0, 1, "
                    "'', '', '')"
                )
            )
    migrate(engine)
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT job_id, deadline_order FROM job WHERE ready_class = 1 "
                "ORDER BY ready_class, priority DESC, deadline_order, job_id"
            )
        ).all()
    assert [tuple(row) for row in rows] == [
        (3, deadline_order(1795521500000)), (2, deadline_order(1795521600000)), (1, 0),
    ]  # fmt: skip


def test_output_of_the_fifth_schema_is_counted(engine: Engine) -> None:
    _upgrade(engine, "0005")
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE job DROP CONSTRAINT job_class_id_fkey"))
        connection.execute(text("INSERT INTO tally VALUES (1, 'failed', 0), (2, 'failed', 1)"))
        connection.execute(
            text(
                "INSERT INTO job (job_id, class_id, command_id, arguments, overlap, priority, "
                "state, hold, unmet, attempts, losses, submitted_ms, ended_ms, comment, "
                "reason_code, reason) VALUES "
                "(7, 1, 2, '{}', 0, 0, 'failed', 0, 0, 3, 0, 1, 9, '', 'failed', 'x')"
            )
        )
        for n, output in ((1, "''"), (2, "'[[9, 4, 5], [100, 0, 1]]'"), (3, "'[[5, 0, 0]]'")):
            connection.execute(
                text(
                    "INSERT INTO attempt (job_id, n, machine_id, boot_id, silence, leased_ms, "
                    f"over_ms, output) VALUES (7, {n}, 1, 'b', 'keep', 1, {n}, {output})"
                )
            )
    migrate(engine)
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM kept_output")).all()
        totals = connection.execute(text("SELECT * FROM output_total ORDER BY command_id")).all()
    assert [tuple(row) for row in rows] == [(7, 2, 2, 10, 2, None)]
    assert [tuple(row) for row in totals] == [(1, 0), (2, 10)]


def test_a_schema_of_a_newer_version_is_refused_and_not_changed(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="schema 9999, written by a newer mythjobs"):
        migrate(engine)
    with engine.connect() as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
        )


def test_an_interrupted_migration_leaves_the_old_schema(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    _upgrade(engine, "0001")
    real = op.add_column
    done: list[object] = []

    def failing(*args: Any, **kwargs: Any) -> None:
        if len(done) == 3:
            raise OSError("the power is gone")
        done.append(args)
        real(*args, **kwargs)

    monkeypatch.setattr(op, "add_column", failing)
    with pytest.raises(OSError, match="the power is gone"):
        migrate(engine)
    monkeypatch.undo()
    with engine.connect() as connection:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        assert found == "0001"
    # The next start completes the migration.
    migrate(engine)
