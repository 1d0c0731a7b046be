"""Statements for many rows, as PostgreSQL gets them."""

import pytest
from sqlalchemy import Executable, insert, update
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from mythjobs.store import tables as t
from mythjobs.store.expressions import param
from mythjobs.store.multi_row import to_multi_row

POSTGRES = PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]


def sql_of(expression: Executable) -> str:
    return " ".join(str(expression.compile(dialect=POSTGRES)).split())  # type: ignore[attr-defined]


def test_an_insert_reads_its_rows_from_json() -> None:
    expression, key = to_multi_row(insert(t.semaphore), ["name", "size"])
    assert key is None
    assert sql_of(expression) == (
        "INSERT INTO semaphore (name, size) SELECT anon_1.name, anon_1.size FROM "
        "json_to_recordset(CAST(%s::VARCHAR AS JSON)) AS anon_1(name TEXT, size INTEGER)"
    )


def test_an_update_joins_the_rows_and_finds_them_by_key() -> None:
    one = update(t.semaphore).where(t.semaphore.c.name == param("which")).values(size=param("n"))
    expression, key = to_multi_row(one, ())
    assert key == "which"
    assert sql_of(expression) == (
        "UPDATE semaphore SET size=anon_1.n FROM json_to_recordset(CAST(%s::VARCHAR AS JSON)) "
        "AS anon_1(n INTEGER, which TEXT) WHERE semaphore.name = anon_1.which "
        "AND semaphore.name = ANY(ARRAY(SELECT json_array_elements_text(CAST(%s AS JSON))))"
    )


def test_an_update_needs_a_condition_on_its_key() -> None:
    one = update(t.semaphore).where(t.semaphore.c.size == param("size")).values(size=1)
    with pytest.raises(AssertionError, match=r"semaphore needs a condition on semaphore\.name"):
        to_multi_row(one, ())
