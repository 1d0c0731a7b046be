"""SQL expressions that SQLAlchemy lacks: named parameters, and lists or rows in one parameter."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
    BindParameter,
    ColumnElement,
    Text,
    bindparam,
    column,
    literal_column,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import Boolean, NullType, TypeEngine

# Prefix of the parameters whose values are passed to Statement.run(). All other parameters are
# constants in the expression, which SQLAlchemy names after their column, or "param_1".
PARAM_PREFIX: Final = "run_param_"


def param(name: str) -> BindParameter[Any]:
    """Return an SQL parameter whose value the caller of Statement.run() passes under this name."""
    return bindparam(PARAM_PREFIX + name)


def find_param_name(parameter: BindParameter[Any]) -> str | None:
    """Return the name that param() was given; None for a constant of the expression."""
    name = parameter.key
    return name.removeprefix(PARAM_PREFIX) if name.startswith(PARAM_PREFIX) else None


def literal(text: str) -> ColumnElement[str]:
    """Return an SQL string literal: for a parameter SQLite does not use a partial index.

    Raises ValueError if the text has other characters than letters, digits and underscores.
    """
    if not text.replace("_", "").isalnum():
        raise ValueError(f"not a plain word: {text!r}")
    return literal_column(f"'{text}'")


class ListType(NullType):
    """Type of an SQL parameter that is a list of integers."""

    cache_ok = True
    is_text = False

    def encoder(self, dialect: Dialect) -> Callable[[Sequence[Any]], str]:
        # Pass the list as one text. psycopg converts a Python list element by element, which takes
        # 50 µs per thousand elements, ten times as long as one text.
        if dialect.name == "sqlite" or self.is_text:
            return json.dumps
        return lambda numbers: "{" + ",".join(map(str, numbers)) + "}"


class TextListType(ListType):
    """Type of an SQL parameter that is a list of texts, or of rows."""

    cache_ok = True
    is_text = True


class InList(ColumnElement[bool]):
    """SQL condition that a column's value is in a list, which is passed as one parameter.

    So the SQL text is the same for lists of any length.
    """

    inherit_cache = False
    type = Boolean()

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        list_type = TextListType() if isinstance(column.type, Text) else ListType()
        self.list_param = bindparam(PARAM_PREFIX + name, type_=list_type)

    def self_group(self, against: object = None) -> InList:
        # Override: SQLAlchemy adds `= 1` to a condition for a dialect without booleans, and then
        # SQLite scans the whole table instead of looking up the listed rows.
        return self


@compiles(InList, "sqlite")
def _compile_in_list_sqlite(element: InList, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = compiler.process(element.list_param, **kw)
    return f"{column} IN (SELECT value FROM json_each({values}))"


@compiles(InList, "postgresql")
def _compile_in_list_postgresql(element: InList, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    values = compiler.process(element.list_param, **kw)
    if isinstance(element.list_param.type, TextListType):
        return f"{column} = ANY(ARRAY(SELECT json_array_elements_text(CAST({values} AS JSON))))"
    return f"{column} = ANY(CAST({values} AS BIGINT[]))"


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return InList(column, name)


class JsonRows(FunctionElement[Any]):
    """SQL table function that gives one row for each element of a JSON parameter.

    The parameter is a list of lists; column `value` has one inner list, as JSON.
    """

    inherit_cache = False
    name = "json_each"


@compiles(JsonRows, "sqlite")
def _compile_json_rows_sqlite(element: JsonRows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_each({compiler.process(element.clauses)})"


@compiles(JsonRows, "postgresql")
def _compile_json_rows_postgresql(element: JsonRows, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_array_elements(CAST({compiler.process(element.clauses)} AS JSON))"


class JsonItem(ColumnElement[Any]):
    """SQL expression that reads one column of the rows of a JsonRows, which are one JSON array.

    The value is an integer, or a text if `is_text` is set.
    """

    inherit_cache = False

    def __init__(self, row: ColumnElement[Any], index: int, *, is_text: bool = False) -> None:
        self.row = row
        self.index = index
        self.type: TypeEngine[Any] = Text() if is_text else BigInteger()


@compiles(JsonItem, "sqlite")
def _compile_json_item_sqlite(element: JsonItem, compiler: SQLCompiler, **kw: Any) -> str:
    return f"json_extract({compiler.process(element.row, **kw)}, '$[{element.index}]')"


@compiles(JsonItem, "postgresql")
def _compile_json_item_postgresql(element: JsonItem, compiler: SQLCompiler, **kw: Any) -> str:
    kind = "TEXT" if isinstance(element.type, Text) else "BIGINT"
    return f"CAST({compiler.process(element.row, **kw)} ->> {element.index} AS {kind})"


def json_rows(name: str) -> TableValuedAlias:
    """Return an SQL relation with the rows that the caller of run() passes as a list of lists."""
    parameter = bindparam(PARAM_PREFIX + name, type_=TextListType())
    return JsonRows(parameter).table_valued(column("value", JSON()), name=name)
