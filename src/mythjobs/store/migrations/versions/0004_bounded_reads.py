"""Add indexes for lists of jobs by state and subject, and for jobs that wait only for a subject."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_FREE = (
    "subject IS NOT NULL AND state = 'queued' AND hold = 0 AND stop_requested IS NULL "
    "AND not_before_ms IS NULL AND unmet = 0"
)


def upgrade() -> None:
    for name in ("job_command", "job_over", "job_failed", "job_cancelled", "job_subject"):
        op.drop_index(name, "job")
    _index(
        "job_subject", ["subject", "class_id", "priority DESC", "deadline_order", "job_id"], _FREE
    )
    _index("job_about", ["subject", "job_id"], "subject IS NOT NULL")
    for state in ("succeeded", "failed", "cancelled"):
        _index(f"job_{state}", ["command_id", "job_id"], f"state = '{state}'")
    _index("job_held", ["job_id"], "hold = 1")
    _index("batch_unopened", ["batch_id"], "opened_ms IS NULL", table="batch")
    op.drop_index("dependency_open", "dependency")
    op.drop_index("dependency_on", "dependency")
    _index("dependency_unmet", ["job_id"], "met = 0", table="dependency")
    op.create_index("dependency_on", "dependency", ["on_job_id", "met", "job_id"])


def _index(name: str, columns: list[str], where: str, table: str = "job") -> None:
    only = sa.text(where)
    listed: list[str | sa.ColumnElement[object]] = [
        sa.literal_column(each) if " " in each else each for each in columns
    ]
    op.create_index(name, table, listed, sqlite_where=only, postgresql_where=only)
