"""Lease terms of an attempt: its lease and run windows, the timed actions for the reaper that
follow from them, and their format in the agent's journal."""

from __future__ import annotations

import logging
from typing import Any, Final, NamedTuple

from msgspec import Struct

from mythjobs.clock import Now
from mythjobs.model import window
from mythjobs.model.machine_control import MACHINE_HOLDER
from mythjobs.model.window import Hours
from mythjobs.protocol import lease_timing
from mythjobs.protocol import messages as m
from mythjobs.protocol.numbers import LeaseDuration, Number
from mythjobs.protocol.run_spec import HoursSpec

log = logging.getLogger(__name__)

# How far ahead timed actions are sent to the reaper, which performs them even while no agent runs.
HORIZON_MS: Final = 8 * 86_400_000

# Timed action (instant in ms of CLOCK_BOOTTIME, action, by, grace_s) as in docs/reaper.md.
ReaperAction = tuple[int, str, str, float]

STOP: Final = "stop"
FREEZE: Final = "freeze"
THAW: Final = "thaw"
BY_LEASE: Final = "lease"
BY_WINDOW: Final = "window"
# `by` in the outcome of a job that was stopped because its run windows closed, if their closing
# policy is "terminate" (model/outcome.py): the master does not requeue such a job.
WINDOW_CLOSED: Final = "window_closed"


class LeaseTerms(NamedTuple):
    """Part of a grant that the agent keeps in memory and journal until it forgets the attempt.

    lease_s: None if the lease never expires. end_ms: lease end in ms of CLOCK_BOOTTIME. hours: run
    windows, None if always open. later_regex: the command's `retry.later`. command: the command's
    name, to count its running attempts against the levels of its windows.
    """

    progress: str = ""
    lease_s: float | None = None
    end_ms: int = 0
    hours: Hours | None = None
    later_regex: str = ""
    command: str = ""

    @property
    def kill_ms(self) -> int | None:
        """CLOCK_BOOTTIME ms at which the job must get SIGTERM, so that its processes are gone
        when the lease ends. None without a lease expiry."""
        return (
            None if self.lease_s is None else lease_timing.kill_start_ms(self.end_ms, self.lease_s)
        )

    def with_renewal(self, sent_ms: int) -> LeaseTerms:
        """Return the terms renewed by a heartbeat sent at `sent_ms`. Leases never get shorter."""
        if self.lease_s is None:
            return self
        return self._replace(
            end_ms=max(self.end_ms, lease_timing.lease_end_ms(sent_ms, self.lease_s))
        )


NO_TERMS: Final = LeaseTerms()


def terms_from_grant(grant: m.Grant, sent_ms: int) -> LeaseTerms:
    run = grant.run
    progress = run.progress if run.progress != "status" else ""
    if grant.lease_s is None and grant.hours is None and not run.later and not progress:
        return NO_TERMS
    terms = LeaseTerms(
        progress, grant.lease_s, 0, hours_from_message(grant.hours), run.later, grant.command
    )
    return terms.with_renewal(sent_ms)


def hours_from_message(message: HoursSpec | None) -> Hours | None:
    if message is None:
        return None
    return _hours(*(getattr(message, name) for name in Hours._fields))


def _hours(sets: Any, zone: str, closing: str, grace_s: float, overrides: Any) -> Hours:
    """Return run windows with tuples in place of lists, because Hours must be hashable: they are
    keys of the cache of window states."""
    limits = tuple((kind, until_ms) for kind, until_ms in overrides)
    return Hours(tuple(tuple(each) for each in sets), zone, closing, grace_s, limits)


def compute_reaper_actions(
    terms: LeaseTerms,
    now: Now,
    frozen_by: tuple[str, ...] = (),
    pause_until_ms: int | None = None,
) -> list[ReaperAction]:
    """Return the timed actions for the reaper until HORIZON_MS from now, sorted by time.

    `frozen_by` are the freeze holders of the attempt that the reaper reported last.
    pause_until_ms: when a pause of the whole machine ends (wall clock), however late that is.
    """
    found: list[ReaperAction] = []
    if pause_until_ms is not None:
        at_ms = now.steady_ms + pause_until_ms - now.wall_ms
        found.append((at_ms, THAW, MACHINE_HOLDER, 0.0))
    if terms.lease_s is not None and terms.kill_ms is not None:
        found.append((terms.kill_ms, STOP, BY_LEASE, lease_timing.kill_grace_s(terms.lease_s)))
    hours = terms.hours
    freezes = hours is not None and hours.closing == "freeze"
    if BY_WINDOW in frozen_by and not freezes:
        found.append((now.steady_ms, THAW, BY_WINDOW, 0.0))
    if hours is not None and hours.closing != "finish":
        # Convert instants at which windows open or close from the wall clock to CLOCK_BOOTTIME,
        # which the reaper uses.
        for wall_ms, act in window.window_actions(hours, now.wall_ms, now.wall_ms + HORIZON_MS):
            at_ms = now.steady_ms + wall_ms - now.wall_ms
            if freezes:
                found.append((at_ms, FREEZE if act == "close" else THAW, BY_WINDOW, 0.0))
            elif act == "close":
                found.append((at_ms, STOP, BY_WINDOW, hours.grace_s))
                break
    return sorted(found, key=lambda each: each[0])


def terms_to_json(terms: LeaseTerms) -> list[Any]:
    """Return the terms as a list for the journal, without trailing default values."""
    if terms is NO_TERMS:
        return []
    values = [each._asdict() if isinstance(each, Hours) else each for each in terms]
    while values and values[-1] == NO_TERMS[len(values) - 1]:
        values.pop()
    return values


class TermsRecord(Struct, array_like=True):
    """Terms as terms_to_json() writes them. Fields that a newer version added are ignored."""

    job: Number
    n: Number
    progress: str = ""
    lease_s: LeaseDuration | None = None
    end_ms: Number = 0
    hours: HoursSpec | None = None
    later_regex: str = ""
    command: str = ""

    def to_terms(self) -> LeaseTerms:
        values = [getattr(self, name) for name in LeaseTerms._fields]
        return LeaseTerms(*values)._replace(hours=hours_from_record(self.hours))


def hours_from_record(hours: HoursSpec | None) -> Hours | None:
    """Return run windows from the journal; None (always open) if they cannot be evaluated here:
    they are damaged, or the time zone database was removed."""
    try:
        if hours is not None:
            window.level_at(hours.sets, hours.zone, 0, hours.overrides)
    except ValueError as error:
        log.error("run windows in the agent's journal are ignored: %s", error)
        return None
    return hours_from_message(hours)
