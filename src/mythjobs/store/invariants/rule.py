"""One rule that every committed state of a store must keep: a query for the rows that break it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement
from sqlalchemy.sql import Select

from mythjobs.store.statement import Statement, in_list
from mythjobs.store.transaction import Transaction


class Violation(NamedTuple):
    """What is not as promised. `job_id` is None where it concerns no single job."""

    invariant: str
    job_id: int | None
    sentence: str


class Rule:
    """`broken` yields rows of (job, …) that must not be there; `sentence` tells one, with the
    columns of its row by place. `by` is the column that narrows it to given jobs (`job_ids`),
    `within` a condition that does where no column can."""

    def __init__(
        self,
        invariant: str,
        sentence: str,
        broken: Select[Any],
        by: ColumnElement[int] | None = None,
        *,
        within: ColumnElement[bool] | None = None,
    ) -> None:
        self._invariant = invariant
        self._sentence = sentence
        self._whole = Statement(broken)
        if by is not None:
            within = in_list(by, "job_ids")
        assert within is not None, "a rule can be narrowed to given jobs"
        self._some = Statement(broken.where(within))

    def broken(self, tx: Transaction, jobs: Sequence[int] | None) -> list[Violation]:
        rows = self._whole.run(tx) if jobs is None else self._some.run(tx, job_ids=list(jobs))
        return [Violation(self._invariant, row[0], self._sentence.format(*row)) for row in rows]
