"""On which line of a TOML text a key stands; tomllib does not say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, NamedTuple

_HEADER: Final = re.compile(r"\s*\[{1,2}\s*([A-Za-z0-9_.-]+)\s*\]")
_KEY: Final = re.compile(r"""\s*((?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+)(?:\.[A-Za-z0-9_-]+)*)\s*=""")
_OF_PARAMETER: Final = re.compile(r"parameters(?:\[(\d+)\]|\.([^.]+))\.([^.]+)")
_LONG_QUOTES: Final = re.compile("\"\"\"|'''")


class _Entry(NamedTuple):
    """A header or a key: `path` is dotted, `block` counts the [[tables]] of one name from 1."""

    line: int
    path: str
    block: int
    text: str


def find_line(text: str, key: str) -> int | None:
    """The line of a key as definition errors name it: `limits.wall`, `argv[2]`,
    `parameters[1].name`, `parameters.source.type`.

    Where the key is missing, the line of the table it belongs into; None where that is the
    whole file.
    """
    places = list(_scan_entries(text))
    path, block = re.sub(r"\[\d+\]", "", key), 0
    if found := _OF_PARAMETER.fullmatch(key):
        path = f"parameters.{found[3]}"
        block = int(found[1]) if found[1] else _find_parameter_block(places, found[2])
    while path:
        for place in places:
            if place.path == path and block in (0, place.block):
                return place.line
        path, dot, _ = path.rpartition(".")
        if not dot:
            return None
    return None


def _find_parameter_block(places: list[_Entry], name: str) -> int:
    named = re.compile(rf"""=\s*["']{re.escape(name)}["']""")
    for place in places:
        if place.path == "parameters.name" and named.search(place.text):
            return place.block
    return 0


def _scan_entries(text: str) -> Iterator[_Entry]:
    table, blocks, closing = "", dict[str, int](), ""
    for line, words in enumerate(text.splitlines(), start=1):
        if closing:  # inside a text of several lines nothing is a key
            closing = "" if closing in words else closing
            continue
        if header := _HEADER.match(words):
            table = header[1]
            blocks[table] = blocks.get(table, 0) + 1
            yield _Entry(line, table, blocks[table], words)
        elif key := _KEY.match(words):
            path = re.sub("[\"']", "", key[1])
            whole = f"{table}.{path}" if table else path
            yield _Entry(line, whole, blocks.get(table, 0), words)
        quotes: list[str] = _LONG_QUOTES.findall(words)
        closing = quotes[-1] if len(quotes) % 2 else ""
