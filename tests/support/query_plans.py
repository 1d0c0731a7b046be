"""Query plans of both kinds of store: which tables and indexes a statement reads in full."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from mythjobs.store.transaction import Transaction

# A table or index, as in "job" or "job_open", read from one end to the other unless a LIMIT ends
# the statement before.
Scan = str


def find_scans(tx: Transaction, sql: str, values: Sequence[Any] | int) -> list[Scan]:
    """Return the full scans in a statement's plan, without running the statement.

    values: the parameters, or only their number; then the plan must be good for any values.
    """
    if tx.dialect.name == "sqlite":
        return _find_in_sqlite(tx, sql, values)
    return _find_in_postgresql(tx, sql, values)


def _find_in_sqlite(tx: Transaction, sql: str, values: Sequence[Any] | int) -> list[Scan]:
    bound = [None] * values if isinstance(values, int) else list(values)
    tx.cursor.execute(f"EXPLAIN QUERY PLAN {sql}", bound)
    found = []
    for *_, step in tx.cursor.fetchall():
        match = re.match(r"SCAN (\S+)(?:.* USING (?:COVERING )?INDEX (\S+))?", step)
        # Not the rows of a parameter, constants or the result of a subquery.
        if match is not None and "VIRTUAL TABLE" not in step and match[1][0].islower():
            found.append(match[2] or match[1])
    return found


def _find_in_postgresql(tx: Transaction, sql: str, values: Sequence[Any] | int) -> list[Scan]:
    cursor = tx.cursor
    if isinstance(values, int):
        numbers = iter(range(1, values + 1))
        numbered = re.sub("%s", lambda _: f"${next(numbers)}", sql)
        cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        cursor.execute(f"PREPARE explained AS {numbered}", prepare=False)
        arguments = f"({', '.join(['NULL'] * values)})" if values else ""
        cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE explained{arguments}", prepare=False)
        plan = cursor.fetchone()[0]
        cursor.execute("DEALLOCATE explained", prepare=False)
    else:
        cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", list(values))
        plan = cursor.fetchone()[0]
    return [each for node in _nodes(_decode(plan)[0]["Plan"]) for each in _scan_of(node)]


def _decode(plan: Any) -> Any:
    return json.loads(plan) if isinstance(plan, str) else plan


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for each in node.get("Plans", []):
        yield from _nodes(each)


def _scan_of(node: dict[str, Any]) -> list[Scan]:
    if node["Node Type"] == "Seq Scan":
        return [node["Relation Name"]]
    if "Index Name" in node and "Index Cond" not in node:
        return [node["Index Name"]]
    return []
