"""One invariant of a committed store: a query for the rows that violate it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement
from sqlalchemy.sql import Select

from mythjobs.store.expressions import in_list
from mythjobs.store.statement import Statement
from mythjobs.store.transaction import Transaction


class Violation(NamedTuple):
    """A violated invariant. `job_id` is None if the violation concerns no single job."""

    invariant: str
    job_id: int | None
    sentence: str


class InvariantRule:
    """An invariant of the store, as a query for rows that violate it.

    violations: query for rows (job id, …) that must not exist. sentence: format of the message
    about such a row. by: column with a job id, by which the query can be restricted to some jobs;
    within: condition on the parameter `job_ids`, for queries where no single column suffices.
    """

    def __init__(
        self,
        invariant: str,
        sentence: str,
        violations: Select[Any],
        by: ColumnElement[int] | None = None,
        *,
        within: ColumnElement[bool] | None = None,
    ) -> None:
        self._invariant = invariant
        self._sentence = sentence
        self._find_all = Statement(violations)
        if by is not None:
            within = in_list(by, "job_ids")
        assert within is not None, "a rule needs `by` or `within`"
        self._find_some = Statement(violations.where(within))

    def check(self, tx: Transaction, jobs: Sequence[int] | None) -> list[Violation]:
        """Return the violations that concern the given jobs; with `jobs` None, all violations."""
        if jobs is None:
            rows = self._find_all.run(tx)
        else:
            rows = self._find_some.run(tx, job_ids=list(jobs))
        return [Violation(self._invariant, row[0], self._sentence.format(*row)) for row in rows]
