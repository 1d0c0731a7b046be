"""Brings a store to the schema of this version, in one transaction; refuses a newer one."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, Engine, inspect, text

from mythjobs.errors import ConfigError

# The newest revision in migrations/versions. A store that has it is opened without Alembic,
# whose import costs more than everything else at a start.
HEAD: Final = "0003"
_BEGIN: Final = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN"}
_SCRIPTS: Final = Path(__file__).parent / "migrations"


def migrate(engine: Engine) -> None:
    """Raises ConfigError if the store was written by a newer version; then nothing is changed."""
    with engine.connect() as connection:
        version = _version(connection)
        if version == HEAD:
            return
        _upgrade(connection, version)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return None if found is None else str(found)


def _upgrade(connection: Connection, version: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS))
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        raise ConfigError(
            f"this store has schema {version}, written by a newer mythjobs; this version knows "
            f"up to {HEAD}. Upgrade mythjobs, or name another --state-dir"
        )
    config.attributes["connection"] = connection
    # The driver is in autocommit mode; this makes the whole upgrade one transaction, so that a
    # kill leaves the old schema or the new one, never something between.
    connection.exec_driver_sql(_BEGIN[connection.dialect.name])
    command.upgrade(config, "head")
    connection.exec_driver_sql("COMMIT")
