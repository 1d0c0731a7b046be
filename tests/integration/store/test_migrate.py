"""Migrations add up to the tables that the code declares, and leave the old or the new schema."""

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
from mythjobs.errors import ConfigError
from mythjobs.scheduler.order import deadline_order
from mythjobs.store.migrate import HEAD, migrate
from mythjobs.store.tables import metadata

SCRIPTS = Path(mythjobs.store.__file__).parent / "migrations"


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """Of an empty store, each kind in turn."""
    if request.param == "sqlite":
        return create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    url = request.getfixturevalue("server").database()
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


def _differ(_: object, __: object, ___: object, found: str | None, ____: object, said: str) -> bool:
    """Whether two defaults differ in more than their quotes, brackets and casts."""

    def bare(default: str | None) -> str | None:
        return default and default.partition("::")[0].strip("()'")

    return bare(found) != bare(said)


def test_the_migrations_add_up_to_the_declared_tables(engine: Engine) -> None:
    migrate(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_server_default": _differ, "compare_type": True}
        )
        assert compare_metadata(context, metadata) == []


def test_the_newest_migration_is_the_one_the_code_names() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_rows_of_the_first_schema_are_there_in_the_last(engine: Engine) -> None:
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
            # The jobs alone are looked at here.
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


def test_a_schema_of_a_newer_program_is_refused_and_left_alone(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="schema 9999, written by a newer mythjobs"):
        migrate(engine)
    with engine.connect() as connection:
        assert (
            connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
        )


def test_an_upgrade_that_breaks_off_leaves_the_old_schema(
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
    # And the next start goes all the way.
    migrate(engine)
