"""A definition's tables as TOML text, to be shown and edited; tomllib only reads."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ESCAPES: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}
_LONGEST_LIST: Final = 80


def format_toml(table: Mapping[str, Any]) -> str:
    """Values first, then tables, then lists of tables, as TOML's order needs it."""
    return "\n".join(_lines(table, "")).strip("\n") + "\n"


def _lines(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    later = []
    for name, value in table.items():
        if isinstance(value, dict) and _is_section(value):
            later.append((name, [value], "[{}]"))
        elif isinstance(value, list) and value and all(isinstance(each, dict) for each in value):
            later.append((name, value, "[[{}]]"))
        else:
            yield f"{_key(name)} = {_value(value)}"
    for name, values, header in later:
        for each in values:
            path = f"{prefix}{_key(name)}"
            yield ""
            yield header.format(path)
            yield from _lines(each, f"{path}.")


def _is_section(value: Mapping[str, Any]) -> bool:
    # { regex = '…' } reads better on its line.
    return len(value) != 1 or "regex" not in value


def _value(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _text(value)
        case list():
            line = f"[{', '.join(map(_value, value))}]"
            if len(line) <= _LONGEST_LIST:
                return line
            return "[\n" + "".join(f"    {_value(each)},\n" for each in value) + "]"
        case dict():
            return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
        case _:
            return str(value)


def _text(text: str) -> str:
    # The text of a shell command stays readable where TOML's literal strings can hold it.
    if "\n" in text and "'''" not in text and not _odd(text) and not text.endswith("'"):
        return f"'''\n{text}'''"
    if "\\" in text and "\n" not in text and "'" not in text and not _odd(text):
        return f"'{text}'"
    return _quoted(text)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'["\\\x00-\x1f\x7f]', lambda found: _escape(found[0]), text) + '"'


def _odd(text: str) -> bool:
    return re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text) is not None


def _escape(character: str) -> str:
    return _ESCAPES.get(character, f"\\u{ord(character):04x}")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _quoted(name)
