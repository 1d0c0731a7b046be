"""How an attempt ended, as the master is told."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from mythjobs.agent.core.attempt import Key, Output
from mythjobs.agent.core.lease_terms import BY_WINDOW, WINDOW_CLOSED, Terms
from mythjobs.clock import Now
from mythjobs.protocol import messages as m

# Why it is lost: the machine was off meanwhile, or who watched it died.
RESTARTED: Final = "the machine restarted"
REAPER_DIED: Final = "the reaper died"

_BY_WINDOW: Final = {"kind": "stopped", "by": BY_WINDOW}


class Left(NamedTuple):
    """What a dead reaper's journal has started and not ended, once nothing of it is left.

    `output` is what of its output lies here, `proof` how it is known that it is gone.
    """

    key: Key
    started_ms: int | None
    output: Output
    proof: str
    why: str = REAPER_DIED


def from_reaper(ended: Any, terms: Terms) -> m.Ended:
    """docs/reaper.md, `ended`. That its window closed for good only who has its hours knows."""
    outcome = ended["outcome"]
    if outcome == _BY_WINDOW and terms.hours is not None and terms.hours.closing == "terminate":
        outcome = {**outcome, "by": WINDOW_CLOSED}
    return m.Ended(
        ended["job"],
        ended["n"],
        outcome,
        ended["started_ms"],
        ended["ended_ms"],
        ended["usage"],
        ended["output"],
        later=ended.get("later", ""),
    )


def lost(key: Key, now: Now, left: Left) -> m.Ended:
    """Its end was not seen. When it was is not known either: `ended_ms` is when it was found."""
    return m.Ended(
        *key,
        {"kind": "lost", "why": left.why},
        left.started_ms,
        now.wall_ms,
        output=left.output,
        proof=left.proof,
    )
