"""Dependencies between jobs: which job waits for which, and what the end of a job resolves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, insert, literal_column, select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, in_list, param
from mythjobs.store.transaction import Transaction

dependency, job = t.dependency, t.job
# A literal, without which SQLite would not use the partial index of unmet dependencies.
UNMET: Final[ColumnElement[int]] = literal_column("0")

_INSERT = Statement(insert(dependency), dependency.c.keys())
_FIND_DEPENDENTS = Statement(
    select(dependency.c.job_id, dependency.c.on_job_id, dependency.c.accept).where(
        in_list(dependency.c.on_job_id, "job_ids"), dependency.c.met == UNMET
    )
)
_SET_MET = Statement(
    update(dependency)
    .where(
        dependency.c.job_id == param("dependent_id"), dependency.c.on_job_id == param("on_job_id")
    )
    .values(met=1),
    unique_rows=True,
)
_DECREMENT_UNMET = Statement(
    update(job).where(job.c.job_id == param("dependent_id")).values(unmet=job.c.unmet - 1)
)
_MARK_ALL_MET = Statement(
    update(dependency)
    .where(in_list(dependency.c.job_id, "job_ids"), dependency.c.met == UNMET)
    .values(met=1)
)
_FIND_UNMET = Statement(
    select(dependency.c.job_id)
    .where(dependency.c.met == UNMET)
    .with_hint(dependency, "INDEXED BY dependency_unmet", "sqlite")
    .limit(1)
)

ACCEPTED_STATES: Final[Mapping[str, frozenset[JobState]]] = {
    "ok": frozenset({JobState.SUCCEEDED}),
    "any": frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    "failure": frozenset({JobState.FAILED}),
}


def accepts(when: str, state: JobState) -> bool:
    """Return whether this final state meets the dependency."""
    return state in ACCEPTED_STATES[when]


def add(tx: Transaction, rows: Sequence[tuple[int, int, str, bool]]) -> None:
    """Insert rows of (dependent job, job it waits for, accept, already met)."""
    _INSERT.run_many(
        tx,
        [
            {"job_id": dependent_id, "on_job_id": on_job_id, "accept": accept, "met": int(met)}
            for dependent_id, on_job_id, accept, met in rows
        ],
    )


def resolve_ended(
    tx: Transaction, ended: Mapping[int, JobState]
) -> tuple[list[int], dict[int, int]]:
    """Resolve the dependencies on jobs that have ended.

    Return the dependents with one unmet dependency less, and those that can never run with the
    job they waited for.
    """
    met: list[dict[str, object]] = []
    impossible: dict[int, int] = {}
    for dependent_id, on_job_id, accept in _FIND_DEPENDENTS.run(tx, job_ids=list(ended)):
        if accepts(accept, ended[on_job_id]):
            met.append({"dependent_id": dependent_id, "on_job_id": on_job_id})
        else:
            impossible[dependent_id] = on_job_id
    _SET_MET.run_many(tx, met)
    _DECREMENT_UNMET.run_many(tx, met)
    return [int(str(row["dependent_id"])) for row in met], impossible


def mark_all_met(tx: Transaction, job_ids: Sequence[int]) -> None:
    """Close all dependencies of jobs that have ended."""
    _MARK_ALL_MET.run(tx, job_ids=list(job_ids))


def has_unmet(tx: Transaction) -> bool:
    """Return whether any job waits for another. A count would take longer the more there are."""
    return bool(_FIND_UNMET.run(tx))
