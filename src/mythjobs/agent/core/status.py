"""Parser of the status lines that a job writes into the FIFO $MYTHJOBS_STATUS."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final, NamedTuple

# Longer comments are cut: a comment is shown in one line of a job list.
_MAX_COMMENT_LETTERS: Final = 500


class JobStatus(NamedTuple):
    """Progress that a job reported; a field is None until the job has reported it."""

    percent: float | None = None
    comment: str | None = None
    eta_s: float | None = None


def parse_status_lines(status: JobStatus, lines: Iterable[str]) -> JobStatus:
    """Return `status` updated by the lines that the job wrote. Ignore lines in another format."""
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word == "comment":
            status = status._replace(comment=_replace_unprintable(rest)[:_MAX_COMMENT_LETTERS])
        elif word in ("progress", "eta"):
            number = _parse_number(rest.removesuffix("%"))
            if number is None:
                continue
            if word == "eta":
                status = status._replace(eta_s=max(number, 0.0))
            else:
                status = status._replace(percent=round(min(max(number, 0.0), 100.0), 1))
    return status


def _parse_number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _replace_unprintable(text: str) -> str:
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)
