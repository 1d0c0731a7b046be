"""Schema migration: upgrades a store in one transaction, refuses a store of a newer version."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect, text

from mythjobs.errors import ConfigError

# The newest revision in migrations/versions. A store of this revision is opened without importing
# Alembic, because that takes longer than all other steps of the master's start.
HEAD: Final = "0013"
_BEGIN: Final = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN"}
_SCRIPTS: Final = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Upgrade the store's schema to revision HEAD.

    Raises ConfigError, and changes nothing, if a newer version of this program wrote the store.
    """
    with engine.connect() as connection:
        version = _read_version(connection)
        if version != HEAD:
            _upgrade(connection, version)


def _read_version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if version is None else str(version)


def _upgrade(connection: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise ConfigError(
            f"the store has schema {version}, written by a newer mythjobs; this version knows "
            f"schemas up to {HEAD}. Upgrade mythjobs, or name another --state-dir"
        )
    config.attributes["connection"] = connection
    # The driver is in autocommit mode. One explicit transaction covers the whole upgrade, so that
    # a crash leaves either the old schema or the new one.
    connection.exec_driver_sql(_BEGIN[connection.dialect.name])
    command.upgrade(config, "head")
    connection.exec_driver_sql("COMMIT")
