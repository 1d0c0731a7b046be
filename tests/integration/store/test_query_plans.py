"""Query plans: the cost of a statement must not grow with the backlog."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from mythjobs.store.open import open_store
from mythjobs.store.queries import job_facts, ready_jobs, statistics
from mythjobs.store.statement import Statement
from mythjobs.store.writes import (
    batches,
    counters,
    deadlines,
    dependencies,
    job_state,
    jobs,
    late_results,
    prune,
    readiness,
)

HOT = (
    batches, counters, deadlines, dependencies, job_facts, job_state, jobs, late_results,
    prune, readiness, ready_jobs, statistics,
)  # fmt: skip
# Tables that stay small with any backlog.
SMALL = ("batch", "upkeep", "json_each")


def _statements(module: ModuleType) -> Iterator[tuple[str, Statement]]:
    short = module.__name__.rpartition(".")[2]
    for name, value in vars(module).items():
        if isinstance(value, Statement):
            yield f"{short}.{name}", value
        elif isinstance(value, dict):
            for key, each in value.items():
                if isinstance(each, Statement):
                    yield f"{short}.{name}[{key}]", each


@pytest.mark.parametrize(
    "name, statement", [pair for module in HOT for pair in _statements(module)]
)
def test_statements_of_a_transaction_use_indexes(
    tmp_path: Path, name: str, statement: Statement
) -> None:
    store = open_store(tmp_path / "store.db")
    with store.transaction() as tx:
        plan = statement.query_plan(tx)
    store.close()
    scans = [
        step
        for step in plan
        if step.startswith("SCAN ") and "INDEX" not in step and step.split()[1] not in SMALL
    ]
    assert scans == []


def test_a_lease_looks_up_its_jobs_by_primary_key(tmp_path: Path) -> None:
    # A plan that read all ready jobs took 20 ms with 100,000 of them.
    store = open_store(tmp_path / "store.db")
    with store.transaction() as tx:
        assert job_state._LEASE.query_plan(tx)[0].startswith("SEARCH job USING INTEGER PRIMARY KEY")
    store.close()


def test_the_next_jobs_of_a_class_come_from_the_index_in_order(tmp_path: Path) -> None:
    store = open_store(tmp_path / "store.db")
    with store.transaction() as tx:
        # No sort: a class may have a million jobs.
        assert ready_jobs._READ_NEXT.query_plan(tx) == [
            "SEARCH job USING INDEX job_ready (ready_class=?)"
        ]
        assert readiness._FIND_FIRST.query_plan(tx) == [
            "SEARCH job USING INDEX job_subject (subject=? AND class_id>?)"
        ]
        ahead = [
            each for each in ready_jobs._FIND_AHEAD.query_plan(tx) if each.startswith("SEARCH")
        ]
    store.close()
    # Counting the jobs ahead of a job reads no jobs behind it.
    ranges = ["priority>?", "priority=? AND deadline_order<?",
              "priority=? AND deadline_order=? AND job_id<?"]  # fmt: skip
    assert ahead == [
        f"SEARCH job USING COVERING INDEX job_ready (ready_class=? AND {each})" for each in ranges
    ]
