"""Mutants: patches that break one rule each; the simulation must detect all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

import msgspec

from mythjobs.agent.core import core as agent_core
from mythjobs.agent.core import leases
from mythjobs.clock import Now
from mythjobs.master import core as master_core
from mythjobs.master.attempts import late_results
from mythjobs.master.handlers import agents
from mythjobs.master.machine import LiveAttempt, Machine
from mythjobs.master.state import MasterState, load_state
from mythjobs.protocol import lease_timing
from tests.simulation.change_mutants import CHANGE_MUTANTS
from tests.simulation.machine_mutants import MACHINE_MUTANTS
from tests.simulation.placement_mutants import PLACEMENT_MUTANTS

Patch = tuple[Any, str, Any]
_NEVER_S: Final = 1e9


def _regrant_without_note() -> list[Patch]:
    """A repeated grant does not renew the lease that the master records."""

    def with_grant(self: LiveAttempt, grant_no: int, arrived_ms: int) -> LiveAttempt:
        return replace(self, grant_no=grant_no)

    return [(LiveAttempt, "with_grant", with_grant)]


def _lease_from_arrival() -> list[Patch]:
    """The machine counts leases from the arrival of the response, not from its heartbeat."""
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
    """The machine starts to end an attempt only when the lease expires."""
    return [(lease_timing, "kill_start_ms", lambda end_ms, lease_s: end_ms)]


def _late_grant_accepted() -> list[Patch]:
    """A grant is started however late it arrives."""
    grant = agent_core.AgentCore._handle_grant

    def any_grant(self: Any, message: Any, now: Now) -> None:
        sent = self._sent_heartbeats
        if sent and message.hb not in sent:
            message = msgspec.structs.replace(message, hb=max(sent))
        grant(self, msgspec.structs.replace(message, start_by_s=_NEVER_S), now)

    return [(agent_core.AgentCore, "_handle_grant", any_grant)]


def _restart_from_disk() -> list[Patch]:
    """A restarted master counts leases from times in the store instead of its own start."""

    def load_with_stored_times(tx: Any, now: Now) -> MasterState:
        state = load_state(tx, now)
        for machine in state.machines.values():
            for job_id, live in machine.live_attempts.items():
                tx.cursor.execute(
                    "SELECT coalesce(started_ms, leased_ms) FROM attempt"
                    f" WHERE job_id = {job_id:d} AND n = {live.n:d}"
                )
                # Steady time of the last write to the row.
                age_ms = now.wall_ms - tx.cursor.fetchone()[0]
                state.add_attempt(
                    machine.machine_id, job_id, live.with_renewal(now.steady_ms - age_ms)
                )
        return state

    return [(master_core, "load_state", load_with_stored_times)]


def _any_number() -> list[Patch]:
    """An end applies to the job's current attempt, whatever its attempt number."""
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
    """A restarted master does not know in which boot of its machine an attempt started."""
    after_reboot = agents.FrameHandler._end_previous_boot

    def load_without_boot_ids(tx: Any, now: Now) -> MasterState:
        state = load_state(tx, now)
        for machine in state.machines.values():
            for job_id, live in machine.live_attempts.items():
                machine.live_attempts[job_id] = replace(live, boot_id="")
        return state

    def end_with_current_boot(self: Any, machine: Machine, held: Any) -> None:
        for job_id, live in machine.live_attempts.items():
            if not live.boot_id:
                machine.live_attempts[job_id] = replace(live, boot_id=machine.boot_id)
        after_reboot(self, machine, held)

    return [
        (master_core, "load_state", load_without_boot_ids),
        (agents.FrameHandler, "_end_previous_boot", end_with_current_boot),
    ]


def _no_rate_margin() -> list[Patch]:
    """The master expires a lease after its exact duration on the master's clock."""
    return [(lease_timing, "EXPIRY_FACTOR", 1.0), (lease_timing, "EXPIRY_MARGIN_S", 0.0)]


MUTANTS: Final[dict[str, Callable[[], list[Patch]]]] = {
    "regrant-without-note": _regrant_without_note,
    "lease-from-arrival": _lease_from_arrival,
    "no-kill-budget": _no_kill_budget,
    "late-grant-accepted": _late_grant_accepted,
    "restart-from-disk": _restart_from_disk,
    "any-number": _any_number,
    "boot-ids-forgotten": _boot_ids_forgotten,
    "no-rate-margin": _no_rate_margin,
    **PLACEMENT_MUTANTS,
    **CHANGE_MUTANTS,
    **MACHINE_MUTANTS,
}


@contextmanager
def applied(name: str) -> Iterator[None]:
    """Apply the patches of a mutant; "" applies none."""
    with ExitStack() as stack:
        for target, attribute, replacement in MUTANTS[name]() if name else ():
            stack.enter_context(patch.object(target, attribute, replacement))
        yield
