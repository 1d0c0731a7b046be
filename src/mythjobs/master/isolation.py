"""Isolation of internal errors: units of work that can fail alone and are then set aside."""

from __future__ import annotations

from enum import Flag, auto
from typing import NamedTuple


class OwnWork(Flag):
    """Kinds of work that a turn does besides requests and messages.

    After an error each kind can run in a turn of its own, so that a kind that fails does
    not stop the others.
    """

    NONE = 0
    UPKEEP = auto()
    DUE_JOBS = auto()
    DEADLINES = auto()
    DEFERRALS = auto()
    PLACEMENT = auto()
    SCHEDULES = auto()
    TIMERS = DUE_JOBS | DEADLINES | DEFERRALS
    ALL = UPKEEP | TIMERS | SCHEDULES | PLACEMENT


class Unit(NamedTuple):
    """One object that can be at fault for an internal error while the master works on it.

    kind: "class" (placement of a job class), "grant" (of a job), "deadline" (of a job), or
    "upkeep" (a row of the table `upkeep`: work on many jobs that is left for later turns), or
    "schedule". number: id of the class, job, row or schedule.
    """

    kind: str
    number: int


class SetAside(NamedTuple):
    """Time and error of a unit that was set aside: the master does not work on it any more.

    This lasts until the master restarts; for a job class also until its command is redefined or
    enabled.
    """

    at_ms: int
    error: str


class Problem(NamedTuple):
    """An error that a turn has handled and that must be logged. `what` is the log message."""

    what: str
    error: Exception


def describe_error(error: Exception) -> str:
    """Return class and text of an exception: "ZeroDivisionError: division by zero"."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def describe_set_aside(command: str, error: str) -> str:
    """Return the reason why no job of a class starts that was set aside after `error`."""
    return (
        f"set aside after an internal error ({error}); the master's log has the traceback. "
        f"`mythjobs command enable {command}`, or a restart of the master, tries again"
    )
