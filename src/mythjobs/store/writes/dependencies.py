"""Rows that say which job waits for which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy import ColumnElement, insert, literal_column, select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.statement import Statement, in_list, param
from mythjobs.store.transaction import Transaction

dependency, job = t.dependency, t.job
# As a literal, for SQLite to see that the index of open ones holds them all.
UNMET: Final[ColumnElement[int]] = literal_column("0")

_ADD = Statement(insert(dependency), ("job_id", "on_job_id", "accept", "met"))
_OPEN_ON = Statement(
    select(dependency.c.job_id, dependency.c.on_job_id, dependency.c.accept).where(
        in_list(dependency.c.on_job_id, "job_ids"), dependency.c.met == UNMET
    )
)
_MEET = Statement(
    update(dependency)
    .where(dependency.c.job_id == param("waiting"), dependency.c.on_job_id == param("on"))
    .values(met=1),
    unique_rows=True,
)
_FEWER = Statement(
    update(job).where(job.c.job_id == param("waiting")).values(unmet=job.c.unmet - 1)
)
_CLOSE = Statement(
    update(dependency)
    .where(in_list(dependency.c.job_id, "job_ids"), dependency.c.met == UNMET)
    .values(met=1)
)
_ANY_OPEN = Statement(select(dependency.c.job_id).where(dependency.c.met == UNMET).limit(1))

ACCEPTED_STATES: Final[Mapping[str, frozenset[JobState]]] = {
    "ok": frozenset({JobState.SUCCEEDED}),
    "any": frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    "failure": frozenset({JobState.FAILED}),
}


def accepts(when: str, state: JobState) -> bool:
    """Whether a final state is what the dependency waits for."""
    return state in ACCEPTED_STATES[when]


def add(tx: Transaction, rows: Sequence[tuple[int, int, str, bool]]) -> None:
    """Rows of (waiting job, job it waits for, accept, met already)."""
    _ADD.run_many(
        tx,
        [
            {"job_id": waiting, "on_job_id": on, "accept": accept, "met": int(met)}
            for waiting, on, accept, met in rows
        ],
    )


def resolve_ended(
    tx: Transaction, ended: Mapping[int, JobState]
) -> tuple[list[int], dict[int, int]]:
    """What the ends of these jobs mean for those that wait for them.

    Answers the jobs that wait for one less now, and those that wait in vain (for which job).
    """
    met: list[dict[str, object]] = []
    vain: dict[int, int] = {}
    for waiting, on, accept in _OPEN_ON.run(tx, job_ids=list(ended)):
        if accepts(accept, ended[on]):
            met.append({"waiting": waiting, "on": on})
        else:
            vain[waiting] = on
    _MEET.run_many(tx, met)
    _FEWER.run_many(tx, met)
    return [int(str(row["waiting"])) for row in met], vain


def close_all(tx: Transaction, job_ids: Sequence[int]) -> None:
    """These jobs are over: whatever they still waited for, they wait no more."""
    _CLOSE.run(tx, job_ids=list(job_ids))


def has_unmet(tx: Transaction) -> bool:
    """Whether any job waits for another. To count them would take longer the more there are."""
    return bool(_ANY_OPEN.run(tx))
