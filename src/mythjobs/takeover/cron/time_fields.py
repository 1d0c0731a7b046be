"""Check of the five time fields of cron: what each cron accepts and reads alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS: Final = (
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
)  # fmt: skip
# Name, lowest and highest value, names of the values from the lowest.
_FIELDS: Final[tuple[tuple[str, int, int, Sequence[str]], ...]] = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of the month", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("day of the week", 0, 7, _DAYS),
)
_TERM: Final = re.compile(r"(?:\*|(\w+)(?:([-~])(\w+))?)(?:/(\w+))?")


def check_time_fields(fields: Sequence[str]) -> None:
    """Raise ValueError, with the reason, if one of the five fields is invalid or ambiguous."""
    for text, (name, least, most, names) in zip(fields, _FIELDS, strict=True):
        for term in text.split(","):
            try:
                _check_term(term, least, most, names)
            except ValueError as error:
                raise ValueError(f'{name} "{text}": {error}') from None


def _check_term(term: str, least: int, most: int, names: Sequence[str]) -> None:
    found = _TERM.fullmatch(term)
    if found is None:
        raise ValueError("is not a value, a range or a step that cron accepts")
    first, dash, last, step = found.groups()
    if step is not None and (not step.isdecimal() or not int(step)):
        raise ValueError(f"the step /{step} must be 1 or more")
    if dash == "~":
        raise ValueError("a random time (~) is drawn by cronie at its start; write a fixed time")
    if first is None:
        return
    low = _read_value(first, least, most, names)
    if last is None:
        if step is not None:
            # Debian's cron runs at 5, cronie refuses the line, others run at 5, 15, 25 …
            raise ValueError(f"crons differ on {term}; write {first}-{most}/{step}")
        return
    if _read_value(last, least, most, names) < low:
        raise ValueError(f"the range {first}-{last} ends before it begins")


def _read_value(text: str, least: int, most: int, names: Sequence[str]) -> int:
    if text.lower() in names:
        return names.index(text.lower()) + least
    if not (text.isascii() and text.isdecimal()) or not least <= int(text) <= most:
        raise ValueError(f"{text} is not one of {least} to {most}")
    return int(text)
