"""What the ends of attempts mean for their jobs, gathered over a turn and written at once."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Final

import msgspec

from mythjobs.errors import ProtocolError
from mythjobs.master.attempts.retry import Past, Verdict, as_paused, judge, returned
from mythjobs.master.handlers.pausing import USER
from mythjobs.master.state import Live, Machine, PutOff
from mythjobs.master.turn_context import Turn
from mythjobs.model import outcome as o
from mythjobs.model.life import FINAL, JobEvent, JobState, target
from mythjobs.model.limits import usage_from_json
from mythjobs.protocol.messages import Ended
from mythjobs.store.writes import commands, job_state, jobs, machines, readiness

_encode: Final = msgspec.json.Encoder().encode


class Ends:
    """Gathers starts, ends and progress of one turn. An attempt that began and ended within
    one turn is written once."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._starts: dict[int, job_state.Start] = {}
        self._ends: dict[int, job_state.End] = {}
        self._learned: set[tuple[int, int]] = set()  # (command, machine)
        self.progress: dict[tuple[int, int], tuple[int | None, str | None]] = {}

    def started(self, machine: Machine, job_id: int, at_ms: int) -> None:
        live = machine.live[job_id]
        if live.started_ms is None:
            self._starts[job_id] = job_state.Start(job_id, live.n, live.command_id, at_ms)
            machine.live[job_id] = live.with_start(at_ms)

    def ended(self, machine: Machine, message: Ended) -> None:
        """Raises ProtocolError for what is no outcome or no usage."""
        try:
            outcome = o.from_json(message.outcome)
            usage = usage_from_json(dict(message.usage))
        except ValueError as error:
            raise ProtocolError(f"end of job {message.job}: {error}") from None
        live = machine.live[message.job]
        if isinstance(outcome, o.Exited) and message.started_ms is not None:
            active_s = usage.wall_s - usage.frozen_s
            self._turn.memory.learn(live.command_id, machine.machine_id, active_s)
            self._learned.add((live.command_id, machine.machine_id))
        self._close(
            machine,
            message.job,
            outcome,
            self._judge(message.job, live, outcome, message.later),
            started_ms=message.started_ms,
            usage=_encode(message.usage).decode(),
            output=_encode(message.output).decode() if message.output else "",
            evidence=message.proof or "observed",
        )

    def lost(self, machine: Machine, job_id: int, outcome: o.Lost, evidence: str) -> None:
        """Its end was not seen. `evidence` is how it is known, or presumed, to be over."""
        verdict = self._judge(job_id, machine.live[job_id], outcome)
        self._close(machine, job_id, outcome, verdict, evidence=evidence)

    def never_started(
        self, machine: Machine, job_id: int, outcome: o.NotStarted, *, closed: bool = False
    ) -> None:
        """The machine has sworn never to start it: it is queued again, at no cost. closed: and is
        not offered this for a while, so that the job itself need not wait."""
        past = _past(job_id, machine.live[job_id])
        verdict = returned(past, o.sentence(outcome), at_once=closed)
        self._close(machine, job_id, outcome, verdict)

    def _judge(self, job_id: int, live: Live, outcome: o.Outcome, later: str = "") -> Verdict:
        command = self._turn.book.job_class(self._turn.tx, live.class_id).command
        return judge(outcome, command, _past(job_id, live), later)

    def _close(
        self,
        machine: Machine,
        job_id: int,
        outcome: o.Outcome,
        verdict: Verdict,
        *,
        started_ms: int | None = None,
        usage: str = "",
        output: str = "",
        evidence: str = "observed",
    ) -> None:
        turn = self._turn
        live = machine.live.pop(job_id)
        begun = self._starts.pop(job_id, None)
        was = JobState.RUNNING if live.started_ms is not None and not begun else JobState.LEASED
        if live.subject is not None:
            turn.subjects.add(live.subject)
        if verdict.event is JobEvent.REQUEUED and USER in live.frozen:
            verdict = as_paused(verdict)
        if verdict.event in (JobEvent.REQUEUED, JobEvent.RETURNED):
            turn.note(job_id, live.n, str(verdict.event), verdict.sentence)
        if verdict.put_off:
            self._put_off(live.command_id, verdict)
        self._ends[job_id] = job_state.End(
            job_id,
            live.n,
            live.command_id,
            live.batch_id,
            was,
            verdict.event,
            live.started_ms if started_ms is None else started_ms,
            _stored(outcome),
            usage,
            output,
            evidence,
            verdict.code,
            verdict.sentence,
            verdict.losses,
            verdict.hold,
            verdict.failed,
            self._not_before(verdict),
        )

    def _not_before(self, verdict: Verdict) -> int | None:
        if not verdict.wait_s:
            return None
        at_ms = self._turn.now.wall_ms + int(verdict.wait_s * 1000)
        self._turn.memory.due(at_ms)
        return at_ms

    def _put_off(self, command_id: int, verdict: Verdict) -> None:
        until_ms = self._not_before(verdict)
        there = self._turn.memory.put_off.get(command_id)
        if until_ms is None or (there is not None and there.until_ms >= until_ms):
            return
        self._turn.memory.put_off[command_id] = PutOff(until_ms, verdict.sentence)
        commands.put_off(self._turn.tx, command_id, until_ms, verdict.sentence)

    def write(self) -> None:
        """Everything gathered, in as many statements as there are kinds of it."""
        turn = self._turn
        if self._starts:
            job_state.start(turn.tx, list(self._starts.values()))
        if self.progress:
            rows = [(job_id, n, *told) for (job_id, n), told in self.progress.items()]
            jobs.tell(turn.tx, rows)
        if self._ends:
            self._write_ends()

    def _write_ends(self) -> None:
        turn = self._turn
        ends = list(self._ends.values())
        job_state.end(turn.tx, ends, at_ms=turn.now.wall_ms)
        machines.learn(turn.tx, [(*each, *turn.memory.footprints[each]) for each in self._learned])
        turn.ended(
            {each.job_id: target(each.event) for each in ends if target(each.event) in FINAL}
        )
        again = [each.job_id for each in ends if target(each.event) not in FINAL]
        turn.wake(readiness.refresh(turn.tx, again))


@lru_cache(256)
def _stored(outcome: o.Outcome) -> str:
    """As text; most jobs of a busy queue end in one of a few ways."""
    return json.dumps(o.to_json(outcome))


def _past(job_id: int, live: Live) -> Past:
    return Past(job_id, live.n, live.failures, live.losses, live.stop_by, live.silence)
