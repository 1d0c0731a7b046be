"""`Ended` messages for the master, from ends that a reaper reported and from lost attempts."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from mythjobs.agent.core.attempt import Key, OutputWindows
from mythjobs.agent.core.lease_terms import BY_WINDOW, WINDOW_CLOSED, LeaseTerms
from mythjobs.clock import Now
from mythjobs.protocol import messages as m

# Reasons why an attempt is lost, as users see them.
MACHINE_RESTARTED: Final = "the machine restarted"
# Why attempts count as lost if the journal of their dead reaper was deleted: without its records
# the agent cannot prove that their processes have ended.
NO_JOURNAL: Final = "the reaper died, and its journal is gone"
REAPER_DIED: Final = "the reaper died"
REAPER_HUNG: Final = "the reaper hung and was killed"

# Maximum number of left-over processes that are named in the sentence for users.
_MAX_LEFT: Final = 10

_BY_WINDOW: Final = {"kind": "stopped", "by": BY_WINDOW}


class LostAttempt(NamedTuple):
    """Attempt that a dead reaper had started and whose end is not in the reaper's journal.

    `output` is its output on this machine. `proof` says how it is known that its processes have
    ended.
    """

    key: Key
    started_ms: int | None
    output: OutputWindows
    proof: str
    why: str = REAPER_DIED


def ended_from_reaper(ended: Any, terms: LeaseTerms) -> m.Ended:
    """Return the message for the master from a reaper's `ended` message (docs/reaper.md).

    A stop because run windows closed is reported as `window_closed` if their closing policy is
    "terminate". The reaper does not know the policy, so its `ended` says only "window".
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
        data=ended.get("data", []),
        paused=m.USER_HOLDER in ended.get("frozen_at_stop", ()),
    )


def _describe_end(ended: Any) -> str:
    """Return a sentence for users about limits that were not enforced and processes that were left
    running, or "" if there are none."""
    notes = list(ended.get("unenforced", ()))
    if left := ended.get("left"):
        processes = ", ".join(f"{pid} ({name})" for pid, name in left[:_MAX_LEFT])
        more = f" and {len(left) - _MAX_LEFT} more" if len(left) > _MAX_LEFT else ""
        notes.append(f"left running: {processes}{more}")
    return "; ".join(["observed", *notes]) if notes else ""


def ended_from_lost(lost: LostAttempt, now: Now) -> m.Ended:
    """Return the message for a lost attempt. `ended_ms` is now, as its real end time is unknown."""
    return m.Ended(
        *lost.key,
        {"kind": "lost", "why": lost.why},
        lost.started_ms,
        now.wall_ms,
        output=lost.output,
        proof=lost.proof,
    )
