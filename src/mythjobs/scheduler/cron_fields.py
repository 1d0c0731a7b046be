"""The five fields of a cron expression: check of each term, with the cause and the remedy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple


class Field(NamedTuple):
    """One field: its name, its lowest and highest value, names of the values from the lowest."""

    name: str
    least: int
    most: int
    names: Sequence[str] = ()


_DAY: Final = Field("day of the month", 1, 31)
_WEEKDAY: Final = Field("day of the week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat"))
FIELDS: Final = (
    Field("minute", 0, 59),
    Field("hour", 0, 23),
    _DAY,
    Field(
        "month", 1, 12,
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ),
    _WEEKDAY,
)  # fmt: skip

_TERM: Final = re.compile(r"(?:\*|([^\W_]+)(?:-([^\W_]+))?)(?:/([^\W_]+))?", re.ASCII)
_NTH: Final = re.compile(r"([^\W_]+)#(\d+)", re.ASCII)
_LAST: Final = re.compile(r"[0-7]l")
# Signs that other programs have for what no expression here can say.
_UNSUPPORTED: Final = (
    (_DAY, re.compile(r"\d+w|w\d+"), "the weekday nearest to a day (W) cannot be given; LW is the "
     "last weekday of the month"),
    (_DAY, re.compile(r"l-\d+|\d+-l"), "days cannot be counted from the end of the month; L is the "
     "last day"),
    (_WEEKDAY, re.compile(r"l"), "L needs a day before it; 5L is the last Friday of the month"),
    (_WEEKDAY, re.compile(r"[a-z]+l|l[0-7]"), "the last Friday of the month is written 5L"),
    (_WEEKDAY, re.compile(r".+#.*"), "the second Monday of the month is written 1#2, with 1 to 5 "
     "after the sign"),
    (None, re.compile(r"\?"), "? is no sign of crontab(5); write *"),
    (None, re.compile(r"h(\(.*\))?(/\d+)?|.*~.*"), "no time is drawn at random; write a value, and "
     "delay the jobs with spread"),
    (None, re.compile(r""), "a value is missing before or after a comma"),
)  # fmt: skip


class ReversedRange(ValueError):
    """A range whose last value is below its first one. Debian's cron reads it as no value."""


def check_fields(expression: str) -> None:
    """Raise ValueError, with cause and remedy, if one of the five fields is invalid."""
    for text, field in zip(expression.split(), FIELDS, strict=True):
        for term in text.split(","):
            try:
                _check_term(term, field)
            except ValueError as error:
                raise ValueError(f'{field.name} "{text}": {error}') from None


def replace_single_ranges(expression: str) -> str:
    """Return the expression with ranges of one value as this value: 5 for 5-5/10.

    Cronsim reads 5-5/10 as 5/10, which is 5, 15, 25 and so on.
    """
    return " ".join(
        ",".join(_replace_single_range(term, field) for term in text.split(","))
        for text, field in zip(expression.split(), FIELDS, strict=True)
    )


def _replace_single_range(term: str, field: Field) -> str:
    found = _TERM.fullmatch(term)
    if found is None or found[1] is None or found[2] is None:
        return term
    first, last = (read_value(each, field) for each in (found[1], found[2]))
    return found[1] if first == last else term


def _check_term(term: str, field: Field) -> None:
    lower = term.lower()
    if field is _DAY and lower in ("l", "lw"):
        return
    if field is _WEEKDAY:
        nth = _NTH.fullmatch(term)
        if nth and 1 <= int(nth[2]) <= 5:
            read_value(nth[1], field)
            return
        if _LAST.fullmatch(lower):
            return
    for of, pattern, why in _UNSUPPORTED:
        if of in (None, field) and pattern.fullmatch(lower):
            raise ValueError(why)
    found = _TERM.fullmatch(term)
    if found is None:
        raise ValueError(f'"{term}" is not a value, a range like 1-5 or a step like */2')
    check_range(found[1], found[2], found[3], field)


def check_range(first: str | None, last: str | None, step: str | None, field: Field) -> None:
    """Raise ValueError if `first-last/step` is invalid. Parts that are not given are None; without
    `first` it is a star."""
    if step is not None and (not (step.isascii() and step.isdecimal()) or not int(step)):
        raise ValueError(f"the step /{step} must be 1 or more")
    low = field.least if first is None else read_value(first, field)
    if last is None or read_value(last, field) >= low:
        return
    if field is _WEEKDAY and read_value(last, field) == 0:
        remedy = f"{first}-7" if step is None else f"{first}-7/{step}"
    elif step is None:
        remedy = f"{first}-{6 if field is _WEEKDAY else field.most},{field.least}-{last}"
    else:
        remedy = "two ranges"
    raise ReversedRange(f"the range {first}-{last} ends before it begins; write {remedy}")


def read_value(text: str, field: Field) -> int:
    """Return the number of a value. Raises ValueError if the field cannot have it."""
    lower = text.lower()
    if lower in field.names:
        return field.names.index(lower) + field.least
    if text.isascii() and text.isdecimal() and field.least <= int(text) <= field.most:
        return int(text)
    if lower[:3] in field.names:
        raise ValueError(f"{text} is not a name of cron; write {lower[:3]}")
    names = f" or {field.names[0]} to {field.names[-1]}" if field.names else ""
    raise ValueError(f"{text} is not one of {field.least} to {field.most}{names}")
