"""Attempts whose machines are not heard of: presumed over when their time is, or by a person."""

from __future__ import annotations

from mythjobs.clock import Now
from mythjobs.errors import BadRequest, Conflict
from mythjobs.master.attempts.completion import Ends
from mythjobs.master.requests import DeclareDead
from mythjobs.master.state import Live, Machine
from mythjobs.master.turn_context import Turn
from mythjobs.model.outcome import Lost
from mythjobs.model.units import say_duration
from mythjobs.protocol.lease import HOLD, IDEMPOTENT, is_presumed_over, presumed_after_ms
from mythjobs.protocol.messages import SILENT_S

_MOST_REASON = 500


def expire(turn: Turn, ends: Ends, read_ms: int) -> None:
    """Presumes over what was not heard of for too long.

    `read_ms`: everything that had arrived by this instant (steady) has been handled. Time in
    which the master itself stood still and read nothing is no machine's silence.
    """
    memory = turn.memory
    if memory.next_expiry_ms is None or memory.next_expiry_ms > read_ms:
        return
    memory.next_expiry_ms = None
    for machine in memory.machines.values():
        for job_id, live in list(machine.live.items()):
            if is_presumed_over(live.arrived_ms, live.silence, live.lease_s, read_ms):
                silent_s = (read_ms - live.arrived_ms) // 1000
                why = f"{machine.name} was not heard of for {silent_s} s"
                if live.silence == IDEMPOTENT:
                    why += "; it may still run there, which its command allows"
                ends.lost(machine, job_id, Lost(why), "presumed: silent")
            else:
                memory.expect(live)


def told(machine: Machine, live: Live, now: Now) -> str:
    """How long an attempt was not heard of, and what becomes of it; "" while that is usual."""
    silent_s = (now.steady_ms - live.arrived_ms) / 1000
    if silent_s <= SILENT_S:
        return ""
    after_ms = presumed_after_ms(live.silence, live.lease_s)
    if after_ms is None:
        wait = f"it waits for {machine.name}, or for `mythjobs machine dead {machine.name}`"
    else:
        what = "held for a person" if live.silence == HOLD else "begun again"
        wait = f"{what} after {say_duration(after_ms / 1000)} of silence"
    return f"which was not heard of for {say_duration(round(silent_s))}; {wait}"


def declare_dead(turn: Turn, request: DeclareDead) -> list[int]:
    """A person knows that this machine runs nothing any more. Answers the jobs it had.

    Raises NoSuchMachine, BadRequest, Conflict while the machine is connected.
    """
    machine = turn.memory.machine(request.name)
    if not request.reason.strip():
        raise BadRequest("say why it is dead: its jobs are begun again on your word")
    if machine.connection is not None:
        raise Conflict(
            f"machine {machine.name} is connected, so it is not dead; stop its agent's jobs with "
            "`mythjobs agent --stop-jobs`, or cancel them"
        )
    why = f"{request.by} declared {machine.name} dead: {request.reason[:_MOST_REASON]}"
    ends = Ends(turn)
    jobs = sorted(machine.live)
    for job_id in jobs:
        turn.note(job_id, machine.live[job_id].n, "declared_dead", why)
        ends.lost(machine, job_id, Lost(why), "presumed: declared_dead")
    ends.write()
    return jobs
