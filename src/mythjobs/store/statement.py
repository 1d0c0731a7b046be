"""SQLAlchemy Core expressions compiled once per dialect and run on the driver's cursor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

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
    literal_column,
    select,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import Select, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import Boolean, NullType, TypeEngine

from mythjobs.store.transaction import Transaction

_PREFIX: Final = "given_"
_ROWS: Final = "given_rows"

Row = tuple[Any, ...]
Record = dict[str, Any]


def _name_given(parameter: BindParameter[Any]) -> str | None:
    name = parameter.key
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None


def param(name: str) -> BindParameter[Any]:
    """A value that the caller of run() gives under this name."""
    return bindparam(_PREFIX + name)


def literal(text: str) -> ColumnElement[str]:
    """A literal. SQLite uses a partial index only where it sees the literal itself."""
    if not text.replace("_", "").isalnum():
        raise ValueError(f"not a word: {text!r}")
    return literal_column(f"'{text}'")


class _List(NullType):
    """Marks a parameter that is a whole list of numbers."""

    cache_ok = True


# A list as the one text that each kind of store takes. The driver of PostgreSQL could adapt a
# Python list, number by number: 50 µs for each thousand, this takes a tenth.
_LISTS: Final[Mapping[str, Callable[[Sequence[int]], str]]] = {
    "sqlite": json.dumps,
    "postgresql": lambda numbers: "{" + ",".join(map(str, numbers)) + "}",
}


class InList(ColumnElement[bool]):
    """`column` is one of the numbers given under a name; one parameter, so the text never
    changes."""

    inherit_cache = False
    type = Boolean()

    def __init__(self, column: ColumnElement[Any], name: str) -> None:
        self.column = column
        self.given = bindparam(_PREFIX + name, type_=_List())

    def self_group(self, against: object = None) -> InList:
        # Core would write `= 1` behind it for a dialect without booleans, and SQLite would
        # then read the whole table instead of the rows that are named.
        return self


@compiles(InList, "sqlite")
def _one_of_sqlite(element: InList, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    return f"{column} IN (SELECT value FROM json_each({compiler.process(element.given, **kw)}))"


@compiles(InList, "postgresql")
def _one_of_postgresql(element: InList, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    return f"{column} = ANY(CAST({compiler.process(element.given, **kw)} AS BIGINT[]))"


def in_list(column: ColumnElement[Any], name: str) -> ColumnElement[bool]:
    return InList(column, name)


class _Compiled:
    """The text for one dialect, and how to make the driver's parameters from ours."""

    __slots__ = ("_defaults", "_lists", "_many", "_names", "_write_list", "sql")

    def __init__(self, expression: Executable, columns: Sequence[str], dialect: Dialect) -> None:
        kwargs = {"column_keys": list(columns)} if columns else {}
        compiled = expression.compile(dialect=dialect, **kwargs)  # type: ignore[attr-defined]
        self.sql: str = str(compiled)
        order: list[str] = compiled.positiontup or []
        self._names = [each.removeprefix(_PREFIX) for each in order]
        self._defaults = {
            name: value
            for name, value in compiled.params.items()
            if name not in columns and not name.startswith(_PREFIX)
        }
        self._lists = {
            name.removeprefix(_PREFIX)
            for name, bind in compiled.binds.items()
            if isinstance(bind.type, _List)
        }
        self._write_list: Callable[..., str] = _LISTS[dialect.name]
        self._many: Callable[[Mapping[str, object]], Row] | None = None
        if not self._defaults and len(self._names) > 1:
            self._many = itemgetter(*self._names)

    @property
    def parameters(self) -> int:
        return len(self._names)

    def one(self, values: Mapping[str, object]) -> Row:
        if self._lists:
            values = {
                name: self._write_list(value) if name in self._lists else value
                for name, value in values.items()
            }
        if self._defaults:
            values = {**self._defaults, **values}
        return tuple([values[name] for name in self._names])

    def many(self, rows: Sequence[Mapping[str, object]]) -> list[Row]:
        if self._many is not None:
            return list(map(self._many, rows))
        return [self.one(row) for row in rows]


class Statement:
    """One Core expression. Hot paths run these; pages and lists use Core as it comes.

    Core's own execute() costs 150 to 200 µs a statement in Python; this costs a few.
    `columns` names the columns of an INSERT whose values come from run().
    """

    __slots__ = ("_at_once", "_columns", "_compiled", "_distinct", "_expression")

    def __init__(
        self, expression: Executable, columns: Sequence[str] = (), *, distinct: bool = False
    ) -> None:
        """`distinct`: run_many() is never given two rows of values for one row of the table, so
        PostgreSQL can take them all at once."""
        self._expression = expression
        self._columns = columns
        self._distinct = distinct or isinstance(expression, Insert)
        self._compiled: dict[str, _Compiled] = {}
        self._at_once: _Compiled | None = None

    def _for(self, dialect: Dialect) -> _Compiled:
        found = self._compiled.get(dialect.name)
        if found is None:
            found = _Compiled(self._expression, self._columns, dialect)
            self._compiled[dialect.name] = found
        return found

    def run(self, tx: Transaction, **values: object) -> list[Row]:
        """Executes it and returns all rows (none for a statement without any)."""
        compiled = self._for(tx.dialect)
        cursor = tx.cursor
        cursor.execute(compiled.sql, compiled.one(values))
        return cursor.fetchall() if cursor.description is not None else []

    def run_many(self, tx: Transaction, rows: Sequence[Mapping[str, object]]) -> int:
        """Executes it once for each row of values; answers how many rows it touched."""
        if not rows:
            return 0
        cursor = tx.cursor
        if tx.dialect.name == "postgresql" and (len(rows) == 1 or self._distinct):
            self._run_at_once(tx, rows)
        else:
            compiled = self._for(tx.dialect)
            cursor.executemany(compiled.sql, compiled.many(rows))
        return int(cursor.rowcount)

    def _run_at_once(self, tx: Transaction, rows: Sequence[Mapping[str, object]]) -> None:
        # One round trip and one parameter, however many rows there are.
        if len(rows) == 1:
            compiled = self._for(tx.dialect)
            tx.cursor.execute(compiled.sql, compiled.one(rows[0]))
            return
        if self._at_once is None:
            whole = multi_row_statement(self._expression, self._columns, _name_given, _ROWS)
            self._at_once = _Compiled(whole, (), tx.dialect)
        values = {"rows": json.dumps(rows, separators=(",", ":"))}
        tx.cursor.execute(self._at_once.sql, self._at_once.one(values))

    def query_plan(self, tx: Transaction) -> list[str]:
        """How SQLite would find its rows, step by step (EXPLAIN QUERY PLAN); nothing is done."""
        compiled = self._for(tx.dialect)
        unknown = [None] * compiled.parameters
        tx.cursor.execute(f"EXPLAIN QUERY PLAN {compiled.sql}", unknown)
        return [str(step[3]) for step in tx.cursor.fetchall()]


Given = Callable[[BindParameter[Any]], str | None]


def multi_row_statement(
    expression: Executable, columns: Sequence[str], given: Given, rows: str
) -> Executable:
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


def fetch_records(tx: Transaction, query: Select[Any]) -> list[Record]:
    """The rows by column name."""
    compiled = query.compile(dialect=tx.dialect, compile_kwargs={"render_postcompile": True})
    names = compiled.positiontup or []
    tx.cursor.execute(str(compiled), tuple(compiled.params[name] for name in names))
    keys = query.selected_columns.keys()
    return [dict(zip(keys, row, strict=True)) for row in tx.cursor.fetchall()]
