"""Writer of TOML text for definitions and machine policies, to be read and edited by people.

Import this module only where it is needed: tomlkit takes 30 ms to import.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import tomlkit
from tomlkit.container import Container
from tomlkit.items import AbstractTable, Item, String, StringType, Trivia

C = TypeVar("C", Container, AbstractTable)

_MAX_LIST_WIDTH: Final = 80
# Finds what a TOML literal string cannot contain: control characters and its own quotes.
_NOT_LITERAL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|'''|'\Z")


def format_toml(table: Mapping[str, Any]) -> str:
    """Return TOML text. Shell text and regular expressions are written without escapes."""
    return tomlkit.dumps(_fill(tomlkit.document(), table)).strip("\n") + "\n"


def _fill(container: C, table: Mapping[str, Any]) -> C:
    sections: dict[str, Item] = {}
    for name, value in table.items():
        # Write { regex = '…' } on one line, which is more readable, other tables as sections.
        if isinstance(value, dict) and value.keys() != {"regex"}:
            sections[name] = _fill(tomlkit.table(), value)
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            sections[name] = tables = tomlkit.aot()
            for each in value:
                tables.append(_fill(tomlkit.table(), each))
        else:
            container.append(name, _to_item(value))
    for name, section in sections.items():
        container.append(name, section)
    return container


def _to_item(value: Any) -> Item:
    if isinstance(value, str):
        return _to_string(value)
    if isinstance(value, list):
        array = tomlkit.array()
        array.extend(map(_to_item, value))
        array.multiline(len(array.as_string()) > _MAX_LIST_WIDTH)
        return array
    if isinstance(value, dict):
        inline = tomlkit.inline_table()
        items = {name: _to_item(each) for name, each in value.items()}
        for at, (name, item) in enumerate(items.items()):
            item.trivia.indent = "" if at else " "
            item.trivia.trail = " " if at == len(items) - 1 else ""
            inline.append(name, item)
        return inline
    scalar: Item = tomlkit.item(value)
    return scalar


def _to_string(text: str) -> Item:
    if _NOT_LITERAL.search(text):
        return tomlkit.string(text)
    if "\n" in text:
        # Begin the text on a line of its own, which tomlkit.string() does not.
        return String(StringType.MLL, text, f"\n{text}", Trivia())
    return tomlkit.string(text, literal="\\" in text and "'" not in text)
