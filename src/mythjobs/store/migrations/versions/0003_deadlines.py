"""Add semaphores that frozen jobs release, and order jobs of equal priority by deadline."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column(
        "semaphore",
        sa.Column("free_when_frozen", sa.Integer(), nullable=False, server_default="0"),
    )
    op.add_column(
        "job", sa.Column("deadline_order", sa.BigInteger(), nullable=False, server_default="0")
    )
    # This SQL is a copy of deadline_order() in scheduler/order.py as of this migration.
    op.execute(
        "UPDATE job SET deadline_order = deadline_ms - 9007199254740992 "
        "WHERE deadline_ms IS NOT NULL"
    )
    _index("job_ready", ["ready_class"], "ready_class IS NOT NULL")
    _index("job_subject", ["subject", "class_id"], "subject IS NOT NULL AND state = 'queued'")


def _index(name: str, first: list[str], where: str) -> None:
    """Replace an index on jobs by one that orders by priority, then deadline, then age."""
    op.drop_index(name, "job")
    only = sa.text(where)
    columns: list[str | sa.ColumnElement[object]] = [
        *first,
        sa.literal_column("priority DESC"),
        "deadline_order",
        "job_id",
    ]
    op.create_index(name, "job", columns, sqlite_where=only, postgresql_where=only)
