"""The faults that the simulation must be able to find: each spoils one rule of the leases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

import msgspec

from mythjobs.agent.core import admission, leases
from mythjobs.agent.core import core as agent_core
from mythjobs.clock import Now
from mythjobs.master import core as master_core
from mythjobs.master.attempts import late_results
from mythjobs.master.handlers import agents
from mythjobs.master.state import LiveAttempt, Machine, MasterState, load_state
from mythjobs.protocol import lease

Patch = tuple[Any, str, Any]
_EVER_MS: Final = 2**60


def _regrant_without_note() -> list[Patch]:
    """A grant that is offered again does not renew the master's note."""

    def with_grant(self: LiveAttempt, grant_no: int, arrived_ms: int) -> LiveAttempt:
        return replace(self, grant_no=grant_no)

    return [(LiveAttempt, "with_grant", with_grant)]


def _lease_from_arrival() -> list[Patch]:
    """The machine counts its lease from the arrival of the answer, not from what it sent."""
    renew, grant = leases.LeaseEnforcer.renew, agent_core.AgentCore._handle_grant

    def late_renew(self: Any, sent_ms: int, held: Any, excepted: Any, now: Now) -> None:
        renew(self, now.steady_ms, held, excepted, now)

    def late_grant(self: Any, message: Any, now: Now) -> None:
        sent = self._sent_heartbeats.get(message.hb)
        if sent is not None:
            self._sent_heartbeats[message.hb] = sent._replace(sent_ms=now.steady_ms)
        grant(self, message, now)
        if sent is not None:
            self._sent_heartbeats[message.hb] = sent

    return [
        (leases.LeaseEnforcer, "renew", late_renew),
        (agent_core.AgentCore, "_handle_grant", late_grant),
    ]


def _no_kill_budget() -> list[Patch]:
    """The machine begins to end an attempt only when its lease is over."""
    return [(lease, "kill_start_ms", lambda end_ms, lease_s: end_ms)]


def _late_grant_accepted() -> list[Patch]:
    """A grant is started however late it comes."""
    grant = agent_core.AgentCore._handle_grant

    def any_grant(self: Any, message: Any, now: Now) -> None:
        sent = self._sent_heartbeats
        if sent and message.hb not in sent:
            message = msgspec.structs.replace(message, hb=max(sent))
        grant(self, message, now)

    def start_deadline_ms(sent_ms: int, window_s: float) -> int:
        return _EVER_MS

    return [
        (agent_core.AgentCore, "_handle_grant", any_grant),
        (agent_core, "start_deadline_ms", start_deadline_ms),
        (admission, "start_deadline_ms", start_deadline_ms),
    ]


def _restart_from_disk() -> list[Patch]:
    """A master that starts believes the last instants that were written down."""

    def old_recall(tx: Any, now: Now) -> MasterState:
        found = load_state(tx, now)
        for machine in found.machines.values():
            for job_id, live in machine.live_attempts.items():
                tx.cursor.execute(
                    "SELECT coalesce(started_ms, leased_ms) FROM attempt"
                    f" WHERE job_id = {job_id:d} AND n = {live.n:d}"
                )
                # When its row was last written, as the steady clock stood then.
                ago_ms = now.wall_ms - tx.cursor.fetchone()[0]
                found.add_attempt(machine, job_id, live.with_renewal(now.steady_ms - ago_ms))
        return found

    return [(master_core, "load_state", old_recall)]


def _any_number() -> list[Patch]:
    """An end is taken for that of the job's present attempt, whatever its number."""
    frames = agents.FrameHandler
    handle, is_live = frames.handle, frames._is_live
    add_late_result = late_results.LateResults.add_result

    def handle_with_completions(self: Any, message: Any) -> None:
        self._late.completions = self._completions
        handle(self, message)

    def any_live(self: Any, machine: Machine, job_id: int, n: int, *, reject: bool = False) -> bool:
        any_number = not reject and job_id in machine.live_attempts
        return any_number or is_live(self, machine, job_id, n, reject=reject)

    def add_result(self: Any, machine: Machine, message: Any) -> None:
        for other in self._turn.state.machines.values():
            if (attempt := other.live_attempts.get(message.job)) is not None:
                message = msgspec.structs.replace(message, n=attempt.n)
                self.completions.record_end(other, message)
                return
        add_late_result(self, machine, message)

    return [
        (frames, "handle", handle_with_completions),
        (frames, "_is_live", any_live),
        (late_results.LateResults, "add_result", add_result),
    ]


def _boot_ids_forgotten() -> list[Patch]:
    """A master that starts no longer knows of which boot of its machine an attempt is."""
    after_reboot = agents.FrameHandler._end_previous_boot

    def forgetful(tx: Any, now: Now) -> MasterState:
        found = load_state(tx, now)
        for machine in found.machines.values():
            for job_id, live in machine.live_attempts.items():
                machine.live_attempts[job_id] = replace(live, boot_id="")
        return found

    def of_this_boot(self: Any, machine: Machine, held: Any) -> None:
        for job_id, live in machine.live_attempts.items():
            if not live.boot_id:
                machine.live_attempts[job_id] = replace(live, boot_id=machine.boot_id)
        after_reboot(self, machine, held)

    return [
        (master_core, "load_state", forgetful),
        (agents.FrameHandler, "_end_previous_boot", of_this_boot),
    ]


def _no_rate_margin() -> list[Patch]:
    """The master waits just as long as the lease is, by its own clock."""
    return [(lease, "EXPIRY_FACTOR", 1.0), (lease, "EXPIRY_MARGIN_S", 0.0)]


MUTANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    "regrant-without-note": _regrant_without_note,
    "lease-from-arrival": _lease_from_arrival,
    "no-kill-budget": _no_kill_budget,
    "late-grant-accepted": _late_grant_accepted,
    "restart-from-disk": _restart_from_disk,
    "any-number": _any_number,
    "boot-ids-forgotten": _boot_ids_forgotten,
    "no-rate-margin": _no_rate_margin,
}


@contextmanager
def applied(name: str) -> Iterator[None]:
    """With the mutant of this name in place of the rule; "" is the true code."""
    with ExitStack() as stack:
        for where, what, instead in MUTANTS[name]() if name else ():
            stack.enter_context(patch.object(where, what, instead))
        yield
