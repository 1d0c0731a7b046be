"""Add machine settings, overrides, semaphores, failure counts, deferrals and lease durations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text(name: str, default: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, server_default=default)


def upgrade() -> None:
    op.add_column("machine", text("settings", "{}"))
    op.add_column("machine", text("zone", ""))
    op.create_table(
        "window_override",
        sa.Column("machine_id", Id, nullable=False),
        sa.Column("command_id", Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("until_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("machine_id", "command_id"),
    )
    op.create_table(
        "semaphore",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.add_column("job", sa.Column("failures", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("command", sa.Column("put_off_ms", sa.BigInteger(), nullable=True))
    op.add_column("command", text("put_off_reason", ""))
    op.add_column("attempt", sa.Column("lease_s", sa.Float(), nullable=True))
    only = sa.text("deadline_ms IS NOT NULL AND state = 'queued'")
    op.create_index(
        "job_deadline", "job", ["deadline_ms"], sqlite_where=only, postgresql_where=only
    )
    ended = sa.text("ended_ms IS NOT NULL")
    op.create_index(
        "job_ended", "job", ["command_id", "ended_ms"], sqlite_where=ended, postgresql_where=ended
    )
    op.create_index("dependency_on", "dependency", ["on_job_id"])
    waits = sa.text("ended_ms IS NULL")
    op.create_index("job_command", "job", ["command_id", "job_id"])
    op.create_index(
        "job_open", "job", ["command_id", "job_id"], sqlite_where=waits, postgresql_where=waits
    )
    op.create_index("job_over", "job", ["job_id"], sqlite_where=ended, postgresql_where=ended)
