"""Check of the five time fields of cron: what each cron accepts and reads alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from mythjobs.scheduler.cron_fields import FIELDS, Field, ReversedRange, check_range

_TERM: Final = re.compile(r"(?:\*|(\w+)(?:([-~])(\w+))?)(?:/(\w+))?")


class RefusedLine(ValueError):
    """Why an entry is one for which Debian's cron ignores the whole file."""


def check_time_fields(fields: Sequence[str]) -> None:
    """Raise ValueError, with the reason, if one of the five fields is invalid or ambiguous:
    RefusedLine if Debian's cron certainly refuses it."""
    for text, field in zip(fields, FIELDS, strict=True):
        for term in text.split(","):
            try:
                _check_term(term, field)
            except ValueError as error:
                raise type(error)(f'{field.name} "{text}": {error}') from None


def _check_term(term: str, field: Field) -> None:
    found = _TERM.fullmatch(term)
    if found is None:
        # Debian's cron ignores what follows a valid term: 1-5-7 is 1-5.
        kind = ValueError if term[:1].isalnum() or term[:1] == "*" else RefusedLine
        raise kind("is not a value, a range or a step that cron accepts")
    first, dash, last, step = found.groups()
    if dash == "~":
        raise ValueError("a random time (~) is drawn by cronie at its start; write a fixed time")
    try:
        check_range(first, last, step, field)
    except ReversedRange:
        raise
    except ValueError as error:
        raise RefusedLine(str(error)) from None
    if first is not None and last is None and step is not None:
        # Debian's cron refuses the line, cronie does or did, others run at 5, 15, 25 …
        raise RefusedLine(f"crons differ on {term}; write {first}-{field.most}/{step}")
