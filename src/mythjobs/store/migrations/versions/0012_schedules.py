"""Add schedules and their ticks."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "schedule",
        sa.Column("schedule_id", Id, primary_key=True),
        sa.Column("name", sa.Text(), nullable=False, unique=True),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("submitter", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.Column("cursor_ms", sa.BigInteger(), nullable=False),
        sa.Column("paused", sa.Integer(), nullable=False),
        sa.Column("paused_until_ms", sa.BigInteger()),
        sa.Column("pause_reason", sa.Text(), nullable=False),
        sa.Column("drifting", sa.Integer(), nullable=False),
    )
    op.create_table(
        "schedule_tick",
        sa.Column("schedule_id", Id, nullable=False),
        sa.Column("tick_ms", sa.BigInteger(), nullable=False),
        sa.Column("machine_id", Id, nullable=False),
        sa.Column("last_ms", sa.BigInteger(), nullable=False),
        sa.Column("ticks", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("job_id", Id),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.Column("started_ms", sa.BigInteger()),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("schedule_id", "tick_ms", "machine_id"),
    )
    submitted = sa.text("outcome = 'submitted'")
    op.create_index(
        "schedule_tick_open",
        "schedule_tick",
        ["schedule_id", "tick_ms"],
        sqlite_where=submitted,
        postgresql_where=submitted,
    )
