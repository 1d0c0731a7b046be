"""Add what a machine can do, as its agent has found out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("machine", sa.Column("description", sa.Text(), nullable=False, server_default=""))
