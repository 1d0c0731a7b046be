"""On which terms an attempt is here: its lease and hours, what to do about them, and as JSON."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from mythjobs.clock import Now
from mythjobs.model import window
from mythjobs.model.window import Hours
from mythjobs.protocol import lease
from mythjobs.protocol import messages as m

# How far ahead the reaper is told what to do, should nobody tell it more.
HORIZON_MS: Final = 8 * 86_400_000

# (boot_ms, act, by, grace_s), as in docs/reaper.md.
Act = tuple[int, str, str, float]

STOP: Final = "stop"
FREEZE: Final = "freeze"
THAW: Final = "thaw"
BY_LEASE: Final = "lease"
BY_WINDOW: Final = "window"
# How the master is told that a window ended it for good (model/outcome.py, Stopped).
WINDOW_CLOSED: Final = "window_closed"


class Terms(NamedTuple):
    """What is kept of a grant while its attempt is here, also by the journal.

    lease_s None: for ever. end_ms: the lease's end on this machine's steady clock. later: the
    expression that is looked for in its output. command: its name, to count by.
    """

    progress: str = ""
    lease_s: float | None = None
    end_ms: int = 0
    hours: Hours | None = None
    later: str = ""
    command: str = ""

    @property
    def kill_ms(self) -> int | None:
        """When its end must begin for nothing to live at the lease's end; None: never."""
        return None if self.lease_s is None else lease.kill_ms(self.end_ms, self.lease_s)

    def renewed(self, sent_ms: int) -> Terms:
        """As of a heartbeat sent then. An older one shortens nothing."""
        if self.lease_s is None:
            return self
        return self._replace(end_ms=max(self.end_ms, lease.lease_end_ms(sent_ms, self.lease_s)))


PLAIN: Final = Terms()


def terms_of(grant: m.Grant, sent_ms: int) -> Terms:
    run = grant.run
    progress = run.progress if run.progress != "status" else ""
    if grant.lease_s is None and grant.hours is None and not run.later and not progress:
        return PLAIN
    terms = Terms(progress, grant.lease_s, 0, hours_from(grant.hours), run.later, grant.command)
    return terms.renewed(sent_ms)


def hours_from(said: m.Hours | None) -> Hours | None:
    if said is None:
        return None
    return Hours(
        tuple(tuple(each) for each in said.sets),
        said.zone,
        said.closing,
        said.grace_s,
        tuple((kind, until_ms) for kind, until_ms in said.overrides),
    )


def acts(terms: Terms, now: Now, holders: tuple[str, ...] = ()) -> list[Act]:
    """All that must be done with a running attempt in the next days, by instants on
    CLOCK_BOOTTIME. `holders` is by whom it is frozen as far as is known."""
    found: list[Act] = []
    if terms.lease_s is not None and terms.kill_ms is not None:
        found.append((terms.kill_ms, STOP, BY_LEASE, lease.kill_grace_s(terms.lease_s)))
    hours = terms.hours
    freezes = hours is not None and hours.closing == "freeze"
    if BY_WINDOW in holders and not freezes:
        found.append((now.steady_ms, THAW, BY_WINDOW, 0.0))
    if hours is not None and hours.closing != "finish":
        # The calendar is told by the wall clock; from here on it is a matter of the steady one.
        for wall_ms, act in window.window_actions(hours, now.wall_ms, now.wall_ms + HORIZON_MS):
            at_ms = now.steady_ms + wall_ms - now.wall_ms
            if freezes:
                found.append((at_ms, FREEZE if act == "close" else THAW, BY_WINDOW, 0.0))
            elif act == "close":
                found.append((at_ms, STOP, BY_WINDOW, hours.grace_s))
                break
    return sorted(found, key=lambda each: each[0])


# In the journal: a list that ends with the last field that says something.


def to_json(terms: Terms) -> list[Any]:
    values = [each._asdict() if isinstance(each, Hours) else each for each in terms]
    while values and values[-1] == PLAIN[len(values) - 1]:
        values.pop()
    return values


def from_json(values: list[Any]) -> Terms:
    """What a newer version added is passed over."""
    terms = Terms(*values[: len(Terms._fields)])
    return terms._replace(hours=hours_from_json(terms.hours))


def hours_from_json(value: Any) -> Hours | None:
    if value is None:
        return None
    return Hours(
        tuple(tuple(each) for each in value["sets"]),
        value["zone"],
        value["closing"],
        value["grace_s"],
        tuple((kind, until_ms) for kind, until_ms in value["overrides"]),
    )
