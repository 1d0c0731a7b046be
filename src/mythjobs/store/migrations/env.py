"""Alembic environment: runs the migrations on the connection opened by store/migrate.py."""

from __future__ import annotations

from alembic import context

from mythjobs.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
)
context.run_migrations()
