"""Queries for metrics: counters of the store, and its size."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import select

from mythjobs.store import tables as t
from mythjobs.store.queries.commands import read_queue_counts
from mythjobs.store.queries.notifications import count_unread
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction


class StoreFigures(NamedTuple):
    """Figures for metrics.

    names: of commands, by id. jobs: by (command id, state). oldest_ms: submit of the oldest queued
    job by command name. output_bytes: kept output by command id. store_bytes: size of the database;
    of a SQLite file without its write-ahead log.
    """

    names: dict[int, str]
    jobs: dict[tuple[int, str], int]
    oldest_ms: dict[str, int]
    output_bytes: dict[int, int]
    store_bytes: int
    unread: int


_READ_NAMES = Statement(select(t.command.c.command_id, t.command.c.name))
_READ_TALLY = Statement(select(t.tally.c.command_id, t.tally.c.state, t.tally.c.jobs))
_READ_OUTPUT = Statement(select(t.output_total.c.command_id, t.output_total.c.bytes))


def read_store_figures(tx: Transaction) -> StoreFigures:
    queue = read_queue_counts(tx)
    return StoreFigures(
        {row[0]: row[1] for row in _READ_NAMES.run(tx)},
        {(row[0], row[1]): row[2] for row in _READ_TALLY.run(tx)},
        {
            each["name"]: each["oldest_ms"]
            for each in queue["commands"]
            if each["oldest_ms"] is not None
        },
        {row[0]: row[1] for row in _READ_OUTPUT.run(tx)},
        _read_size(tx),
        count_unread(tx),
    )


def _read_size(tx: Transaction) -> int:
    if tx.dialect.name == "sqlite":
        pages, size = (_read_number(tx, f"PRAGMA {each}") for each in ("page_count", "page_size"))
        return pages * size
    return _read_number(tx, "SELECT pg_database_size(current_database())")


def _read_number(tx: Transaction, sql: str) -> int:
    tx.cursor.execute(sql)
    return int(tx.cursor.fetchone()[0])
