"""Line numbers of keys in TOML text, which neither tomllib nor tomlkit reports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_HEADER: Final = re.compile(r"\s*\[{1,2}\s*([A-Za-z0-9_.-]+)\s*\]")
_KEY: Final = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\.[A-Za-z0-9_-]+)*)\s*=""")
_OF_PARAMETER: Final = re.compile(r"parameters(?:\[(\d+)\]|\.([^.]+))\.([^.]+)")
_LONG_QUOTES: Final = re.compile("\"\"\"|'''")


class _Entry(NamedTuple):
    """A table header or a key in TOML text. path: its dotted name. block: which of several
    [table] or [[table]] headers of one name it belongs to, from 1; 0 if to none."""

    line: int
    path: str
    block: int
    text: str


def find_line(text: str, key: str) -> int | None:
    """Return the line of a key in the notation of definition errors: `limits.wall`, `argv[2]`,
    `parameters[1].name`, `parameters.source.type`.

    For a missing key, return the line of its table, or None for the top level.
    """
    entries = list(_scan_entries(text))
    path, block = re.sub(r"\[\d+\]", "", key), 0
    if found := _OF_PARAMETER.fullmatch(key):
        path = f"parameters.{found[3]}"
        block = int(found[1]) if found[1] else _find_parameter_block(entries, found[2])
    while path:
        for entry in entries:
            if entry.path == path and block in (0, entry.block):
                return entry.line
        path, dot, _ = path.rpartition(".")
        if not dot:
            return None
    return None


def _find_parameter_block(entries: list[_Entry], name: str) -> int:
    named = re.compile(rf"""=\s*["']{re.escape(name)}["']""")
    for entry in entries:
        if entry.path == "parameters.name" and named.search(entry.text):
            return entry.block
    return 0


def _scan_entries(text: str) -> Iterator[_Entry]:
    table, blocks, closing = "", dict[str, int](), ""
    for line, content in enumerate(text.splitlines(), start=1):
        if closing:  # inside a multi-line string
            closing = "" if closing in content else closing
            continue
        if header := _HEADER.match(content):
            table = header[1]
            blocks[table] = blocks.get(table, 0) + 1
            yield _Entry(line, table, blocks[table], content)
        elif key := _KEY.match(content):
            path = re.sub("[\"']", "", key[1])
            whole = f"{table}.{path}" if table else path
            yield _Entry(line, whole, blocks.get(table, 0), content)
        quotes: list[str] = _LONG_QUOTES.findall(content)
        closing = quotes[-1] if len(quotes) % 2 else ""
