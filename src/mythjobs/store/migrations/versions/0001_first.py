"""Create the first schema: commands, machines, jobs, attempts, dependencies, batches, counters."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

# Type of ids: BIGINT, but INTEGER in SQLite, because there only an INTEGER primary key is an alias
# of the rowid.
Id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def where(condition: str) -> dict[str, Any]:
    """Return the create_index() arguments that make an index partial in SQLite and PostgreSQL."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def upgrade() -> None:
    op.create_table(
        "attempt",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("machine_id", Id, nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("silence", sa.Text(), nullable=False),
        sa.Column("leased_ms", sa.BigInteger(), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=True),
        sa.Column("over_ms", sa.BigInteger(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("evidence", sa.Text(), nullable=True),
        sa.Column("usage", sa.Text(), nullable=True),
        sa.Column("output", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "n"),
        sqlite_with_rowid=False,
    )
    op.create_index("attempt_live", "attempt", ["job_id"], unique=True, **where("over_ms IS NULL"))
    op.create_table(
        "batch",
        sa.Column("batch_id", Id, nullable=False),
        sa.Column("command_id", Id, nullable=False),
        sa.Column("first_job_id", Id, nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.Column("submitted_ms", sa.BigInteger(), nullable=False),
        sa.Column("opened_ms", sa.BigInteger(), nullable=True),
        sa.Column("succeeded", sa.Integer(), nullable=False),
        sa.Column("failed", sa.Integer(), nullable=False),
        sa.Column("cancelled", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("batch_id"),
    )
    op.create_table(
        "command",
        sa.Column("command_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Integer(), nullable=False),
        sa.Column("revision_id", Id, nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("command_id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "command_revision",
        sa.Column("revision_id", Id, nullable=False),
        sa.Column("command_id", Id, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("definition", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("revision_id"),
        sa.UniqueConstraint("command_id", "number"),
    )
    op.create_index(op.f("ix_command_revision_command_id"), "command_revision", ["command_id"])
    op.create_table(
        "dependency",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("on_job_id", Id, nullable=False),
        sa.Column("accept", sa.Text(), nullable=False),
        sa.Column("met", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", "on_job_id"),
    )
    op.create_index("dependency_open", "dependency", ["on_job_id"], **where("met = 0"))
    op.create_table(
        "event",
        sa.Column("event_id", Id, nullable=False),
        sa.Column("job_id", Id, nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index(op.f("ix_event_job_id"), "event", ["job_id"])
    op.create_table(
        "footprint",
        sa.Column("command_id", Id, nullable=False),
        sa.Column("machine_id", Id, nullable=False),
        sa.Column("runs", sa.Integer(), nullable=False),
        sa.Column("wall_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("command_id", "machine_id"),
    )
    op.create_table(
        "machine",
        sa.Column("machine_id", Id, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("rights", sa.Text(), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=True),
        sa.Column("cores", sa.Integer(), nullable=False),
        sa.Column("boot_id", sa.Text(), nullable=False),
        sa.Column("enrolled_ms", sa.BigInteger(), nullable=False),
        sa.Column("attached_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("machine_id"),
        sa.UniqueConstraint("key"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "meta",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "tally",
        sa.Column("command_id", Id, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("jobs", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("command_id", "state"),
    )
    op.create_table(
        "upkeep",
        sa.Column("upkeep_id", Id, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("next_job_id", Id, nullable=False),
        sa.Column("last_job_id", Id, nullable=False),
        sa.PrimaryKeyConstraint("upkeep_id"),
    )
    op.create_table(
        "job_class",
        sa.Column("class_id", Id, nullable=False),
        sa.Column("revision_id", Id, nullable=False),
        sa.Column("command_id", Id, nullable=False),
        sa.Column("submitter", sa.Text(), nullable=False),
        sa.Column("pin", sa.Text(), nullable=False),
        sa.Column("preferred", sa.Text(), nullable=False),
        sa.Column("labels", sa.Text(), nullable=False),
        sa.Column("semaphores", sa.Text(), nullable=False),
        sa.Column("limits", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["revision_id"],
            ["command_revision.revision_id"],
        ),
        sa.PrimaryKeyConstraint("class_id"),
        sa.UniqueConstraint(
            "revision_id", "submitter", "pin", "preferred", "labels", "semaphores", "limits"
        ),
    )
    op.create_table(
        "job",
        sa.Column("job_id", Id, nullable=False),
        sa.Column("class_id", Id, nullable=False),
        sa.Column("command_id", Id, nullable=False),
        sa.Column("batch_id", Id, nullable=True),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=True),
        sa.Column("subject", sa.Text(), nullable=True),
        sa.Column("overlap", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("hold", sa.Integer(), nullable=False),
        sa.Column("stop_requested", sa.Text(), nullable=True),
        sa.Column("not_before_ms", sa.BigInteger(), nullable=True),
        sa.Column("deadline_ms", sa.BigInteger(), nullable=True),
        sa.Column("unmet", sa.Integer(), nullable=False),
        sa.Column("ready_class", Id, nullable=True),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("losses", sa.Integer(), nullable=False),
        sa.Column("submitted_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("progress", sa.Integer(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("reason_code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("rerun_of", Id, nullable=True),
        sa.ForeignKeyConstraint(
            ["class_id"],
            ["job_class.class_id"],
        ),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.create_index("job_cancelled", "job", ["job_id"], **where("state = 'cancelled'"))
    op.create_index("job_due", "job", ["not_before_ms"], **where("not_before_ms IS NOT NULL"))
    op.create_index("job_failed", "job", ["job_id"], **where("state = 'failed'"))
    op.create_index("job_key", "job", ["key"], unique=True, **where("key IS NOT NULL"))
    op.create_index(
        "job_ready",
        "job",
        ["ready_class", sa.literal_column("priority DESC"), "job_id"],
        **where("ready_class IS NOT NULL"),
    )
    op.create_index(
        "job_subject",
        "job",
        ["subject", "class_id", sa.literal_column("priority DESC"), "job_id"],
        **where("subject IS NOT NULL AND state = 'queued'"),
    )
    op.create_index(
        "job_subject_live",
        "job",
        ["subject"],
        **where("subject IS NOT NULL AND state IN ('leased', 'running')"),
    )
    op.create_index(
        "job_subject_ready",
        "job",
        ["subject"],
        **where("subject IS NOT NULL AND ready_class IS NOT NULL"),
    )

    op.execute("INSERT INTO meta (name, value) VALUES ('next_job_id', '1')")
