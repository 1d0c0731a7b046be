"""Runs a Core query as it comes, for lists and pages: nothing hot."""

from __future__ import annotations

from typing import Any

from sqlalchemy.sql import Select

from mythjobs.store.statement import Transaction

Record = dict[str, Any]


def fetch(tx: Transaction, query: Select[Any]) -> list[Record]:
    """The rows by column name."""
    compiled = query.compile(dialect=tx.dialect, compile_kwargs={"render_postcompile": True})
    names = compiled.positiontup or []
    tx.cursor.execute(str(compiled), tuple(compiled.params[name] for name in names))
    keys = query.selected_columns.keys()
    return [dict(zip(keys, row, strict=True)) for row in tx.cursor.fetchall()]
