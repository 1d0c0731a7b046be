"""How an attempt ended. An outcome is a fact that was seen, never a guess."""

from __future__ import annotations

import dataclasses
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

Json = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Exited:
    """The program ended by itself with this exit code, 0 to 255."""

    code: int


@dataclass(frozen=True, slots=True)
class Signalled:
    """A signal that was not ours ended the program; `core` if it left a core dump."""

    signal: int
    core: bool = False


@dataclass(frozen=True, slots=True)
class Breached:
    """We ended it because it broke this limit: wall, cpu, idle, memory, output, processes."""

    limit: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """We ended it because somebody asked; `by` says who (a person), or what (window, lease, …).

    `window` runs again when it opens, `window_closed` is for good.
    """

    by: str


@dataclass(frozen=True, slots=True)
class NotStarted:
    """There was never a process: the kernel's answer to exec (0 if it was not asked), and why."""

    errno: int
    sentence: str


@dataclass(frozen=True, slots=True)
class Lost:
    """Its end was not seen: the machine restarted, or the reaper that held it died."""

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
# Names and types; to ask the class each time takes longer than all that is done with them.
_FIELDS: Final = {
    cls: [(field.name, field.type) for field in dataclasses.fields(cls)] for cls in _NAMES
}
# Stops that no person asked for; any other is told by who did.
_STOPS: Final = {
    "lease": "ended by its machine, which had not heard the master until its lease was over",
    "window": "stopped because its window closed",
    "window_closed": "ended because its window closed",
    "stale": "stopped, because it was given to another machine meanwhile",
    "shutdown": "stopped with all jobs of its machine",
}


def to_json(outcome: Outcome) -> dict[str, object]:
    """As it stands in journals, on the link and in the store: `{"kind": "exited", "code": 0}`."""
    kind = type(outcome)
    return {"kind": _NAMES[kind], **{name: getattr(outcome, name) for name, _ in _FIELDS[kind]}}


def from_json(value: Json) -> Outcome:
    """Raises ValueError if this is not an outcome. A NUL in a text, which not every store can
    hold, is taken for a character that is not known."""
    try:
        kind = _KINDS[str(value["kind"])]
    except KeyError:
        raise ValueError(f"not an outcome: {value!r}") from None
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


def sentence(outcome: Outcome) -> str:
    """What happened, for a person: 'ended by signal 9 (SIGKILL)'."""
    match outcome:
        case Exited(code):
            return f"exit code {code}"
        case Signalled(number, core):
            return f"ended by signal {number} ({_signal_name(number)})" + core * ", core dumped"
        case Breached(limit):
            return f"ended because it broke its {limit} limit"
        case Stopped(by):
            return _STOPS.get(by) or f"stopped by {by}"
        case NotStarted(_, why):
            return f"could not start: {why}"
        case Lost(why):
            return f"lost: {why}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "real-time signal"
