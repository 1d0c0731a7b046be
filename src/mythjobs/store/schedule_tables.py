"""Tables of schedules and their ticks. Times are in ms since 1970 (UTC)."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, PrimaryKeyConstraint, Table, Text, text

from mythjobs.store.tables import Id, metadata

schedule = Table(
    "schedule",
    metadata,
    Column("schedule_id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("definition", Text, nullable=False),  # JSON
    Column("submitter", Text, nullable=False),  # user who added it; submitter of its jobs
    Column("created_ms", BigInteger, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
    Column("cursor_ms", BigInteger, nullable=False),  # all ticks up to this instant are decided
    Column("paused", Integer, nullable=False),
    Column("paused_until_ms", BigInteger),  # null: until a user resumes it
    Column("pause_reason", Text, nullable=False),
    Column("drifting", Integer, nullable=False),  # 1: an incident was recorded, and it still drifts
)

# Ticks of schedules. A row without a job may stand for several consecutive ticks.
schedule_tick = Table(
    "schedule_tick",
    metadata,
    Column("schedule_id", Id, nullable=False),
    Column("tick_ms", BigInteger, nullable=False),
    Column("machine_id", Id, nullable=False),  # of a schedule for each machine; 0: no machine's
    Column("last_ms", BigInteger, nullable=False),  # the last of several ticks
    Column("ticks", Integer, nullable=False),
    Column("outcome", Text, nullable=False),  # TickOutcome of model/tick.py
    Column("reason", Text, nullable=False),
    Column("job_id", Id),  # its last job
    Column("tries", Integer, nullable=False),  # number of its jobs
    Column("started_ms", BigInteger),  # start of its last job
    Column("ended_ms", BigInteger),
    PrimaryKeyConstraint("schedule_id", "tick_ms", "machine_id"),
)
# Index of the ticks whose jobs have not ended: few.
_SUBMITTED = text("outcome = 'submitted'")
Index(
    "schedule_tick_open",
    schedule_tick.c.schedule_id,
    schedule_tick.c.tick_ms,
    sqlite_where=_SUBMITTED,
    postgresql_where=_SUBMITTED,
)
