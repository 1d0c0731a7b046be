"""Many rows of values in one statement, for a store that is a round trip away."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
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

Given = Callable[[BindParameter[Any]], str | None]


def at_once(expression: Executable, columns: Sequence[str], given: Given, rows: str) -> Executable:
    """The same for all rows, which come as one JSON text under the name `rows`.

    `given` says under which name a parameter's value stands in a row, None for a constant. An
    UPDATE joins the rows with its table, so no two of them may touch the same row there.
    """
    if isinstance(expression, Insert):
        table = expression.table
        values = _values({name: table.c[name].type for name in columns}, rows)
        return expression.from_select(list(columns), select(*(values.c[name] for name in columns)))
    assert isinstance(expression, Update), "only inserts and updates have rows of values"
    types = _types(expression, given)
    values = _values(types, rows)

    def replace(element: Any, **_: Any) -> ColumnElement[Any] | None:
        name = given(element) if isinstance(element, BindParameter) else None
        return None if name is None else values.c[name]

    joined: Update = visitors.replacement_traverse(expression, {}, replace)  # type: ignore[assignment]
    return joined


def _values(types: dict[str, TypeEngine[Any]], rows: str) -> TableValuedAlias:
    text = cast(bindparam(rows, type_=Text()), JSON)
    columns = [column(name, type_) for name, type_ in types.items()]
    values = func.json_to_recordset(text).table_valued(*columns, name="v")
    return values.render_derived(with_types=True)


def _types(expression: Update, given: Given) -> dict[str, TypeEngine[Any]]:
    """What each value is compared with or becomes says its type."""
    found: dict[str, TypeEngine[Any]] = {}

    def take(part: Any, of: TypeEngine[Any]) -> None:
        for element in visitors.iterate(part):
            if isinstance(element, BindParameter) and (called := given(element)) is not None:
                found[called] = of if isinstance(element.type, NullType) else element.type

    for target, value in (expression._values or {}).items():
        name = target if isinstance(target, str) else target.key
        if isinstance(value, ColumnElement):
            take(value, expression.table.c[name].type)
    for condition in expression._where_criteria:
        take(condition, Text())
    return found
