"""Outcomes of an attempt: how it ended, as observed, never inferred."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Exited:
    """The program exited with this code, 0 to 255."""

    code: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal that mythjobs did not send killed the program; `core`: it dumped core."""

    signal: int
    core: bool = False


@dataclass(frozen=True, slots=True)
class Breached:
    """The attempt exceeded a limit (wall, cpu, idle, memory, output, processes) and was ended."""

    limit: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The attempt was ended on request. `by`: a user's name, or a cause from STOP_REASONS.

    After cause `window` the job runs again when its run window opens; after `window_closed` it
    does not.
    """

    by: str


@dataclass(frozen=True, slots=True)
class NotStarted:
    """No process was started. `errno`: of exec, 0 if exec was not tried; `sentence`: why."""

    errno: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The attempt's end was not observed: its machine restarted, or the reaper died."""

    why: str


Outcome = Exited | Signalled | Breached | Stopped | NotStarted | Lost

_KINDS: Final[dict[str, type[Outcome]]] = {
    "exited": Exited,
    "signalled": Signalled,
    "breached": Breached,
    "stopped": Stopped,
    "not_started": NotStarted,
    "lost": Lost,
}
_NAMES: Final = {cls: name for name, cls in _KINDS.items()}
# Field names and types of each outcome class, computed once, because dataclasses.fields() takes
# most of the time of a conversion to or from JSON.
_FIELDS: Final = {
    cls: [(field.name, field.type) for field in dataclasses.fields(cls)] for cls in _NAMES
}
# Values of Stopped.by for stops that no person requested, with a sentence for users.
STOP_REASONS: Final = {
    "lease": "ended by its machine: the lease expired without contact to the master",
    "window": "stopped because its window closed",
    "window_closed": "ended because its window closed",
    "stale": "stopped because the job was leased to another machine meanwhile",
    "shutdown": "stopped with all jobs of its machine",
}


def to_json(outcome: Outcome) -> dict[str, object]:
    """Return the form in journals, messages and the store: `{"kind": "exited", "code": 0}`."""
    kind = type(outcome)
    return {"kind": _NAMES[kind], **{name: getattr(outcome, name) for name, _ in _FIELDS[kind]}}


def from_json(value: Json) -> Outcome:
    """Parse an outcome. NUL, which PostgreSQL cannot store, is replaced. Raises ValueError."""
    try:
        kind = _KINDS[str(value["kind"])]
    except KeyError:
        raise ValueError(f"invalid outcome: {value!r}") from None
    known = {}
    for name, wanted in _FIELDS[kind]:
        if name not in value:
            continue
        given = value[name]
        if type(given).__name__ != wanted:
            raise ValueError(f"{value['kind']}: {name} is not {wanted}")
        known[name] = given.replace("\0", "\ufffd") if isinstance(given, str) else given
    try:
        return kind(**known)  # type: ignore[arg-type]
    except TypeError as error:
        raise ValueError(str(error)) from None


def describe(outcome: Outcome) -> str:
    """Return a description for users: 'killed by signal 9 (SIGKILL)'."""
    match outcome:
        case Exited(code):
            return f"exit code {code}"
        case Signalled(number, core):
            return f"killed by signal {number} ({_signal_name(number)})" + core * ", core dumped"
        case Breached(limit):
            return f"ended because it exceeded its {limit} limit"
        case Stopped(by):
            return STOP_REASONS.get(by) or f"stopped by {by}"
        case NotStarted(_, why):
            return f"could not start: {why}"
        case Lost(why):
            return f"lost: {why}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "real-time signal"
