"""Alembic's entry: runs the migrations on the connection that store/migrate.py opened."""

from __future__ import annotations

from alembic import context

from mythjobs.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=False,
)
context.run_migrations()
