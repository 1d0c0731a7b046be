"""Records of ended attempts' kept output: its size and age, until the output is deleted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import delete, insert, select, update

from mythjobs.store import tables as t
from mythjobs.store.expressions import in_list, param
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction

kept_output, attempt = t.kept_output, t.attempt


class KeptOutput(NamedTuple):
    """Record of an attempt's kept output, which is on the machine until the master has a copy."""

    job_id: int
    n: int
    command_id: int
    bytes: int
    ended_ms: int


_INSERT = Statement(insert(kept_output), (*KeptOutput._fields, "data"))
_DELETE_OF_JOBS = Statement(
    delete(kept_output)
    .where(in_list(kept_output.c.job_id, "job_ids"))
    .returning(kept_output.c.command_id, kept_output.c.bytes)
)
_READ = Statement(
    select(*(kept_output.c[name] for name in KeptOutput._fields)).where(
        in_list(kept_output.c.job_id, "job_ids")
    )
)
_DELETE = Statement(
    delete(kept_output).where(
        kept_output.c.job_id == param("job_id"), kept_output.c.n == param("n")
    )
)
_READ_SIZES = Statement(
    select(attempt.c.job_id, attempt.c.n, attempt.c.output).where(
        in_list(attempt.c.job_id, "job_ids"), attempt.c.output.is_not(None)
    )
)
_SET_SIZES = Statement(
    update(attempt)
    .where(attempt.c.job_id == param("job_id"), attempt.c.n == param("n"))
    .values(output=param("output")),
    unique_rows=True,
)


def add(tx: Transaction, ended: Iterable[tuple[int, int, int, str, int, str]]) -> None:
    """Record the kept output of ended attempts.

    ended: (job id, attempt number, command id, sizes of the streams as JSON, end time in ms,
    column `data` or "").
    """
    rows = [
        (KeptOutput(job_id, n, command_id, _kept_bytes(output), ended_ms), data or None)
        for job_id, n, command_id, output, ended_ms, data in ended
        if output
    ]
    rows = [each for each in rows if each[0].bytes]
    if rows:
        _INSERT.run_many(tx, [{**kept._asdict(), "data": data} for kept, data in rows])
        for kept, _ in rows:
            tx.output_changes[kept.command_id] += kept.bytes


def _kept_bytes(output: str) -> int:
    return sum(int(head) + int(tail) for _, head, tail in json.loads(output))


def remove_of_jobs(tx: Transaction, job_ids: Sequence[int]) -> None:
    """Delete the records of the output of jobs that are being deleted."""
    for command_id, size in _DELETE_OF_JOBS.run(tx, job_ids=list(job_ids)):
        tx.output_changes[command_id] -= size


def remove(tx: Transaction, attempts: Sequence[tuple[int, int]]) -> int:
    """Record that the output of attempts (job id, attempt number) was deleted; return its bytes.

    Readers of such output then see that all bytes were dropped.
    """
    wanted = set(attempts)
    job_ids = sorted({job_id for job_id, _ in wanted})
    found = [KeptOutput(*row) for row in _READ.run(tx, job_ids=job_ids)]
    found = [each for each in found if (each.job_id, each.n) in wanted]
    _DELETE.run_many(tx, [{"job_id": each.job_id, "n": each.n} for each in found])
    for each in found:
        tx.output_changes[each.command_id] -= each.bytes
    sizes = [
        {
            "job_id": job_id,
            "n": n,
            "output": json.dumps([(size[0], 0, 0) for size in json.loads(text)]),
        }
        for job_id, n, text in _READ_SIZES.run(tx, job_ids=job_ids)
        if (job_id, n) in wanted and text
    ]
    _SET_SIZES.run_many(tx, sizes)
    return sum(each.bytes for each in found)
