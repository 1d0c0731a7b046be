"""Add whether a machine is drained or paused."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    for name in ("drained", "paused"):
        op.add_column("machine", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("machine", sa.Column("pause_until_ms", sa.BigInteger()))
