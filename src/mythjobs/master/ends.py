"""What the ends of attempts mean for their jobs, gathered over a turn and written at once."""

from __future__ import annotations

import json

from mythjobs.errors import ProtocolError
from mythjobs.master.memory import Live, Machine
from mythjobs.master.turn import Turn
from mythjobs.model import outcome as o
from mythjobs.model.command import Command
from mythjobs.model.life import FINAL, JobEvent, JobState, target
from mythjobs.model.limits import usage_from_json
from mythjobs.protocol.messages import Ended
from mythjobs.store import jobs, life, machines, readiness

# A job that was lost so often in a row may be what takes its machines down.
_MOST_LOSSES = 3


def verdict(outcome: o.Outcome, command: Command, stop_by: str | None) -> JobEvent:
    """What an end makes of the job. A stop that was asked for decides unless it came too late."""
    match outcome:
        case o.Exited(code) if code in command.success:
            return JobEvent.SUCCEEDED
        case _ if stop_by is not None:
            return JobEvent.CANCELLED
        case o.Lost() | o.Stopped():
            # Nobody asked for the job's end: it was its machine's, or an owner's who stopped all.
            return JobEvent.REQUEUED
        case _:
            return JobEvent.FAILED


class Ends:
    """Gathers starts, ends and progress of one turn. An attempt that began and ended within
    one turn is written once."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._starts: dict[int, life.Start] = {}
        self._ends: dict[int, life.End] = {}
        self._learned: set[tuple[int, int]] = set()  # (command, machine)
        self.progress: dict[tuple[int, int], tuple[int | None, str | None]] = {}

    def started(self, machine: Machine, job_id: int, at_ms: int) -> None:
        live = machine.live[job_id]
        if live.started_ms is None:
            self._starts[job_id] = life.Start(job_id, live.n, live.command_id, at_ms)
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
            self._turn.memory.learn(live.command_id, machine.machine_id, usage.wall_s)
            self._learned.add((live.command_id, machine.machine_id))
        self._close(
            machine,
            message.job,
            outcome,
            started_ms=message.started_ms,
            usage=json.dumps(message.usage),
            output=json.dumps(message.output) if message.output else "",
            evidence=message.proof or "observed",
        )

    def lost(self, machine: Machine, job_id: int, outcome: o.Lost) -> None:
        started_ms = machine.live[job_id].started_ms
        self._close(machine, job_id, outcome, started_ms=started_ms)

    def never_started(self, machine: Machine, job_id: int, outcome: o.NotStarted) -> None:
        """The machine has sworn never to start it: it is queued again, at no cost."""
        event = JobEvent.CANCELLED if machine.live[job_id].stop_by else JobEvent.RETURNED
        self._close(machine, job_id, outcome, event=event)

    def _close(
        self,
        machine: Machine,
        job_id: int,
        outcome: o.Outcome,
        *,
        event: JobEvent | None = None,
        started_ms: int | None = None,
        usage: str = "",
        output: str = "",
        evidence: str = "observed",
    ) -> None:
        turn = self._turn
        live = machine.live.pop(job_id)
        command = turn.book.job_class(turn.tx, live.class_id).command
        if event is None:
            event = verdict(outcome, command, live.stop_by)
        losses = live.losses + 1 if isinstance(outcome, o.Lost) else 0
        hold = int(event is JobEvent.REQUEUED and losses >= _MOST_LOSSES)
        code, sentence = _reason(outcome, event, live, hold)
        begun = self._starts.pop(job_id, None)
        was = JobState.RUNNING if live.started_ms is not None and not begun else JobState.LEASED
        if started_ms is None and begun is not None:
            started_ms = begun.at_ms
        if live.subject is not None:
            turn.subjects.add(live.subject)
        if event in (JobEvent.REQUEUED, JobEvent.RETURNED):
            turn.note(job_id, live.n, str(event), sentence)
        self._ends[job_id] = life.End(
            job_id,
            live.n,
            live.command_id,
            live.batch_id,
            was,
            event,
            started_ms,
            json.dumps(o.to_json(outcome)),
            usage,
            output,
            evidence,
            code,
            sentence,
            losses,
            hold,
        )

    def write(self) -> None:
        """Everything gathered, in as many statements as there are kinds of it."""
        turn = self._turn
        if self._starts:
            life.start(turn.tx, list(self._starts.values()))
        if self.progress:
            rows = [(job_id, n, *told) for (job_id, n), told in self.progress.items()]
            jobs.tell(turn.tx, rows)
        if self._ends:
            self._write_ends()

    def _write_ends(self) -> None:
        turn = self._turn
        ends = list(self._ends.values())
        life.end(turn.tx, ends, at_ms=turn.now.wall_ms)
        machines.learn(turn.tx, [(*each, *turn.memory.footprints[each]) for each in self._learned])
        turn.ended(
            {each.job_id: target(each.event) for each in ends if target(each.event) in FINAL}
        )
        again = [each.job_id for each in ends if target(each.event) not in FINAL]
        turn.wake(readiness.refresh(turn.tx, again))


def _reason(outcome: o.Outcome, event: JobEvent, live: Live, hold: int) -> tuple[str, str]:
    said = o.sentence(outcome)
    if hold:
        return "lost_often", f"lost {live.losses + 1} times in a row, so it is held; {said}"
    match event:
        case JobEvent.SUCCEEDED:
            return "", ""
        case JobEvent.CANCELLED:
            return "cancelled", f"cancelled by {live.stop_by}; {said}"
        case JobEvent.FAILED:
            return str(o.to_json(outcome)["kind"]), said
        case _:
            return "again", said
