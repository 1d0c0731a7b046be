"""SQL statements: SQLAlchemy Core expressions, compiled once and run on the driver's cursor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import (
    JSON,
    BigInteger,
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
    literal_column,
    select,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import Select, visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.selectable import TableValuedAlias
from sqlalchemy.types import Boolean, NullType, TypeEngine

from mythjobs.store.transaction import Transaction

# Prefix of the parameters whose values are passed to run(). All other parameters are constants
# in the expression, which SQLAlchemy names after their column, or "param_1".
_PREFIX: Final = "run_param_"
_ROWS: Final = "run_param_rows"
_KEYS: Final = "keys"

Row = tuple[Any, ...]
Record = dict[str, Any]


def param(name: str) -> BindParameter[Any]:
    """Return an SQL parameter whose value the caller of Statement.run() passes under this name."""
    return bindparam(_PREFIX + name)


def _param_name(parameter: BindParameter[Any]) -> str | None:
    name = parameter.key
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None


def literal(text: str) -> ColumnElement[str]:
    """Return an SQL string literal: for a parameter SQLite does not use a partial index.

    Raises ValueError if the text has other characters than letters, digits and underscores.
    """
    if not text.replace("_", "").isalnum():
        raise ValueError(f"not a plain word: {text!r}")
    return literal_column(f"'{text}'")


class _ListType(NullType):
    """Type of an SQL parameter that is a list of integers."""

    cache_ok = True
    is_text = False

    def encoder(self, dialect: Dialect) -> Callable[[Sequence[Any]], str]:
        # Pass the list as one text. psycopg converts a Python list element by element, which takes
        # 50 µs per thousand elements, ten times as long as one text.
        if dialect.name == "sqlite" or self.is_text:
            return json.dumps
        return lambda numbers: "{" + ",".join(map(str, numbers)) + "}"


class _TextListType(_ListType):
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
        list_type = _TextListType() if isinstance(column.type, Text) else _ListType()
        self.list_param = bindparam(_PREFIX + name, type_=list_type)

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
    if isinstance(element.list_param.type, _TextListType):
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
    parameter = bindparam(_PREFIX + name, type_=_TextListType())
    return JsonRows(parameter).table_valued(column("value", JSON()), name=name)


class _Compiled:
    """A statement's SQL text for one dialect, and the conversion of values to its parameters."""

    __slots__ = (
        "_constants",
        "_encoders",
        "_pick",
        "param_names",
        "sql",
        "value_names",
    )

    def __init__(self, expression: Executable, columns: Sequence[str], dialect: Dialect) -> None:
        kwargs = {"column_keys": list(columns)} if columns else {}
        compiled = expression.compile(dialect=dialect, **kwargs)  # type: ignore[attr-defined]
        self.sql: str = str(compiled)
        # Prefix the names of constants with "=": SQLAlchemy names a constant after its column, and
        # a caller may pass a value of the same name.
        keys = {
            name: name.removeprefix(_PREFIX)
            if name in columns or name.startswith(_PREFIX)
            else f"={name}"
            for name in compiled.params
        }
        self.param_names = [keys[name] for name in compiled.positiontup or ()]
        self._constants = {
            keys[name]: value
            for name, value in compiled.params.items()
            if keys[name].startswith("=")
        }
        self.value_names = {name for name in self.param_names if name not in self._constants}
        self._encoders = {
            name.removeprefix(_PREFIX): bind.type.encoder(dialect)
            for name, bind in compiled.binds.items()
            if isinstance(bind.type, _ListType)
        }
        self._pick: Callable[[Mapping[str, object]], Row] | None = None
        if not self._constants and len(self.param_names) > 1:
            self._pick = itemgetter(*self.param_names)

    def bind(self, values: Mapping[str, Any]) -> Row:
        if self._encoders:
            values = dict(values)
            for name, encode in self._encoders.items():
                values[name] = encode(values[name])
        if self._constants:
            values = {**self._constants, **values}
        return tuple([values[name] for name in self.param_names])

    def bind_many(self, rows: Sequence[Mapping[str, object]]) -> list[Row]:
        if self._pick is not None:
            return list(map(self._pick, rows))
        return [self.bind(row) for row in rows]


class Statement:
    """One SQLAlchemy Core expression, compiled once per dialect; for statements of every turn.

    Core's own execute() takes 150 to 200 µs of Python per statement, this class a few µs. Queries
    of users, for lists and pages, use fetch_records() instead.
    """

    __slots__ = ("_columns", "_compiled", "_expression", "_key", "_multi_row", "_unique_rows")

    def __init__(
        self, expression: Executable, columns: Sequence[str] = (), *, unique_rows: bool = False
    ) -> None:
        """Prepare a statement from a Core expression.

        columns: the columns of an INSERT whose values are passed to run().
        unique_rows: true if run_many() never gets two rows of values for the same table row; then
        one PostgreSQL statement takes all rows.
        """
        self._expression = expression
        self._columns = columns
        self._unique_rows = unique_rows or isinstance(expression, Insert)
        self._compiled: dict[str, _Compiled] = {}
        self._multi_row: _Compiled | None = None
        self._key: str | None = None  # name of the value for the multi-row statement's key column

    def _compile(self, dialect: Dialect) -> _Compiled:
        compiled = self._compiled.get(dialect.name)
        if compiled is None:
            compiled = _Compiled(self._expression, self._columns, dialect)
            self._compiled[dialect.name] = compiled
        return compiled

    def run(self, tx: Transaction, **values: object) -> list[Row]:
        """Execute the statement once; return all rows of its result, if it has a result."""
        compiled = self._compile(tx.dialect)
        cursor = tx.cursor
        cursor.execute(compiled.sql, compiled.bind(values))
        return cursor.fetchall() if cursor.description is not None else []

    def run_many(self, tx: Transaction, rows: Sequence[Mapping[str, object]]) -> int:
        """Execute the statement for each row of values; return the number of affected rows.

        Values that the statement does not use are ignored.
        """
        if not rows:
            return 0
        cursor = tx.cursor
        if tx.dialect.name == "postgresql" and (len(rows) == 1 or self._unique_rows):
            self._run_multi_row(tx, rows)
        else:
            compiled = self._compile(tx.dialect)
            cursor.executemany(compiled.sql, compiled.bind_many(rows))
        return int(cursor.rowcount)

    def _run_multi_row(self, tx: Transaction, rows: Sequence[Mapping[str, object]]) -> None:
        # Pass all rows as one JSON array to one statement, which takes one round trip; a single
        # row needs no array. psycopg's executemany in pipeline mode takes 1.2 times as long for
        # one row, and more than twice as long for 1,000.
        if len(rows) == 1:
            compiled = self._compile(tx.dialect)
            tx.cursor.execute(compiled.sql, compiled.bind(rows[0]))
            return
        multi_row = self._compile_multi_row(tx.dialect)
        names = self._compile(tx.dialect).value_names
        if len(rows[0]) > len(names):
            rows = [{name: row[name] for name in names} for row in rows]
        values: dict[str, object] = {"rows": json.dumps(rows, separators=(",", ":"))}
        if self._key is not None:
            values["keys"] = [row[self._key] for row in rows]
        tx.cursor.execute(multi_row.sql, multi_row.bind(values))

    def _compile_multi_row(self, dialect: Dialect) -> _Compiled:
        if self._multi_row is None:
            expression, self._key = _to_multi_row(self._expression, self._columns)
            self._multi_row = _Compiled(expression, (), dialect)
        return self._multi_row

    def list_texts(self, dialect: Dialect) -> list[tuple[str, int]]:
        """Return the SQL that run() and run_many() execute, each with its number of parameters."""
        compiled = [self._compile(dialect)]
        if dialect.name == "postgresql" and self._unique_rows:
            compiled.append(self._compile_multi_row(dialect))
        return [(each.sql, len(each.param_names)) for each in compiled]


def _to_multi_row(expression: Executable, columns: Sequence[str]) -> tuple[Executable, str | None]:
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
        name = _param_name(element) if isinstance(element, BindParameter) else None
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
                name = _param_name(condition.right)
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
            if isinstance(element, BindParameter) and (name := _param_name(element)) is not None:
                types[name] = default if isinstance(element.type, NullType) else element.type

    for target, value in (expression._values or {}).items():
        name = target if isinstance(target, str) else target.key
        if isinstance(value, ColumnElement):
            collect(value, expression.table.c[name].type)
    for condition in expression._where_criteria:
        collect(condition, Text())
    return types


def fetch_records(tx: Transaction, query: Select[Any]) -> list[Record]:
    """Run a query and return its rows as dicts by column name.

    The query is compiled on each call: use this only for users' queries (lists and pages).
    """
    compiled = query.compile(dialect=tx.dialect, compile_kwargs={"render_postcompile": True})
    names = compiled.positiontup or []
    tx.cursor.execute(str(compiled), tuple(compiled.params[name] for name in names))
    keys = query.selected_columns.keys()
    return [dict(zip(keys, row, strict=True)) for row in tx.cursor.fetchall()]
