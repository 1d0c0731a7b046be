"""Ends of attempts as messages for the master."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from mythjobs.agent.core.attempt import Key, OutputWindows
from mythjobs.agent.core.lease_terms import BY_WINDOW, WINDOW_CLOSED, LeaseTerms
from mythjobs.clock import Now
from mythjobs.protocol import messages as m

# Why an attempt is lost.
MACHINE_RESTARTED: Final = "the machine restarted"
REAPER_DIED: Final = "the reaper died"
REAPER_HUNG: Final = "the reaper hung and was killed"

# Processes to name in a sentence.
_MAX_LEFT: Final = 10

_BY_WINDOW: Final = {"kind": "stopped", "by": BY_WINDOW}


class LostAttempt(NamedTuple):
    """An attempt that a dead reaper had started, without an end in its journal.

    `output` is the output on this machine. `proof` says how the end of its processes is known.
    """

    key: Key
    started_ms: int | None
    output: OutputWindows
    proof: str
    why: str = REAPER_DIED


def ended_from_reaper(ended: Any, terms: LeaseTerms) -> m.Ended:
    """Return the end that a reaper reported (docs/reaper.md, `ended`).

    A stop by a window becomes `window_closed` if the window ends jobs: only the agent knows
    the hours.
    """
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
        proof=_describe_end(ended),
        later=ended.get("later", ""),
    )


def _describe_end(ended: Any) -> str:
    """Return what a person should know about an end that was observed, or ""."""
    notes = list(ended.get("unenforced", ()))
    if left := ended.get("left"):
        processes = ", ".join(f"{pid} ({name})" for pid, name in left[:_MAX_LEFT])
        more = f" and {len(left) - _MAX_LEFT} more" if len(left) > _MAX_LEFT else ""
        notes.append(f"left running: {processes}{more}")
    return "; ".join(["observed", *notes]) if notes else ""


def ended_from_lost(lost: LostAttempt, now: Now) -> m.Ended:
    """Return the end of a lost attempt. `ended_ms` is now: the real time is unknown."""
    return m.Ended(
        *lost.key,
        {"kind": "lost", "why": lost.why},
        lost.started_ms,
        now.wall_ms,
        output=lost.output,
        proof=lost.proof,
    )
