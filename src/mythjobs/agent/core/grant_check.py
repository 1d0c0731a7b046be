"""Which of the master's grants the agent refuses, and the limits of the machine's own policy."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, TypeVar

import msgspec

from mythjobs.agent.core.lease_terms import hours_from_message
from mythjobs.clock import Now
from mythjobs.model.bounds import NO_BOUNDS, Bounds, tightest
from mythjobs.model.own_policy import OwnPolicy
from mythjobs.model.window import Hours
from mythjobs.protocol.lease_timing import start_deadline_ms
from mythjobs.protocol.messages import Grant, LimitsChanged
from mythjobs.protocol.run_spec import HoursSpec, RunSpec

Limited = TypeVar("Limited", RunSpec, LimitsChanged)

LATE_GRANT: Final = "the grant arrived after its start-by time"


class GrantCheck:
    """Checks grants against the machine's own policy and its clock.

    knows_zone: whether the run windows of a grant can be evaluated on this machine.
    """

    def __init__(self, own: OwnPolicy, knows_zone: Callable[[Hours | None, Now], bool]) -> None:
        self._own = own
        self._knows_zone = knows_zone

    def find_refusal(self, grant: Grant, sent_ms: int, now: Now) -> str:
        """Return why a grant is refused, "" if it is not.

        sent_ms: when the heartbeat was sent that the grant answers.
        """
        if now.steady_ms >= start_deadline_ms(sent_ms, grant.start_by_s):
            return LATE_GRANT
        if not self._own.rights.allows(grant.command):
            return f"the machine's own policy refuses {grant.command}"
        if not self._knows_zone(hours_from_message(self.limit_hours(grant.hours)), now):
            zone = grant.hours.zone if grant.hours else ""
            return f"this machine does not know the time zone {zone}; install tzdata"
        if self._own.roots and grant.run.paths is None:
            return (
                "the machine's own policy accepts some directories only, and the master, an older "
                "version, does not say which arguments are paths"
            )
        return ""

    def limit_grant(self, grant: Grant) -> Grant:
        run = apply_own_limits(grant.run, self._own.limits)
        if self._own.roots:
            run = msgspec.structs.replace(run, paths=list_paths(run))
        hours = self.limit_hours(grant.hours)
        if run is grant.run and hours is grant.hours:
            return grant
        return msgspec.structs.replace(grant, run=run, hours=hours)

    def limit_hours(self, given: HoursSpec | None) -> HoursSpec | None:
        """Return hours of the master that also have the windows of the machine's own policy."""
        hours = hours_from_message(given)
        limited = self._own.limit_hours(hours)
        if limited is None or limited == hours:
            return given
        sets, overrides = [list(each) for each in limited.sets], list(limited.overrides)
        return HoursSpec(sets, limited.zone, limited.closing, limited.grace_s, overrides)

    def limit_change(self, change: LimitsChanged) -> LimitsChanged:
        return apply_own_limits(change, self._own.limits)


def list_paths(run: RunSpec) -> list[str]:
    """Return all paths of which the agent knows that a program uses them."""
    found = list(run.paths or ())
    if run.cwd not in ("", "/"):  # "/" is also the directory of a command that names none
        found.append(run.cwd)
    if run.stdin:
        found.append(os.path.join(run.cwd or "/", run.stdin))
    return found


def apply_own_limits(given: Limited, own: Bounds) -> Limited:
    """Return a program or a change of limits with the tighter of its own limits and the machine's.

    An I/O class or a nice value that the machine demands lowers the job's priority only.
    """
    if own == NO_BOUNDS:
        return given
    names = [each.name for each in fields(Bounds) if hasattr(given, each.name)]
    asked = Bounds(**{name: getattr(given, name) for name in names})
    combined = tightest(asked, own)
    changes: dict[str, Any] = {
        name: value for name in names if (value := getattr(combined, name)) is not None
    }
    return msgspec.structs.replace(given, **changes)
