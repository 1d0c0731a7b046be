"""Entry of a plan: one line of a crontab or one timer, and what becomes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

Table = dict[str, Any]

ID_LENGTH: Final = 10


class ImportMark(StrEnum):
    """Result for one entry: imported exactly, with a difference, needs a decision, skipped."""

    EXACT = "exact"
    DIFFERENT = "different"
    DECIDE = "decide"
    SKIPPED = "skipped"

    @property
    def sign(self) -> str:
        return {"exact": "✓", "different": "~", "decide": "!", "skipped": "–"}[self.value]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an entry is disabled.

    kind: "file" (a crontab or anacrontab with this path), "crontab" (of this user, through the
    program crontab), "timer" (a unit of the system's manager) or "user timer". name: path, user or
    unit. line: the line without its line break, "" for a timer. occurrence: how many equal lines
    are above it.
    """

    kind: str
    name: str
    line: str = ""
    occurrence: int = 0

    @property
    def id(self) -> str:
        """Identifier that stays the same while the entry is unchanged, also if it moves."""
        text = "\0".join((self.kind, self.name, self.line, str(self.occurrence)))
        return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:ID_LENGTH]

    def describe(self) -> str:
        if self.kind == "crontab":
            return f"crontab of {self.name}"
        return self.name


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """One entry of a plan.

    number: of its line, 0 without lines. written: its time as written. text: what it runs. user:
    who runs it. command, schedule: definitions, empty unless it is imported. mail_to: where its
    output was mailed.
    """

    place: Place
    number: int
    written: str
    text: str
    user: str
    mark: ImportMark
    reasons: tuple[str, ...] = ()
    name: str = ""
    command: Table | None = None
    schedule: Table | None = None
    mail_to: str = ""

    @property
    def is_imported(self) -> bool:
        return self.mark in (ImportMark.EXACT, ImportMark.DIFFERENT)

    def renamed(self, name: str) -> PlanEntry:
        """Return the entry with its definitions under another name."""
        if self.command is None or self.schedule is None:
            return replace(self, name=name)
        return replace(
            self,
            name=name,
            command={**self.command, "name": name},
            schedule={**self.schedule, "name": name, "command": name},
        )

    def skipped(self, reason: str, mark: ImportMark = ImportMark.SKIPPED) -> PlanEntry:
        """Return the entry without definitions, with the reason."""
        return replace(self, mark=mark, reasons=(reason,), name="", command=None, schedule=None)


@dataclass(frozen=True, slots=True)
class Account:
    """One user of the machine."""

    name: str
    group: str
    home: str


@dataclass(frozen=True, slots=True)
class ImportFacts:
    """What a plan needs to know of the machine.

    machine: its name in the queue, for `where`; "" leaves it out. zone: name of its time zone, ""
    if unknown. runner: the user that runs the jobs. accounts: by name. environment: variables of
    all logins (/etc/environment, /etc/default/locale). has_mailer: cron can send mail. is_cronie:
    cron is cronie. exists: whether a path exists.
    """

    machine: str
    zone: str
    runner: str
    accounts: dict[str, Account]
    environment: dict[str, str]
    has_mailer: bool
    is_cronie: bool
    exists: Callable[[str], bool]
    this_year: int
