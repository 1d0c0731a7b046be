"""Add the kept output of attempts that wrote little."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("kept_output", sa.Column("data", sa.Text()))
