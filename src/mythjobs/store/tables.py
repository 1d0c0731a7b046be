"""Every table and index, as SQLAlchemy Core. Instants are ms UTC, words are text, JSON is text."""

from __future__ import annotations

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

# SQLite numbers rows by itself only where the key is called INTEGER.
Id = BigInteger().with_variant(Integer(), "sqlite")

meta = Table(
    "meta",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

command = Table(
    "command",
    metadata,
    Column("command_id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("enabled", Integer, nullable=False),
    Column("revision_id", Id, nullable=False),  # the one that new jobs get
    Column("created_ms", BigInteger, nullable=False),
    # Until when no job of it starts, because its output said "later"; null: it may.
    Column("put_off_ms", BigInteger),
    Column("put_off_reason", Text, nullable=False, server_default=""),
)

# A job keeps the revision it was submitted with; rows are never changed.
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
    Column("jobs", Integer),  # the ceiling an owner set; null: the machine's cores
    Column("cores", Integer, nullable=False),
    Column("boot_id", Text, nullable=False),
    Column("enrolled_ms", BigInteger, nullable=False),
    Column("attached_ms", BigInteger, nullable=False),
    Column("settings", Text, nullable=False, server_default="{}"),  # the owner's TOML, as JSON
    Column("zone", Text, nullable=False, server_default=""),  # of its clock on the wall
)

# "Open until" and "closed until": what an owner says once, beside the weekly windows.
window_override = Table(
    "window_override",
    metadata,
    Column("machine_id", Id, nullable=False),
    Column("command_id", Id, nullable=False),  # 0: every command
    Column("kind", Text, nullable=False),  # allow | pause
    Column("until_ms", BigInteger, nullable=False),
    PrimaryKeyConstraint("machine_id", "command_id"),
)

# What jobs share beyond one machine ("nas", 3): jobs that name it take of it while they run.
semaphore = Table(
    "semaphore",
    metadata,
    Column("name", Text, primary_key=True),
    Column("size", Integer, nullable=False),
    Column("free_when_frozen", Integer, nullable=False, server_default="0"),
)

# What a job itself says that placement needs. Jobs that ask the same share a row.
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
    Column("opened_ms", BigInteger),  # null while its rows come in: invisible, never ready
    Column("succeeded", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
    Column("cancelled", Integer, nullable=False),
)

job = Table(
    "job",
    metadata,
    Column("job_id", Id, primary_key=True),
    Column("class_id", Id, ForeignKey("job_class.class_id"), nullable=False),
    Column("command_id", Id, nullable=False),
    Column("batch_id", Id),
    Column("arguments", Text, nullable=False),  # JSON: parameter to text; for a run, the run itself
    Column("key", Text),
    Column("subject", Text),
    Column("overlap", Integer, nullable=False),
    Column("priority", Integer, nullable=False),
    Column("state", Text, nullable=False),
    Column("hold", Integer, nullable=False),  # 1: by a person; 2: its batch is not open yet
    Column("stop_requested", Text),  # who asked
    Column("not_before_ms", BigInteger),  # null once it is due: being due is sticky
    Column("deadline_ms", BigInteger),
    # The deadline as it sorts: 0 without one, which comes last, and takes no room in SQLite.
    Column("deadline_order", BigInteger, nullable=False, server_default="0"),
    Column("unmet", Integer, nullable=False),  # dependencies that are still open
    Column("ready_class", Id),  # the class, if nothing but a place is missing; else null
    Column("attempts", Integer, nullable=False),  # the last number given; never counted back
    Column("losses", Integer, nullable=False),  # in a row
    Column("submitted_ms", BigInteger, nullable=False),
    Column("ended_ms", BigInteger),
    Column("progress", Integer),  # tenths of a percent
    Column("comment", Text, nullable=False),
    Column("reason_code", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("rerun_of", Id),
    Column("failures", Integer, nullable=False, server_default="0"),  # that count for [retry]
)

# Placement reads the next jobs of a class here, and nothing else of the backlog.
Index(
    "job_ready",
    job.c.ready_class,
    job.c.priority.desc(),
    job.c.deadline_order,
    job.c.job_id,
    sqlite_where=text("ready_class IS NOT NULL"),
    postgresql_where=text("ready_class IS NOT NULL"),
)
Index(
    "job_key",
    job.c.key,
    unique=True,
    sqlite_where=text("key IS NOT NULL"),
    postgresql_where=text("key IS NOT NULL"),
)
# The next of a subject, class by class, when the subject becomes free.
Index(
    "job_subject",
    job.c.subject,
    job.c.class_id,
    job.c.priority.desc(),
    job.c.deadline_order,
    job.c.job_id,
    sqlite_where=text("subject IS NOT NULL AND state = 'queued'"),
    postgresql_where=text("subject IS NOT NULL AND state = 'queued'"),
)
# Who has a subject now, and who may get it: few rows, however many wait.
Index(
    "job_subject_live",
    job.c.subject,
    sqlite_where=text("subject IS NOT NULL AND state IN ('leased', 'running')"),
    postgresql_where=text("subject IS NOT NULL AND state IN ('leased', 'running')"),
)
Index(
    "job_subject_ready",
    job.c.subject,
    sqlite_where=text("subject IS NOT NULL AND ready_class IS NOT NULL"),
    postgresql_where=text("subject IS NOT NULL AND ready_class IS NOT NULL"),
)
Index(
    "job_due",
    job.c.not_before_ms,
    sqlite_where=text("not_before_ms IS NOT NULL"),
    postgresql_where=text("not_before_ms IS NOT NULL"),
)
Index(
    "job_deadline",
    job.c.deadline_ms,
    sqlite_where=text("deadline_ms IS NOT NULL AND state = 'queued'"),
    postgresql_where=text("deadline_ms IS NOT NULL AND state = 'queued'"),
)
# The jobs of a command that are over, newest first: statistics, and the last week for what-if.
Index(
    "job_ended",
    job.c.command_id,
    job.c.ended_ms,
    sqlite_where=text("ended_ms IS NOT NULL"),
    postgresql_where=text("ended_ms IS NOT NULL"),
)
# Lists of one command, its oldest job that waits, and lists of what is over.
Index("job_command", job.c.command_id, job.c.job_id)
Index(
    "job_open",
    job.c.command_id,
    job.c.job_id,
    sqlite_where=text("ended_ms IS NULL"),
    postgresql_where=text("ended_ms IS NULL"),
)
Index(
    "job_over",
    job.c.job_id,
    sqlite_where=text("ended_ms IS NOT NULL"),
    postgresql_where=text("ended_ms IS NOT NULL"),
)
# Lists by a state that few jobs have need not read past the many.
for _word in ("failed", "cancelled"):
    Index(
        f"job_{_word}",
        job.c.job_id,
        sqlite_where=text(f"state = '{_word}'"),
        postgresql_where=text(f"state = '{_word}'"),
    )

dependency = Table(
    "dependency",
    metadata,
    Column("job_id", Id, nullable=False),
    Column("on_job_id", Id, nullable=False),
    Column("accept", Text, nullable=False),  # ok | any | failure
    Column("met", Integer, nullable=False),
    PrimaryKeyConstraint("job_id", "on_job_id"),
)
Index(
    "dependency_open",
    dependency.c.on_job_id,
    sqlite_where=text("met = 0"),
    postgresql_where=text("met = 0"),
)
# Who waited for a job, also when it is over: nothing of what is open is pruned.
Index("dependency_on", dependency.c.on_job_id)

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
    Column("evidence", Text),  # observed | presumed, and how it is known
    Column("usage", Text),
    Column("output", Text),  # [[written, head, tail], …] per stream
    Column("lease_s", Float),  # null: for ever
    PrimaryKeyConstraint("job_id", "n"),
    sqlite_with_rowid=False,
)
# At most one live attempt a job, whatever the code above believes.
Index(
    "attempt_live",
    attempt.c.job_id,
    unique=True,
    sqlite_where=text("over_ms IS NULL"),
    postgresql_where=text("over_ms IS NULL"),
)

# What job and attempt rows do not say: holds, returns, losses, late results.
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

# How long a command usually takes on a machine (exponentially weighted).
footprint = Table(
    "footprint",
    metadata,
    Column("command_id", Id, nullable=False),
    Column("machine_id", Id, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("wall_us", BigInteger, nullable=False),
    PrimaryKeyConstraint("command_id", "machine_id"),
)

# Work on many rows that a committed fact made necessary; following turns do it in slices.
upkeep = Table(
    "upkeep",
    metadata,
    Column("upkeep_id", Id, primary_key=True),
    Column("kind", Text, nullable=False),  # open | open_held: the jobs of a batch
    Column("next_job_id", Id, nullable=False),
    Column("last_job_id", Id, nullable=False),
)

# Jobs by command and state, counted as they move: a million rows are not counted to be shown.
tally = Table(
    "tally",
    metadata,
    Column("command_id", Id, nullable=False),
    Column("state", Text, nullable=False),
    Column("jobs", Integer, nullable=False),
    PrimaryKeyConstraint("command_id", "state"),
)
