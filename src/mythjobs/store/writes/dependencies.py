"""Dependencies between jobs: inserted at the submit, resolved when the job waited for ends."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, insert, literal_column, select, update

from mythjobs.model.life import JobState
from mythjobs.store import tables as t
from mythjobs.store.expressions import JsonItem, in_list, json_rows, literal, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

dependency, job = t.dependency, t.job
# SQLite uses the partial index of unmet dependencies only if this value is a literal, not a
# parameter.
UNMET: Final[ColumnElement[int]] = literal_column("0")

# A serial dependency is among the jobs of a schedule, and met by any end of the job waited for. If
# that job is cancelled while it waits itself, its own serial dependencies pass on to its
# dependents, see pass_on(). So jobs of which each waits for the one before run one at a time, and
# in order.
SERIAL: Final = "serial"

_INSERT = Statement(insert(dependency), dependency.c.keys())
_FIND_DEPENDENTS = Statement(
    select(dependency.c.job_id, dependency.c.on_job_id, dependency.c.accept)
    .where(in_list(dependency.c.on_job_id, "job_ids"), dependency.c.met == UNMET)
    .limit(param("limit"))
)
# Find the ended jobs (rows of one id) that have an unmet dependent, by one index look-up for each
# ended job: a job may have very many dependents.
_ended = json_rows("ended")
_FIND_UNRESOLVED = Statement(
    select(
        select(dependency.c.on_job_id)
        .where(dependency.c.on_job_id == JsonItem(_ended.c.value, 0), dependency.c.met == UNMET)
        .limit(literal_column("1"))
        .correlate(_ended)
        .scalar_subquery()
    ).select_from(_ended)
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
_INCREMENT_UNMET = Statement(
    update(job).where(job.c.job_id == param("dependent_id")).values(unmet=job.c.unmet + 1)
)
_READ_UNMET = Statement(
    select(dependency.c.job_id, dependency.c.on_job_id, dependency.c.accept).where(
        in_list(dependency.c.job_id, "job_ids"), dependency.c.met == UNMET
    )
)
_READ_CONDITIONS = Statement(
    select(dependency.c.job_id, dependency.c.on_job_id, dependency.c.accept).where(
        in_list(dependency.c.job_id, "job_ids"), dependency.c.accept != literal(SERIAL)
    )
)
_FIND_SERIAL_DEPENDENTS = Statement(
    select(dependency.c.job_id)
    .where(
        in_list(dependency.c.on_job_id, "job_ids"),
        dependency.c.met == UNMET,
        dependency.c.accept == literal(SERIAL),
    )
    .distinct()
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
    SERIAL: frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
}


def accepts(when: str, state: JobState) -> bool:
    """Return whether a job's final state meets a dependency on it.

    when: ok, any, failure or serial.
    """
    return state in ACCEPTED_STATES[when]


def add(tx: Transaction, rows: Sequence[tuple[int, int, str, bool]]) -> None:
    """Insert dependencies: rows of (dependent job, job it waits for, accept, already met)."""
    _INSERT.run_many(
        tx,
        [
            {"job_id": dependent_id, "on_job_id": on_job_id, "accept": accept, "met": int(met)}
            for dependent_id, on_job_id, accept, met in rows
        ],
    )


def read_conditions(tx: Transaction, job_ids: Sequence[int]) -> dict[int, list[tuple[int, str]]]:
    """Return the dependencies of jobs, met or not, as (job waited for, accept) by dependent job.

    Serial dependencies are left out, and so are jobs without dependencies.
    """
    found: dict[int, list[tuple[int, str]]] = {}
    for dependent_id, on_job_id, accept in _READ_CONDITIONS.run(tx, job_ids=list(job_ids)):
        found.setdefault(dependent_id, []).append((on_job_id, accept))
    return found


class Resolved(NamedTuple):
    """Result of resolving dependencies on ended jobs.

    found: number of dependencies that were resolved.
    freed: ids of dependent jobs that have one unmet dependency less.
    never: dependent jobs that can never run, each with the id of the ended job that prevents it.
    """

    found: int
    freed: list[int]
    never: dict[int, int]


def resolve_ended(tx: Transaction, ended: Mapping[int, JobState], *, limit: int) -> Resolved:
    """Resolve up to `limit` dependencies on jobs that have ended.

    The caller must cancel the dependent jobs that can never run.
    """
    met: list[dict[str, object]] = []
    never: dict[int, int] = {}
    rows = _FIND_DEPENDENTS.run(tx, job_ids=list(ended), limit=limit)
    for dependent_id, on_job_id, accept in rows:
        if accepts(accept, ended[on_job_id]):
            met.append({"dependent_id": dependent_id, "on_job_id": on_job_id})
        else:
            never[dependent_id] = on_job_id
    _SET_MET.run_many(tx, met)
    _DECREMENT_UNMET.run_many(tx, met)
    return Resolved(len(rows), [int(str(row["dependent_id"])) for row in met], never)


def pass_on(tx: Transaction, ended: Collection[int]) -> None:
    """Pass the unmet serial dependencies of ended jobs on to the jobs that wait for those serially.

    Call it before resolve_ended() and mark_all_met(), for all jobs that ended at once.
    """
    awaited = _read_serial(tx, ended)
    if not awaited:
        return
    # A job has a higher id than the jobs it waits for, so theirs are complete before its own.
    live: dict[int, frozenset[int]] = {}
    for job_id in sorted(awaited):
        live[job_id] = _replace_ended(awaited[job_id], ended, live)
    found = _FIND_SERIAL_DEPENDENTS.run(tx, job_ids=sorted(live))
    dependents = {row[0] for row in found}.difference(ended)
    rows: list[tuple[int, int, str, bool]] = []
    known: dict[int, set[int]] = {}
    for dependent_id, on_job_id, _ in _READ_UNMET.run(tx, job_ids=sorted(dependents)):
        known.setdefault(dependent_id, set()).add(on_job_id)
    for dependent_id, on_job_ids in _read_serial(tx, dependents).items():
        wanted = _replace_ended(on_job_ids, ended, live)
        new = sorted(wanted - known[dependent_id])
        rows += [(dependent_id, each, SERIAL, False) for each in new]
    add(tx, rows)
    _INCREMENT_UNMET.run_many(tx, [{"dependent_id": row[0]} for row in rows])


def find_last(tx: Transaction, job_ids: Sequence[int]) -> list[int]:
    """Return those of the given open jobs for which no other of them waits serially.

    Another job that waits serially for these waits for all of them.
    """
    awaited = _read_serial(tx, job_ids).values()
    return sorted(set(job_ids).difference(*awaited))


def _read_serial(tx: Transaction, job_ids: Collection[int]) -> dict[int, list[int]]:
    """Return the jobs for which each of the given jobs waits serially, if there are any."""
    found: dict[int, list[int]] = {}
    for job_id, on_job_id, accept in _READ_UNMET.run(tx, job_ids=sorted(job_ids)):
        if accept == SERIAL:
            found.setdefault(job_id, []).append(on_job_id)
    return found


def _replace_ended(
    on_job_ids: Iterable[int], ended: Collection[int], live: Mapping[int, frozenset[int]]
) -> frozenset[int]:
    """Return jobs waited for, with those that have ended replaced by what these waited for."""
    found: frozenset[int] = frozenset()
    for each in on_job_ids:
        more = live.get(each, frozenset()) if each in ended else frozenset((each,))
        found = found | more if found else more  # a chain shares one set
    return found


def find_unresolved(tx: Transaction, job_ids: Sequence[int]) -> list[int]:
    """Return the ids among `job_ids` of jobs for which another job still waits."""
    rows = _FIND_UNRESOLVED.run(tx, ended=[(each,) for each in job_ids])
    return [row[0] for row in rows if row[0] is not None]


def mark_all_met(tx: Transaction, job_ids: Sequence[int]) -> None:
    """Mark all dependencies of jobs that have ended as met, because they no longer matter."""
    _MARK_ALL_MET.run(tx, job_ids=list(job_ids))


def has_unmet(tx: Transaction) -> bool:
    """Return whether any job waits for another job. Unlike a count, this takes constant time."""
    return bool(_FIND_UNMET.run(tx))
