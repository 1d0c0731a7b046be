"""Schema of the store: all tables and indexes, in SQLAlchemy Core.

Times are in ms since 1970 (UTC); JSON is stored as text.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

# Type of ids: BIGINT, but INTEGER in SQLite: only an INTEGER primary key is an alias of the rowid.
Id = BigInteger().with_variant(Integer(), "sqlite")


def _where(condition: str) -> dict[str, Any]:
    """Return the Index() arguments that make an index partial in SQLite and PostgreSQL."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


meta = Table(
    "meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False)
)

command = Table(
    "command",
    metadata,
    Column("command_id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("enabled", Integer, nullable=False),
    Column("revision_id", Id, nullable=False),  # current revision, for new jobs
    Column("created_ms", BigInteger, nullable=False),
    # No job of the command starts before this time, because the output of one of its jobs matched
    # the command's `later` expression; null: no such time.
    Column("put_off_ms", BigInteger),
    Column("put_off_reason", Text, nullable=False, server_default=""),
)

# Revisions of commands. A job keeps the revision it was submitted with. Rows are never updated.
command_revision = Table(
    "command_revision",
    metadata,
    Column("revision_id", Id, primary_key=True),
    Column("command_id", Id, nullable=False, index=True),
    Column("number", Integer, nullable=False),
    Column("definition", Text, nullable=False),
    Column("created_ms", BigInteger, nullable=False),
    UniqueConstraint("command_id", "number"),
)

machine = Table(
    "machine",
    metadata,
    Column("machine_id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("key", Text, nullable=False, unique=True),
    Column("rights", Text, nullable=False),  # {"mode": "all" | "listed" | "except", "commands": []}
    Column("jobs", Integer),  # slots, set by the owner; null: one per core
    Column("cores", Integer, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("enrolled_ms", BigInteger, nullable=False),
    Column("attached_ms", BigInteger, nullable=False),
    Column("settings", Text, nullable=False, server_default="{}"),  # machine policy as JSON
    Column("zone", Text, nullable=False, server_default=""),  # time zone of the run windows
    Column("revoked_ms", BigInteger),  # when its key was revoked; null: it may connect
    Column("description", Text, nullable=False, server_default=""),  # what it can do, as JSON
    Column("drained", Integer, nullable=False, server_default="0"),
    Column("paused", Integer, nullable=False, server_default="0"),
    Column("pause_until_ms", BigInteger),  # null: until a user resumes it
)

# Invitations: each lets one machine join over the network until it expires.
invitation = Table(
    "invitation",
    metadata,
    Column("invitation_id", Id, primary_key=True),  # random
    Column("secret_hash", Text, nullable=False),
    Column("rights", Text, nullable=False),  # of the machine that joins, as in `machine`
    Column("name", Text, nullable=False, server_default=""),  # "": the name that it gives itself
    Column("expires_ms", BigInteger, nullable=False),
    Column("failures", Integer, nullable=False, server_default="0"),  # wrong secrets sent for it
    Column("used_by", Text, nullable=False, server_default=""),  # key of the machine that joined
)

# Overrides of the weekly run windows, which open or close them until a time.
window_override = Table(
    "window_override",
    metadata,
    Column("machine_id", Id, nullable=False),
    Column("command_id", Id, nullable=False),  # 0: all commands
    Column("kind", Text, nullable=False),  # allow | pause
    Column("until_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("machine_id", "command_id"),
)

# Semaphores: resources shared across machines (say, "nas" with 3 units). A running job holds the
# units that its command or submission requires.
semaphore = Table(
    "semaphore",
    metadata,
    Column("name", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("free_when_frozen", Integer, nullable=False, server_default="0"),
)

# Job classes: requirements of jobs for placement. Jobs with the same requirements share a row.
job_class = Table(
    "job_class",
    metadata,
    Column("class_id", Id, primary_key=True),
    Column("revision_id", Id, ForeignKey("command_revision.revision_id"), nullable=False),
    Column("command_id", Id, nullable=False),
    Column("submitter", Text, nullable=False),
    Column("pin", Text, nullable=False),
    Column("preferred", Text, nullable=False),
    Column("labels", Text, nullable=False),
    Column("semaphores", Text, nullable=False),
    Column("limits", Text, nullable=False),
    UniqueConstraint(
        "revision_id", "submitter", "pin", "preferred", "labels", "semaphores", "limits"
    ),
)

batch = Table(
    "batch",
    metadata,
    Column("batch_id", Id, primary_key=True),
    Column("command_id", Id, nullable=False),
    Column("first_job_id", Id, nullable=False),
    Column("jobs", Integer, nullable=False),
    Column("submitted_ms", BigInteger, nullable=False),
    Column("opened_ms", BigInteger),  # null until all jobs of the batch are inserted
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
)

Index("batch_unopened", batch.c.batch_id, **_where("opened_ms IS NULL"))

job = Table(
    "job",
    metadata,
    Column("job_id", Id, primary_key=True),
    Column("class_id", Id, ForeignKey("job_class.class_id"), nullable=False),
    Column("command_id", Id, nullable=False),
    Column("batch_id", Id),
    Column("arguments", Text, nullable=False),  # JSON: value by parameter; AdHocRun for `run`
    Column("key", Text),
    Column("subject", Text),
    Column("overlap", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("hold", Integer, nullable=False),  # 1: until a user releases; 2: batch not opened
    Column("stop_requested", Text),  # user who asked to stop the job
    Column("not_before_ms", BigInteger),  # null once past: setting the clock back has no effect
    Column("deadline_ms", BigInteger),
    # Sort key by deadline, negative. 0: no deadline, sorts last and takes no space in SQLite.
    Column("deadline_order", BigInteger, nullable=False, server_default="0"),
    Column("unmet", Integer, nullable=False),  # number of dependencies not met yet
    Column("ready_class", Id),  # class_id if the job waits only for a machine; else null
    Column("attempts", Integer, nullable=False),  # number of the last attempt; never decreases
    Column("losses", Integer, nullable=False),  # attempts lost in a row
    Column("submitted_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("progress", Integer),  # in units of 0.1 percent
    Column("comment", Text, nullable=False),
    Column("reason_code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("rerun_of", Id),
    Column("failures", Integer, nullable=False, server_default="0"),  # failures that [retry] counts
)

# Placement reads the next jobs of a job class from this index, so the cost does not depend on the
# length of the queue.
Index(
    "job_ready",
    job.c.ready_class,
    job.c.priority.desc(),
    job.c.deadline_order,
    job.c.job_id,
    **_where("ready_class IS NOT NULL"),
)
# Jobs that are held because they were lost too often in a row: few jobs, which every
# `mythjobs status` shows.
Index("job_lost", job.c.job_id, **_where("hold = 1 AND reason_code = 'lost_often'"))
Index("job_key", job.c.key, unique=True, **_where("key IS NOT NULL"))
# Finds the next job about a subject in each class when the subject becomes free. The index has
# only jobs that wait for nothing but their subject and a machine.
Index(
    "job_subject",
    job.c.subject,
    job.c.class_id,
    job.c.priority.desc(),
    job.c.deadline_order,
    job.c.job_id,
    **_where(
        "subject IS NOT NULL AND state = 'queued' AND hold = 0 AND stop_requested IS NULL "
        "AND not_before_ms IS NULL AND unmet = 0"
    ),
)
# Index for lists of the jobs about one subject.
Index("job_about", job.c.subject, job.c.job_id, **_where("subject IS NOT NULL"))
# Two indexes for the live and the ready jobs about a subject: few rows, even in a long queue.
Index(
    "job_subject_live",
    job.c.subject,
    **_where("subject IS NOT NULL AND state IN ('leased', 'running')"),
)
Index(
    "job_subject_ready", job.c.subject, **_where("subject IS NOT NULL AND ready_class IS NOT NULL")
)
Index("job_due", job.c.not_before_ms, **_where("not_before_ms IS NOT NULL"))
Index("job_deadline", job.c.deadline_ms, **_where("deadline_ms IS NOT NULL AND state = 'queued'"))
# Index for statistics of a command: the command's ended jobs by end time.
Index("job_ended", job.c.command_id, job.c.ended_ms, **_where("ended_ms IS NOT NULL"))
# Indexes for lists of jobs by state. Each job is in exactly one of the indexes job_open,
# job_succeeded, job_failed and job_cancelled; a list for all commands merges each command's ranges.
Index("job_open", job.c.command_id, job.c.job_id, **_where("ended_ms IS NULL"))
for _state in ("succeeded", "failed", "cancelled"):
    Index(f"job_{_state}", job.c.command_id, job.c.job_id, **_where(f"state = '{_state}'"))
Index("job_held", job.c.job_id, **_where("hold = 1"))
# Index of open jobs with more than MAX_ATTEMPTS attempts, of which retention deletes the oldest.
Index("job_retried", job.c.job_id, **_where("attempts > 1000 AND ended_ms IS NULL"))

dependency = Table(
    "dependency",
    metadata,
    Column("job_id", Id, nullable=False),
    Column("on_job_id", Id, nullable=False),
    Column("accept", Text, nullable=False),  # ok | any | failure | serial
    Column("met", Integer, nullable=False),
    PrimaryKeyConstraint("job_id", "on_job_id"),
)
# Index to find out in constant time whether any job waits for another job.
Index("dependency_unmet", dependency.c.job_id, **_where("met = 0"))
# Dependencies on a job, the unmet ones first. Met dependencies are needed too, because prune
# keeps a job while a dependent job has not ended.
Index("dependency_on", dependency.c.on_job_id, dependency.c.met, dependency.c.job_id)

attempt = Table(
    "attempt",
    metadata,
    Column("job_id", Id, nullable=False),
    Column("n", Integer, nullable=False),
    Column("machine_id", Id, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("silence", Text, nullable=False),
    Column("leased_ms", BigInteger, nullable=False),
    Column("started_ms", BigInteger),
    Column("over_ms", BigInteger),
    Column("outcome", Text),
    Column("evidence", Text),  # how the end is known: observed | presumed, …
    Column("usage", Text),
    Column("output", Text),  # bytes: [[written, head, tail], …] per stream
    Column("lease_s", Float),  # null: the lease does not expire
    Column("paused", Integer, nullable=False, server_default="0"),  # 1: frozen by a user
    PrimaryKeyConstraint("job_id", "n"),
    sqlite_with_rowid=False,
)
# At most one live attempt per job, enforced by the database.
Index("attempt_live", attempt.c.job_id, unique=True, **_where("over_ms IS NULL"))

# Size and age of the kept output of ended attempts. Small output is in the column `data`, as a JSON
# list with the kept bytes of each stream in base64; other output is in files, on the master or
# still on the attempt's machine.
kept_output = Table(
    "kept_output",
    metadata,
    Column("job_id", Id, nullable=False),
    Column("n", Integer, nullable=False),
    Column("command_id", Id, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("ended_ms", BigInteger, nullable=False),
    Column("data", Text),
    PrimaryKeyConstraint("job_id", "n"),
)
# Two indexes to find the oldest output, of all commands and of one command.
Index("kept_output_ended", kept_output.c.ended_ms)
Index("kept_output_command", kept_output.c.command_id, kept_output.c.ended_ms)

# Counter: bytes of kept output by command, updated with each change.
output_total = Table(
    "output_total",
    metadata,
    Column("command_id", Id, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
)

# Events in the history of jobs that job and attempt rows do not show: holds, returned grants,
# losses, late results.
event = Table(
    "event",
    metadata,
    Column("event_id", Id, primary_key=True),
    Column("job_id", Id, nullable=False, index=True),
    Column("n", Integer, nullable=False),
    Column("at_ms", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("detail", Text, nullable=False),
)

# Usual run time of a command on a machine: exponentially weighted mean of its runs.
footprint = Table(
    "footprint",
    metadata,
    Column("command_id", Id, nullable=False),
    Column("machine_id", Id, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("wall_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("command_id", "machine_id"),
)

# What one job of a command uses on a machine, as the machine has learned it: a JSON array
# (mythjobs.agent.scaling.footprint).
command_usage = Table(
    "command_usage",
    metadata,
    Column("command_id", Id, nullable=False),
    Column("machine_id", Id, nullable=False),
    Column("footprint", Text, nullable=False),
    PrimaryKeyConstraint("command_id", "machine_id"),
)

# Upkeep: pending work on many rows, which later transactions do in slices.
upkeep = Table(
    "upkeep",
    metadata,
    Column("upkeep_id", Id, primary_key=True),
    Column("kind", Text, nullable=False),  # UpkeepKind of writes/upkeep.py
    Column("next_job_id", Id, nullable=False),
    Column("last_job_id", Id, nullable=False),
)

# Counters: number of jobs by command and state, updated when a job changes its state.
tally = Table(
    "tally",
    metadata,
    Column("command_id", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("jobs", Integer, nullable=False),
    PrimaryKeyConstraint("command_id", "state"),
)
