"""Values of the answers of MythTV's Services API, which may be of any form. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from mythjobs.errors import ProtocolError

Json = dict[str, Any]
_SHOWN: Final = 40


def parse_object(body: bytes) -> Json | None:
    """Return the JSON object of an answer, None if it is none.

    Bytes that are no UTF-8 are replaced, and control characters may stand in texts as they are: one
    damaged title must not hide a hundred recordings.
    """
    try:
        found = json.loads(body.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def read_table(given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return the object of a key, empty without one."""
    value = given.get(key)
    return value if isinstance(value, dict) else {}


def read_tables(given: Mapping[str, Any], key: str) -> list[Json]:
    """Return the objects in the list of a key."""
    value = given.get(key)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def read_text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    return "" if value is None else clean_text(str(value))


def read_number(given: Mapping[str, Any], key: str) -> int:
    """Return the number of a key, 0 without one. Raises ProtocolError."""
    # Values of the type `long` arrive as strings.
    value = given.get(key)
    try:
        return int(value) if value not in (None, "") else 0
    except (TypeError, ValueError, OverflowError):
        raise ProtocolError(
            f'the backend sent "{clean_text(str(value)):.{_SHOWN}}" as {key}'
        ) from None


def read_boolean(given: Mapping[str, Any], key: str) -> bool:
    """Return whether the value is true; version 1 of the API sends texts."""
    return given.get(key) in (True, "true", "1")


def clean_text(text: str) -> str:
    """Return the text without what no argument of a program can have: NUL, and halves of
    characters (surrogates), which JSON permits alone."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
