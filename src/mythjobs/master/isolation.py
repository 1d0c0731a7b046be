"""Units of work that fail alone, and what is set aside after an internal error."""

from __future__ import annotations

from enum import Flag, auto
from typing import NamedTuple


class OwnWork(Flag):
    """Work of a turn that no request or message asks for. Each part can run in its own turn."""

    NONE = 0
    UPKEEP = auto()
    DUE_JOBS = auto()
    DEADLINES = auto()
    DEFERRALS = auto()
    PLACEMENT = auto()
    TIMERS = DUE_JOBS | DEADLINES | DEFERRALS
    ALL = UPKEEP | TIMERS | PLACEMENT


class Unit(NamedTuple):
    """What the core works on, where one row can be at fault.

    kind: "class" (placement of a job class), "grant" (of a job), "deadline" (of a job), or
    "upkeep" (a row of that table). number: its id.
    """

    kind: str
    number: int


class SetAside(NamedTuple):
    """Since when and why a unit is left out: until the master restarts, or a class's command is
    defined anew or enabled."""

    at_ms: int
    error: str


class Problem(NamedTuple):
    """An error that a turn has handled, for the log. `what` says on what, and what follows."""

    what: str
    error: Exception


def describe_error(error: Exception) -> str:
    """Return class and text of an exception: "ZeroDivisionError: division by zero"."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def describe_set_aside(command: str, error: str) -> str:
    """Return why no job of a class starts."""
    return (
        f"set aside after an internal error ({error}); the master's log has the traceback. "
        f"`mythjobs command enable {command}`, or a restart of the master, tries again"
    )
