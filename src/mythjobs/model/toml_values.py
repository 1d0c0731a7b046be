"""Typed access to values of a TOML table.

Each function raises DefinitionError, which names the key, for a value of another type or out of
bounds.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mythjobs.errors import DefinitionError
from mythjobs.model.units import parse_duration, parse_size

Table = Mapping[str, object]


def read_table(value: object, key: str, example: str, known: Collection[str]) -> Table:
    """Return `value`, checked to be a table with known keys only. example: a valid line of the
    table, shown in the error message."""
    if not isinstance(value, dict):
        raise DefinitionError(key, f"must be a table, like [{key}] with {example}")
    for each in value:
        if each not in known:
            raise DefinitionError(f"{key}.{each}", f"unknown key; known are {', '.join(known)}")
    return value


def read_text(given: Table, key: str, default: str = "", prefix: str = "") -> str:
    value = given.get(key, default)
    if not isinstance(value, str):
        raise DefinitionError(prefix + key, f'must be text in quotes, like {key} = "…"')
    if "\0" in value:
        raise DefinitionError(prefix + key, "must not have a NUL character")
    return value


def read_choice(
    given: Table, key: str, allowed: Collection[str], default: str, prefix: str = ""
) -> str:
    value = read_text(given, key, default, prefix)
    if value != default and value not in allowed:
        raise DefinitionError(prefix + key, f'"{value}" must be one of {", ".join(allowed)}')
    return value


def read_bool(given: Table, key: str, prefix: str = "", default: bool = False) -> bool:
    value = given.get(key, default)
    if not isinstance(value, bool):
        raise DefinitionError(prefix + key, "must be true or false")
    return value


def read_int(given: Table, key: str, least: int, most: int, prefix: str = "") -> int | None:
    """Return a key's value, an integer from `least` to `most`; None if the key is missing."""
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise DefinitionError(prefix + key, f"must be a whole number from {least} to {most}")
    return value


def read_duration(given: Table, key: str, prefix: str = "", least_s: float = 0) -> float | None:
    """Return a key's value, a positive duration, in seconds; None if the key is missing."""
    if key not in given:
        return None
    try:
        seconds = parse_duration(str(given[key]))
    except ValueError as error:
        raise DefinitionError(prefix + key, str(error)) from None
    if seconds <= 0:
        raise DefinitionError(prefix + key, "must be longer than 0s")
    if seconds < least_s:
        raise DefinitionError(prefix + key, f"must be at least {least_s:g}s")
    return seconds


def read_size(given: Table, key: str, prefix: str = "") -> int | None:
    if key not in given:
        return None
    try:
        count = parse_size(str(given[key]))
    except ValueError as error:
        raise DefinitionError(prefix + key, str(error)) from None
    if count <= 0:
        raise DefinitionError(prefix + key, "must be larger than 0B")
    return count


def read_strings(given: Table, key: str, example: str, prefix: str = "") -> tuple[str, ...]:
    """Return a key's value, a list of strings, without duplicates; empty if the key is missing."""
    value = given.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise DefinitionError(prefix + key, f"must be a list of strings, like {key} = {example}")
    return tuple(dict.fromkeys(value))
