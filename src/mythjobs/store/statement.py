"""SQL statements: SQLAlchemy Core expressions, compiled once and run on the driver's cursor."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

from sqlalchemy import Executable, Insert
from sqlalchemy.engine import Dialect
from sqlalchemy.sql import Select

from mythjobs.store.expressions import PARAM_PREFIX, ListType
from mythjobs.store.multi_row import to_multi_row
from mythjobs.store.transaction import Transaction

Row = tuple[Any, ...]
Record = dict[str, Any]


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
            name: name.removeprefix(PARAM_PREFIX)
            if name in columns or name.startswith(PARAM_PREFIX)
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
            name.removeprefix(PARAM_PREFIX): bind.type.encoder(dialect)
            for name, bind in compiled.binds.items()
            if isinstance(bind.type, ListType)
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
            expression, self._key = to_multi_row(self._expression, self._columns)
            self._multi_row = _Compiled(expression, (), dialect)
        return self._multi_row

    def list_texts(self, dialect: Dialect) -> list[tuple[str, int]]:
        """Return the SQL that run() and run_many() execute, each with its number of parameters."""
        compiled = [self._compile(dialect)]
        if dialect.name == "postgresql" and self._unique_rows:
            compiled.append(self._compile_multi_row(dialect))
        return [(each.sql, len(each.param_names)) for each in compiled]


def fetch_records(tx: Transaction, query: Select[Any]) -> list[Record]:
    """Run a query and return its rows as dicts by column name.

    The query is compiled on each call: use this only for users' queries (lists and pages).
    """
    compiled = query.compile(dialect=tx.dialect, compile_kwargs={"render_postcompile": True})
    names = compiled.positiontup or []
    tx.cursor.execute(str(compiled), tuple(compiled.params[name] for name in names))
    keys = query.selected_columns.keys()
    return [dict(zip(keys, row, strict=True)) for row in tx.cursor.fetchall()]
