"""What turns observe for metrics: waiting times, ends of attempts, and the turns themselves."""

from __future__ import annotations

from typing import Any, NamedTuple

from mythjobs.model import outcome as o

_NAMES = {
    o.Exited: "exited",
    o.Signalled: "signalled",
    o.Breached: "breached",
    o.Stopped: "stopped",
    o.NotStarted: "not_started",
    o.Lost: "lost",
}


class JobWait(NamedTuple):
    """Seconds from the submit of a job to its first lease."""

    command_id: int
    wait_s: float


class AttemptResult(NamedTuple):
    """End of an attempt: how its program ended, what became of the job, and the run time in
    seconds, None if it did not start."""

    command_id: int
    outcome: str
    result: str
    run_s: float | None


class TurnCost(NamedTuple):
    """Duration of a turn with its commit, in seconds, and number of its statements."""

    duration_s: float
    statements: int


Observation = JobWait | AttemptResult | TurnCost


def name_outcome(outcome: o.Outcome) -> str:
    return _NAMES[type(outcome)]


class CountingCursor:
    """A driver's cursor that counts the statements."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor
        self.statements = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)

    def execute(self, *arguments: Any, **options: Any) -> Any:
        self.statements += 1
        return self._cursor.execute(*arguments, **options)

    def executemany(self, *arguments: Any, **options: Any) -> Any:
        self.statements += 1
        return self._cursor.executemany(*arguments, **options)
