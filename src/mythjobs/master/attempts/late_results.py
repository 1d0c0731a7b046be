"""Words about attempts that are over: adopted where nobody began the job again, else stale."""

from __future__ import annotations

import json

from mythjobs.errors import ProtocolError
from mythjobs.master.attempts.retry import Past, judge
from mythjobs.master.state import Machine
from mythjobs.master.turn_context import Turn
from mythjobs.model import outcome as o
from mythjobs.model.life import FINAL, JobEvent, JobState, target
from mythjobs.protocol.messages import Ended
from mythjobs.store.writes import job_state, late_results

# Ends that were not ours. One that we forced says nothing of what the command would have done.
_BY_ITSELF = (o.Exited, o.Signalled)


class Late:
    """Gathers what a turn was told of attempts that are not live, and settles it once their jobs
    stand where this turn put them."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._ended: list[tuple[Machine, Ended]] = []
        self._stale: dict[tuple[int, int, int], Machine] = {}

    def ended(self, machine: Machine, message: Ended) -> None:
        self._ended.append((machine, message))

    def stale(self, machine: Machine, job_id: int, n: int) -> None:
        """It is told to stop this one. What it said changes nothing, and is written down."""
        key = (machine.machine_id, job_id, n)
        if key not in self._stale:
            assert machine.connection is not None
            self._turn.stale(machine.connection, job_id, n)
            self._stale[key] = machine

    def write(self) -> None:
        keys = [(each.job, each.n) for _, each in self._ended]
        keys += [(job_id, n) for _, job_id, n in self._stale]
        if not keys:
            return
        old = late_results.old(self._turn.tx, keys)
        for (_, job_id, n), machine in self._stale.items():
            found = old.get((job_id, n))
            # A machine can only have been given what stands there; others' numbers are not
            # worth a row.
            if found is not None and found.machine_id == machine.machine_id:
                self._turn.note(job_id, n, "stale", f"{machine.name} still had it")
        over: dict[int, JobState] = {}
        for machine, message in self._ended:
            found = old.get((message.job, message.n))
            if found is None or found.machine_id != machine.machine_id or not found.presumed:
                continue  # told before: the frame's ack answers it
            event = self._settle(machine, message, found)
            if event is not None and target(event) in FINAL:
                over[message.job] = target(event)
        self._turn.ended(over)

    def _settle(self, machine: Machine, message: Ended, old: late_results.Old) -> JobEvent | None:
        """T8 of a job's life; None where the end comes too late to change anything."""
        turn = self._turn
        try:
            outcome = o.from_json(message.outcome)
        except ValueError as error:
            raise ProtocolError(f"end of job {message.job}: {error}") from None
        defined = turn.book.job_class(turn.tx, old.class_id)
        past = Past(old.job_id, old.n, old.failures, 0, old.stop_requested, old.silence)
        said = judge(outcome, defined.command, past, message.later)
        free = old.state == JobState.QUEUED and old.last_n == old.n
        adopted = free and isinstance(outcome, _BY_ITSELF) and target(said.event) in FINAL
        end = job_state.End(
            old.job_id,
            old.n,
            old.command_id,
            old.batch_id,
            old.state,
            said.event,
            message.started_ms,
            json.dumps(o.to_json(outcome)),
            json.dumps(message.usage),
            json.dumps(message.output) if message.output else "",
            late_results.ADOPTED if adopted else late_results.TOO_LATE,
            said.code,
            said.sentence,
        )
        how = o.sentence(outcome)
        if not adopted:
            late_results.retell(turn.tx, end)
            turn.note(old.job_id, old.n, "late", f"{machine.name} told its end too late: {how}")
            return None
        late_results.adopt(turn.tx, end, at_ms=turn.now.wall_ms)
        turn.note(old.job_id, old.n, "adopted", f"{machine.name} was heard of again: {how}")
        if old.subject is not None:
            turn.subjects.add(old.subject)
        return said.event
