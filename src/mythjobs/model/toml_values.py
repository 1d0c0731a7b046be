"""Values of a TOML table, each checked; what is wrong raises DefinitionError that names the key."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mythjobs.errors import DefinitionError
from mythjobs.model.units import duration_s, size_bytes

Table = Mapping[str, object]


def table(value: object, key: str, example: str, known: Collection[str]) -> Table:
    """A table with no other than the known keys. `example` is what it could say."""
    if not isinstance(value, dict):
        raise DefinitionError(key, f"must be a table, like [{key}] with {example}")
    for each in value:
        if each not in known:
            raise DefinitionError(f"{key}.{each}", f"unknown key; known are {', '.join(known)}")
    return value


def text(given: Table, key: str, default: str = "", prefix: str = "") -> str:
    value = given.get(key, default)
    if not isinstance(value, str):
        raise DefinitionError(prefix + key, f'must be text in quotes, like {key} = "…"')
    if "\0" in value:
        raise DefinitionError(prefix + key, "must not have a NUL character")
    return value


def one_of(given: Table, key: str, words: Collection[str], default: str, prefix: str = "") -> str:
    value = text(given, key, default, prefix)
    if value != default and value not in words:
        raise DefinitionError(prefix + key, f'"{value}" must be one of {", ".join(words)}')
    return value


def flag(given: Table, key: str, prefix: str = "", default: bool = False) -> bool:
    value = given.get(key, default)
    if not isinstance(value, bool):
        raise DefinitionError(prefix + key, "must be true or false")
    return value


def whole(given: Table, key: str, least: int, most: int, prefix: str = "") -> int | None:
    """A whole number within the bounds; None if it is not there."""
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise DefinitionError(prefix + key, f"must be a whole number from {least} to {most}")
    return value


def duration(given: Table, key: str, prefix: str = "", least_s: float = 0) -> float | None:
    """Seconds of a duration that is longer than nothing; None if it is not there."""
    if key not in given:
        return None
    try:
        seconds = duration_s(str(given[key]))
    except ValueError as error:
        raise DefinitionError(prefix + key, str(error)) from None
    if seconds <= 0:
        raise DefinitionError(prefix + key, "must be longer than nothing")
    if seconds < least_s:
        raise DefinitionError(prefix + key, f"must be at least {least_s:g}s")
    return seconds


def size(given: Table, key: str, prefix: str = "") -> int | None:
    if key not in given:
        return None
    try:
        count = size_bytes(str(given[key]))
    except ValueError as error:
        raise DefinitionError(prefix + key, str(error)) from None
    if count <= 0:
        raise DefinitionError(prefix + key, "must be more than nothing")
    return count


def words(given: Table, key: str, example: str, prefix: str = "") -> tuple[str, ...]:
    """A list of texts, each once."""
    value = given.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
        raise DefinitionError(prefix + key, f"must be a list of texts, like {key} = {example}")
    return tuple(dict.fromkeys(value))
