"""Parser of anacrontab(5): periods in days, with a delay after the start of anacron."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from mythjobs.takeover.cron.crontab import MARKER, InvalidLine

_SETTING: Final = re.compile(r"\s*([A-Za-z_]\w*)\s*=\s*(.*?)\s*")
_JOB: Final = re.compile(r"\s*([0-9]+|@\w+)\s+([0-9]+)\s+([^\s/]+)\s+(.*\S)\s*")
_NICKNAMES: Final = {"@daily": 1, "@weekly": 7, "@monthly": 31, "@yearly": 365, "@annually": 365}


@dataclass(frozen=True, slots=True)
class AnacronLine:
    """One job of anacron.

    period: as written. days: the period. delay_min: minutes after anacron's start. job: its
    identifier. text: for the shell, without the backslashes, which anacron leaves out.
    """

    number: int
    raw: str
    period: str
    days: int
    delay_min: int
    job: str
    text: str
    settings: dict[str, str] = field(default_factory=dict)
    disabled_as: str = ""


def parse_anacrontab(text: str) -> Iterator[AnacronLine | InvalidLine]:
    """Yield the jobs of an anacrontab in their order, also those that takeover has disabled."""
    settings: dict[str, str] = {}
    is_continuation = False
    for number, raw in enumerate(text.split("\n"), start=1):
        if is_continuation:
            is_continuation = raw.endswith("\\")
            continue
        marker = MARKER.match(raw)
        line = raw[marker.end() :] if marker else raw
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        if line.endswith("\\"):
            is_continuation = True
            yield InvalidLine(number, line, "continues on the next line; write it as one line")
            continue
        setting = None if marker else _SETTING.fullmatch(line)
        if setting:
            settings = {**settings, setting[1]: setting[2].strip("\"'")}
            continue
        found = _JOB.fullmatch(line)
        if found is None or (found[1].startswith("@") and found[1] not in _NICKNAMES):
            yield InvalidLine(
                number, line, "is not a job of anacron: period in days, delay, identifier, command"
            )
            continue
        days = _NICKNAMES.get(found[1]) or int(found[1])
        yield AnacronLine(
            number, line, found[1], days, int(found[2]), found[3],
            found[4].replace("\\", ""), settings, marker[1] if marker else "",
        )  # fmt: skip
