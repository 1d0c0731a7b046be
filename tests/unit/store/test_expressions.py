"""SQL text of the expressions, as both databases get it."""

import pytest
from sqlalchemy import Executable, select
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from mythjobs.store import tables as t
from mythjobs.store.expressions import JsonItem, in_list, json_rows, literal, param

POSTGRES = PGDialect_psycopg(paramstyle="format")  # type: ignore[no-untyped-call]
SQLITE = SQLiteDialect_pysqlite(paramstyle="qmark")


def where_of(query: Executable, dialect: object) -> str:
    """Return what follows WHERE (else FROM), with single spaces."""
    text = " ".join(str(query.compile(dialect=dialect)).split())  # type: ignore[attr-defined]
    return text.partition(" WHERE " if " WHERE " in text else " FROM ")[2]


def test_a_list_is_one_parameter() -> None:
    query = select(t.job.c.job_id).where(in_list(t.job.c.job_id, "ids"))
    assert where_of(query, SQLITE) == "job.job_id IN (SELECT value FROM json_each(?))"
    assert where_of(query, POSTGRES) == "job.job_id = ANY(CAST(%s AS BIGINT[]))"


def test_a_list_of_texts_is_one_parameter() -> None:
    query = select(t.job.c.job_id).where(in_list(t.job.c.subject, "subjects"))
    assert where_of(query, SQLITE) == "job.subject IN (SELECT value FROM json_each(?))"
    assert where_of(query, POSTGRES) == (
        "job.subject = ANY(ARRAY(SELECT json_array_elements_text(CAST(%s AS JSON))))"
    )


def test_rows_are_one_parameter() -> None:
    rows = json_rows("rows")
    query = select(rows.c.value).where(JsonItem(rows.c.value, 1, is_text=True) == param("name"))
    assert where_of(query, SQLITE) == "json_extract(rows.value, '$[1]') = ?"
    assert where_of(query, POSTGRES) == "CAST(rows.value ->> 1 AS TEXT) = %s::VARCHAR"


def test_a_literal_is_a_plain_word() -> None:
    assert str(literal("queued_2")) == "'queued_2'"
    with pytest.raises(ValueError, match="not a plain word"):
        literal("a' OR 'b")
