"""Query plans: no statement of a request or a turn may read a whole table or index of jobs."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import ModuleType
from typing import Any, Final

import pytest

import mythjobs.store.queries
import mythjobs.store.writes
from mythjobs.model.life import JobEvent, JobState
from mythjobs.store.backends.sqlite import SqliteStore
from mythjobs.store.open import Store, open_store
from mythjobs.store.queries import (
    batches as batch_queries,
)
from mythjobs.store.queries import (
    commands,
    job_details,
    notifications,
    ready_jobs,
    statistics,
)
from mythjobs.store.queries.filters import JobFilter, count_jobs, find_ids, find_max_id
from mythjobs.store.queries.jobs import list_jobs
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import job_state, jobs, readiness
from tests.support import queue as q
from tests.support.query_plans import find_scans

# Tables that stay small with any number of jobs.
SMALL: Final = (
    "batch", "channel", "channel_message", "command", "command_revision", "command_usage",
    "footprint", "invitation", "machine", "notification", "output_total", "semaphore", "snooze",
    "schedule", "tally", "upkeep", "window_override",
)  # fmt: skip
# Partial indexes of few rows, and reads that take the first row of an index.
ALLOWED: Final = {
    "dependencies._FIND_UNMET": ["dependency_unmet"],
    "id_recovery._READ_LIVE": ["attempt_live"],
    "channels._DROP_ALL": ["message_due", "message_topic"],
    "channels._FIND_NEXT_MS": ["message_due"],
    "machines._READ_LIVE_ATTEMPTS": ["attempt_live"],
    "notifications._READ_DUE": ["notification_due"],
    "notifications._READ_OPEN": ["notification_open"],
    "notifications._READ_UNREAD_IDS": ["notification_unread"],
    "notifications._SET_ALL_READ": ["notification_unread"],
    "readiness._FIND_NEXT_DUE": ["job_due"],
    "ticks._READ_OPEN": ["schedule_tick_open"],
    "retention._FIND_OLDEST": ["kept_output_ended"],
    "retention._FIND_RETRIED": ["job_retried"],
    # Once a day, not in a turn.
    "retention._COUNT_CLASSES": ["job_class", "job_class_pkey"],
    "retention._READ_CLASS_IDS": ["job_class", "job_class_pkey"],
    "retention._READ_USED_CLASS_IDS": ["job"],
    # Runs in `mythjobs restore`, not in a master.
    "id_recovery._HOLD_QUEUED": ["job"],
}
# The first two are read in order for the pages of all jobs. PostgreSQL may read indexes of which
# it knows that they have few rows.
ALLOWED_READS: Final = (
    "job", "job_pkey", "attempt_live", "job_cancelled", "job_failed", "job_held",
    "job_lost", "notification_unread",
)  # fmt: skip


def _is_small(scan: str) -> bool:
    if scan == "batch_unopened" or scan.startswith("job_class_"):
        return True  # of job classes there are few in these tests
    index = scan.removeprefix("sqlite_autoindex_").removesuffix("_pkey").removesuffix("_name_key")
    return index.rstrip("_0123456789") in SMALL


def _statements() -> Iterator[tuple[str, Statement]]:
    for package in (mythjobs.store.queries, mythjobs.store.writes):
        for each in iter_modules(package.__path__):
            yield from _statements_of(import_module(f"{package.__name__}.{each.name}"))


def _statements_of(module: ModuleType) -> Iterator[tuple[str, Statement]]:
    short = module.__name__.rpartition(".")[2]
    for name, value in vars(module).items():
        if isinstance(value, Statement):
            yield f"{short}.{name}", value
        elif isinstance(value, dict):
            for key, each in value.items():
                if isinstance(each, Statement):
                    yield f"{short}.{name}[{key}]", each


def test_no_statement_reads_a_whole_table_or_index(store: Store) -> None:
    found = {}
    for name, statement in _statements():
        with store.transaction() as tx:
            scans = {
                scan
                for sql, values in statement.list_texts(tx.dialect)
                for scan in find_scans(tx, sql, values)
            }
        scans = {each for each in scans if not _is_small(each)}.difference(ALLOWED.get(name, ()))
        if scans:
            found[name] = scans
    assert found == {}


@pytest.fixture
def sqlite(migrated_file: Path) -> Iterator[Transaction]:
    store = open_store(migrated_file, unsafe=True)
    with store.transaction() as tx:
        yield tx
    store.close()


def _plan(tx: Transaction, statement: Statement) -> list[str]:
    [(sql, values)] = statement.list_texts(tx.dialect)
    tx.cursor.execute(f"EXPLAIN QUERY PLAN {sql}", [None] * values)
    return [str(step[3]) for step in tx.cursor.fetchall()]


def test_the_last_jobs_of_a_command_are_read_from_the_end_of_an_index(sqlite: Transaction) -> None:
    # With a sort, a list of commands would read all ended jobs of the store.
    plan = _plan(sqlite, statistics._READ_RECENT)
    assert [" ".join(each.split()[:5]) for each in plan] == [
        "SEARCH job USING INDEX job_ended",
        "SEARCH attempt USING PRIMARY KEY",
    ]


def test_a_lease_looks_up_its_jobs_by_primary_key(sqlite: Transaction) -> None:
    # A plan that read all ready jobs took 20 ms with 100,000 of them.
    assert _plan(sqlite, job_state._LEASE)[0].startswith("SEARCH job USING INTEGER PRIMARY KEY")


def test_the_next_jobs_of_a_class_come_from_the_index_in_order(sqlite: Transaction) -> None:
    # No sort: a class may have a million jobs.
    assert _plan(sqlite, ready_jobs._READ_NEXT) == [
        "SEARCH job USING INDEX job_ready (ready_class=?)"
    ]
    # Counting the jobs ahead of a job reads no jobs behind it.
    ahead = [each for each in _plan(sqlite, ready_jobs._FIND_AHEAD) if each.startswith("SEARCH")]
    ranges = ["priority>?", "priority=? AND deadline_order<?",
              "priority=? AND deadline_order=? AND job_id<?"]  # fmt: skip
    assert ahead == [
        f"SEARCH job USING COVERING INDEX job_ready (ready_class=? AND {each})" for each in ranges
    ]


def test_the_next_job_about_a_subject_passes_over_no_job(sqlite: Transaction) -> None:
    assert "SEARCH candidate USING INDEX job_subject (subject=? AND class_id>?)" in " ".join(
        _plan(sqlite, readiness._FIND_FIRST)
    )


FILTERS: Final = [
    JobFilter(states, **others)
    for states in (
        (), ("queued",), ("leased", "running"), ("failed",), ("cancelled",), ("succeeded",),
        ("queued", "leased", "running"), ("queued", "failed"), ("succeeded", "failed", "cancelled"),
    )
    for others in (
        {}, {"command": "rare"}, {"command": "common"}, {"subject": "/film"}, {"batch": 1},
        {"held": True}, {"lost": True}, {"subject": "/film", "command": "rare"},
        {"since_ms": q.NOON + 1}, {"since_ms": q.NOON + 1, "command": "rare"},
    )
]  # fmt: skip
LIMIT: Final = 10


def _fill(tx: Transaction, common: int) -> None:
    """Insert a few jobs of each kind, first, last and among many that match no rare filter."""
    q.enrol_machines(tx)
    _add_rare_jobs(tx)
    _run_jobs(tx, q.queue_jobs(tx, common, command="common"), JobEvent.SUCCEEDED)
    q.queue_batch(tx, 3)
    _add_rare_jobs(tx)
    q.queue_jobs(tx, common, command="common")
    _run_jobs(tx, q.queue_jobs(tx, common, command="common"), JobEvent.SUCCEEDED)
    _add_rare_jobs(tx)


def _add_rare_jobs(tx: Transaction) -> None:
    q.queue_jobs(tx, 3, command="rare", subject="/film")
    q.queue_jobs(tx, 3, command="rare", hold=1)
    _run_jobs(tx, q.queue_jobs(tx, 3, command="rare"), JobEvent.FAILED)
    q.lease(tx, *q.queue_jobs(tx, 2, command="rare"))


def _run_jobs(tx: Transaction, job_ids: list[int], event: JobEvent) -> None:
    leased = q.lease(tx, *job_ids)
    q.start(tx, *leased)
    ends = [
        job_state.AttemptEnd(
            each.job_id, each.n, each.command_id, each.batch_id, JobState.RUNNING, event, q.NOON,
            q.EXITED, "", "", "observed", "code", "sentence",
        )
        for each in leased
    ]  # fmt: skip
    job_state.end(tx, ends, at_ms=q.NOON)


def _list(tx: Transaction, which: JobFilter) -> None:
    _list_before(tx, which, None)


def _list_before(tx: Transaction, which: JobFilter, before: int | None) -> None:
    list_jobs(
        tx, which.states, which.command, which.batch, LIMIT, before, which.subject, which.since_ms,
        which.held,
    )  # fmt: skip


READS: Final[dict[str, Callable[[Transaction, JobFilter], Any]]] = {
    "list": _list,
    "list from the middle": lambda tx, which: _list_before(tx, which, 30),
    "count": count_jobs,
    "find": lambda tx, which: find_ids(tx, which, 0, 10**9, LIMIT),
    "find from the middle": lambda tx, which: find_ids(tx, which, 30, 10**9, LIMIT),
}


def _measure_steps(path: Path, common: int) -> dict[tuple[str, JobFilter], int]:
    """Return the cost of each read, in steps of SQLite's virtual machine."""
    store = SqliteStore(path, unsafe=True)
    with store.transaction() as tx:
        _fill(tx, common)
    connection = store._writer
    costs = {}
    with store.transaction() as tx:
        for name, read in READS.items():
            for which in FILTERS:
                steps = 0

                def count() -> None:
                    nonlocal steps
                    steps += 1

                connection.set_progress_handler(count, 1)
                read(tx, which)
                connection.set_progress_handler(None, 0)
                costs[name, which] = steps
    store.close()
    return costs


@pytest.mark.slow
def test_the_cost_of_a_filter_does_not_grow_with_other_jobs(tmp_path: Path) -> None:
    few, many = (_measure_steps(tmp_path / f"{jobs}.db", jobs) for jobs in (100, 1000))
    # A filter that matches the common jobs may count all of them.
    grown = {
        key: (few[key], many[key])
        for key in few
        if many[key] > 1.5 * few[key] + 100 and not (key[0] == "count" and _is_common(key[1]))
    }
    assert grown == {}


def _is_common(which: JobFilter) -> bool:
    if which.command is None and which.since_ms is not None:
        return not which.states or "queued" in which.states
    return which.command == "common" and not which.held and which.batch is None


class RecordingCursor:
    """A cursor that keeps each statement with its parameters, and the line that executed it."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.executed: list[tuple[str, tuple[Any, ...]]] = []
        self.lines: set[tuple[str, int]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, sql: str, values: tuple[Any, ...] = ()) -> None:
        self.executed.append((sql, values))
        caller = sys._getframe(2)
        self.lines.add((caller.f_code.co_filename, caller.f_lineno))
        self._cursor.execute(sql, values)


def _read_everything(tx: Transaction) -> None:
    for which in FILTERS:
        for read in READS.values():
            read(tx, which)
        count_jobs(tx, which._replace(ended_before_ms=q.NOON + 1))
    find_max_id(tx)
    job_details.read_job(tx, 1)
    job_details.read_attempt_output(tx, 7, None)
    job_details.find_attempt_machines(tx, [(7, 1)])
    batch_queries.read_batch(tx, 1)
    commands.list_commands(tx, statistics=True)
    commands.read_command(tx, "rare", 1, statistics=True)
    statistics.read_run_times(tx, 1)
    commands.list_revisions(tx, "rare")
    notifications.list_notifications(tx, unread=True, limit=LIMIT)
    notifications.list_messages(tx, LIMIT)
    commands.read_queue_counts(tx)


def _calls_of_fetch_records() -> Iterator[tuple[str, range]]:
    """Yield file and lines of each query that is compiled at each call."""
    for path in Path(mythjobs.store.queries.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "fetch_records":
                yield str(path), range(node.lineno, (node.end_lineno or node.lineno) + 1)


def test_no_request_reads_a_whole_table_or_index(store: Store) -> None:
    with store.transaction() as tx:
        _fill(tx, 500)
    with store.transaction() as tx:
        # PostgreSQL collects statistics by itself, a while after the rows were inserted.
        tx.cursor.execute("ANALYZE job") if tx.dialect.name == "postgresql" else None
    with store.snapshot() as tx:
        recorded = RecordingCursor(tx.cursor)
        _read_everything(Transaction(recorded, tx.dialect))
    unread = [
        f"{path}:{lines.start}"
        for path, lines in _calls_of_fetch_records()
        if not any(each[0] == path and each[1] in lines for each in recorded.lines)
    ]
    assert unread == []
    with store.snapshot() as tx:
        scans = {sql: find_scans(tx, sql, values) for sql, values in recorded.executed}
    found = {
        sql: [each for each in scanned if not (each in ALLOWED_READS or _is_small(each))]
        for sql, scanned in scans.items()
    }
    assert {sql: each for sql, each in found.items() if each} == {}
    pages = [sql for sql, scanned in scans.items() if {"job", "job_pkey"}.intersection(scanned)]
    if tx.dialect.name == "postgresql":
        # The planner knows from its statistics that most jobs match these.
        common = ("job.state = 'succeeded'", "job.ended_ms IS NULL")
        pages = [sql for sql in pages if not any(each in sql for each in common)]
    assert len(pages) <= 2, pages
    assert all("LIMIT" in each and "job.state" not in each for each in pages), pages


def test_jobs_of_a_set_are_found_by_their_ids(store: Store) -> None:
    with store.transaction() as tx:
        for sql, values in jobs._READ_FLAGS.list_texts(tx.dialect):
            assert find_scans(tx, sql, values) == []
