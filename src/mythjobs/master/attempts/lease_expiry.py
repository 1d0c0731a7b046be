"""Lease expiry: ends attempts of machines that are silent, or that a user declares dead."""

from __future__ import annotations

from mythjobs.clock import Now
from mythjobs.errors import BadRequest, Conflict
from mythjobs.master.attempts.completion import Completions
from mythjobs.master.machine import LiveAttempt, Machine
from mythjobs.master.requests import DeclareDead
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.outcome import Lost
from mythjobs.model.silence import HOLD, IDEMPOTENT
from mythjobs.model.units import humanize_duration
from mythjobs.protocol.lease_timing import expiry_after_ms, has_expired
from mythjobs.protocol.messages import SILENT_AFTER_S

_MAX_REASON = 500


def expire_leases(turn: TurnContext, completions: Completions, received_ms: int) -> None:
    """End the attempts whose lease has expired.

    received_ms: instant (monotonic clock) up to which all received frames have been handled.
    Leases that expire later are left alone: a heartbeat that renews them may be still unread.
    """
    state = turn.state
    if state.next_expiry_ms is None or state.next_expiry_ms > received_ms:
        return
    state.next_expiry_ms = None
    for machine in state.machines.values():
        for job_id, attempt in list(machine.live_attempts.items()):
            renewed_ms = attempt.renewed_ms
            if has_expired(renewed_ms, attempt.silence, attempt.lease_s, received_ms):
                why = f"no heartbeat from {machine.name} for {(received_ms - renewed_ms) // 1000} s"
                if attempt.silence == IDEMPOTENT:
                    why += "; the job may still run there, which its command allows"
                completions.record_loss(machine, job_id, Lost(why), "presumed: silent")
            else:
                state.schedule_expiry(attempt)


def describe_silence(machine: Machine, attempt: LiveAttempt, now: Now) -> str:
    """Return for how long no heartbeat has renewed an attempt's lease, and what happens next.

    Return "" up to SILENT_AFTER_S seconds without renewal.
    """
    silent_s = (now.steady_ms - attempt.renewed_ms) / 1000
    if silent_s <= SILENT_AFTER_S:
        return ""
    after_ms = expiry_after_ms(attempt.silence, attempt.lease_s)
    if after_ms is None:
        then = f"waits for {machine.name}, or for `mythjobs machine dead {machine.name}`"
    else:
        action = "held" if attempt.silence == HOLD else "run again"
        then = f"{action} after {humanize_duration(after_ms / 1000)} of silence"
    return f"no heartbeat for {humanize_duration(round(silent_s))}; {then}"


def declare_machine_dead(turn: TurnContext, request: DeclareDead) -> list[int]:
    """End all attempts of a machine that a user knows to be dead. Return their job ids.

    Raises NoSuchMachine, BadRequest without a reason, Conflict while the machine is connected.
    """
    machine = turn.state.open_named(request.name)
    if not request.reason.strip():
        raise BadRequest(
            f"cannot declare {machine.name} dead without a reason: its jobs run again elsewhere"
        )
    if machine.connection is not None:
        raise Conflict(
            f"machine {machine.name} is connected, so it is not dead; stop its agent's jobs with "
            "`mythjobs agent --stop-jobs`, or cancel them"
        )
    why = f"{request.by} declared {machine.name} dead: {request.reason[:_MAX_REASON]}"
    completions = Completions(turn)
    jobs = sorted(machine.live_attempts)
    for job_id in jobs:
        turn.add_event(job_id, machine.live_attempts[job_id].n, "declared_dead", why)
        completions.record_loss(machine, job_id, Lost(why), "presumed: declared_dead")
    completions.write()
    return jobs
