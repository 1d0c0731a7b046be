"""Statements: values bound by name, one row or many."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.open import Store
from mythjobs.store.statement import Statement
from mythjobs.store.writes import semaphores

SET_ONE = Statement(
    update(t.semaphore).where(t.semaphore.c.name == param("name")).values(size=1), unique_rows=True
)


@pytest.mark.parametrize("names", [["nas"], ["nas", "cpu"]])
def test_values_that_a_statement_does_not_use_are_ignored(store: Store, names: list[str]) -> None:
    with store.transaction() as tx:
        for name in names:
            semaphores.save(tx, name, 5)
        # `size` is also the column that the statement sets to a constant.
        rows = [{"name": name, "size": 7, "other": None} for name in names]
        assert SET_ONE.run_many(tx, rows) == len(names)
        assert semaphores.read_all(tx) == dict.fromkeys(names, 1)
        semaphores.save(tx, "nas", 5)
        SET_ONE.run(tx, name="nas", size=7)
        assert semaphores.read_all(tx)["nas"] == 1
