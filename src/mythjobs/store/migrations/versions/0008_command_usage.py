"""Add what one job of a command uses on a machine, for automatic scaling."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "command_usage",
        sa.Column("command_id", Id, nullable=False),
        sa.Column("machine_id", Id, nullable=False),
        sa.Column("footprint", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("command_id", "machine_id"),
    )
