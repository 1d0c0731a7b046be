"""Add tables of kept output, for retention limits, and an index of jobs with many attempts."""

from __future__ import annotations

import json
from itertools import islice

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SLICE_ROWS = 5000


def upgrade() -> None:
    kept = op.create_table(
        "kept_output",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("command_id", Id, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "n"),
    )
    total = op.create_table(
        "output_total",
        sa.Column("command_id", Id, nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("command_id"),
    )
    _record_output(kept, total)
    op.create_index("kept_output_ended", "kept_output", ["ended_ms"])
    op.create_index("kept_output_command", "kept_output", ["command_id", "ended_ms"])
    only = sa.text("attempts > 1000 AND ended_ms IS NULL")
    op.create_index("job_retried", "job", ["job_id"], sqlite_where=only, postgresql_where=only)


def _record_output(kept: sa.Table, total: sa.Table) -> None:
    """Insert the kept output of attempts that ended before this migration."""
    connection = op.get_bind()
    bytes_by_command = {
        command_id: 0
        for (command_id,) in connection.execute(sa.text("SELECT DISTINCT command_id FROM tally"))
    }
    query = sa.text(
        "SELECT attempt.job_id, attempt.n, job.command_id, attempt.over_ms, attempt.output "
        "FROM attempt JOIN job ON job.job_id = attempt.job_id "
        "WHERE attempt.over_ms IS NOT NULL AND attempt.output <> ''"
    )
    found = iter(connection.execute(query).fetchall())
    while rows := list(islice(found, _SLICE_ROWS)):
        values = [
            {
                "job_id": job_id,
                "n": n,
                "command_id": command_id,
                "bytes": sum(head + tail for _, head, tail in json.loads(output)),
                "ended_ms": over_ms,
            }
            for job_id, n, command_id, over_ms, output in rows
        ]
        values = [each for each in values if each["bytes"]]
        for each in values:
            command_id = each["command_id"]
            bytes_by_command[command_id] = bytes_by_command.get(command_id, 0) + each["bytes"]
        if values:
            connection.execute(kept.insert(), values)
    if bytes_by_command:
        connection.execute(
            total.insert(),
            [{"command_id": key, "bytes": size} for key, size in bytes_by_command.items()],
        )
