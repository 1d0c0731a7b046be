"""Statements for many rows: one INSERT or UPDATE of PostgreSQL that gets all rows as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BinaryExpression,
    BindParameter,
    ColumnElement,
    Executable,
    Insert,
    Text,
    Update,
    bindparam,
    cast,
    column,
    func,
    select,
)
from sqlalchemy.sql import visitors
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import NullType, TypeEngine

from mythjobs.store.expressions import PARAM_PREFIX, find_param_name, in_list

_ROWS: Final = f"{PARAM_PREFIX}rows"
_KEYS: Final = "keys"


def to_multi_row(expression: Executable, columns: Sequence[str]) -> tuple[Executable, str | None]:
    """Convert an INSERT or UPDATE into one for many rows, passed as one JSON text (`rows`).

    An UPDATE joins the rows with its table, so no two rows may affect the same table row. It also
    gets the values of its key column as a list (`keys`), without which a plan that PostgreSQL made
    while the table was small reads the whole table. Return the statement, and the name of the
    value for that key column (None for an INSERT).
    """
    if isinstance(expression, Insert):
        table = expression.table
        values = _json_rows({name: table.c[name].type for name in columns})
        inserted = select(*(values.c[name] for name in columns))
        return expression.from_select(list(columns), inserted), None
    assert isinstance(expression, Update), "only INSERT and UPDATE take rows of values"
    values = _json_rows(_find_param_types(expression))

    def replace(element: Any, **_: Any) -> ColumnElement[Any] | None:
        name = find_param_name(element) if isinstance(element, BindParameter) else None
        return None if name is None else values.c[name]

    key_column, key = _find_key(expression)
    joined: Update = visitors.replacement_traverse(expression, {}, replace)  # type: ignore[assignment]
    return joined.where(in_list(key_column, _KEYS)), key


def _find_key(expression: Update) -> tuple[ColumnElement[Any], str]:
    """Return the first column of an UPDATE's primary key, and the parameter compared with it."""
    first = next(iter(expression.table.primary_key))
    for condition in expression._where_criteria:
        if isinstance(condition, BinaryExpression) and condition.left is first:
            if isinstance(condition.right, BindParameter):
                name = find_param_name(condition.right)
                assert name is not None
                return first, name
    raise AssertionError(
        f"an UPDATE of many rows of {expression.table} needs a condition on {first}"
    )


def _json_rows(types: dict[str, TypeEngine[Any]]) -> TableValuedAlias:
    text = cast(bindparam(_ROWS, type_=Text()), JSON)
    columns = [column(name, type_) for name, type_ in types.items()]
    values = func.json_to_recordset(text).table_valued(*columns, name="v")
    return values.render_derived(with_types=True)


def _find_param_types(expression: Update) -> dict[str, TypeEngine[Any]]:
    """Return each parameter's SQL type: the type of its column in a condition or assignment."""
    types: dict[str, TypeEngine[Any]] = {}

    def collect(part: Any, default: TypeEngine[Any]) -> None:
        for element in visitors.iterate(part):
            if (
                isinstance(element, BindParameter)
                and (name := find_param_name(element)) is not None
            ):
                types[name] = default if isinstance(element.type, NullType) else element.type

    for target, value in (expression._values or {}).items():
        name = target if isinstance(target, str) else target.key
        if isinstance(value, ColumnElement):
            collect(value, expression.table.c[name].type)
    for condition in expression._where_criteria:
        collect(condition, Text())
    return types
