"""Add invitations of machines, and the time at which a machine was revoked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "invitation",
        sa.Column("invitation_id", Id, primary_key=True),
        sa.Column("secret_hash", sa.Text(), nullable=False),
        sa.Column("rights", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, server_default=""),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False, server_default="0"),
        sa.Column("used_by", sa.Text(), nullable=False, server_default=""),
    )
    op.add_column("machine", sa.Column("revoked_ms", sa.BigInteger()))
