"""The lines that a program writes into $MYTHJOBS_STATUS, read with patience."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

# A comment is one line in a list of jobs.
_LONGEST_COMMENT: Final = 500


class Said(NamedTuple):
    """What a job says of itself; None is what it has not said."""

    percent: float | None = None
    comment: str | None = None
    eta_s: float | None = None


def read_status(said: Said, lines: Iterable[str]) -> Said:
    """What is said after these lines. A line that is none of ours is passed over: it is the
    job's own business, and no reason to end it."""
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word == "comment":
            said = said._replace(comment=_printable(rest)[:_LONGEST_COMMENT])
        elif word in ("progress", "eta"):
            number = _number(rest.removesuffix("%"))
            if number is None:
                continue
            if word == "eta":
                said = said._replace(eta_s=max(number, 0.0))
            else:
                said = said._replace(percent=round(min(max(number, 0.0), 100.0), 1))
    return said


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
