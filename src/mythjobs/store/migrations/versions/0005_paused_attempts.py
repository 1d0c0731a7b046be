"""Add a column for attempts that a user has paused, and an index of jobs lost too often."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("attempt", sa.Column("paused", sa.Integer(), nullable=False, server_default="0"))
    only = sa.text("hold = 1 AND reason_code = 'lost_often'")
    op.create_index("job_lost", "job", ["job_id"], sqlite_where=only, postgresql_where=only)
