"""The master's core: one batch of what arrived in, what to say and remember out. Never waits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.errors import MythJobsError
from mythjobs.master import requests
from mythjobs.master.attempts import lease_expiry, timers
from mythjobs.master.attempts.completion import Ends
from mythjobs.master.attempts.late_results import Late
from mythjobs.master.catalog import Book
from mythjobs.master.explain.job import explain_new
from mythjobs.master.handlers import agents, jobs, machines, pausing
from mythjobs.master.handlers.submit import batch_slice, begin_batch, drop_batch, submit
from mythjobs.master.placement.scheduler import place
from mythjobs.master.state import Memory, recall
from mythjobs.master.turn_context import Turn
from mythjobs.protocol.messages import MasterMessage
from mythjobs.store.statement import Transaction
from mythjobs.store.writes import batches, commands
from mythjobs.store.writes.machines import EVERYTHING, NOTHING
from mythjobs.store.writes.prune import prune

# A slice of upkeep shares its turn with everything else; it must stay short.
_UPKEEP_JOBS: Final = 500


@dataclass(slots=True)
class Result:
    """What takes effect once the turn is committed. `answers` are by place in the batch."""

    memory: Memory
    answers: dict[int, Any] = field(default_factory=dict)
    said: dict[int, list[MasterMessage]] = field(default_factory=dict)
    acks: dict[int, int] = field(default_factory=dict)
    over: list[int] = field(default_factory=list)


class Core:
    """Holds the memory between turns. `allow_local`: our own machine may run every command when it
    joins; `local_jobs` is how many at once in this run."""

    def __init__(self, *, allow_local: bool, local_jobs: int | None) -> None:
        self._rights = EVERYTHING if allow_local else NOTHING
        self._jobs = local_jobs
        self.memory = Memory()
        self.book = Book()

    def load(self, tx: Transaction, now: Now) -> None:
        """What a start does first: half-loaded batches go, the memory is read."""
        commands.ensure_run(tx, at_ms=now.wall_ms)
        batches.drop_unopened(tx)
        self.memory = recall(tx, now)

    def turn(
        self, tx: Transaction, batch: Sequence[requests.Request | requests.Message], now: Now
    ) -> Result:
        """Handles everything that arrived together, in order, and places what can run.

        A request that cannot be carried out is answered with its MythJobsError and has
        changed nothing. Any other exception means that the whole turn must be rolled back.
        """
        turn = Turn(tx, now, self.memory.draft(), self.book)
        answers = self._machines(turn, batch)
        submitted: dict[int, tuple[int, bool]] = {}
        for number, each in enumerate(batch):
            if isinstance(each, requests.Message | requests.Attach):
                continue
            try:
                answers[number] = self._answer(turn, each)
            except MythJobsError as error:
                answers[number] = error
                continue
            if isinstance(each, requests.SubmitJob):
                submitted[number] = answers[number]
        self._upkeep(turn)
        self._due(turn)
        turn.finish()
        place(turn)
        turn.finish()
        for number, (job_id, new) in submitted.items():
            answers[number] = explain_new(turn, job_id, new)
        return Result(turn.memory, answers, turn.said, turn.acks, turn.over)

    def _machines(
        self, turn: Turn, batch: Sequence[requests.Request | requests.Message]
    ) -> dict[int, Any]:
        """What machines said and how they came and went, in that order. Answers who came."""
        ends, late = Ends(turn), Late(turn)
        answers: dict[int, Any] = {}
        read_ms = 0
        for number, each in enumerate(batch):
            match each:
                case requests.AgentSaid():
                    agents.said(turn, each, ends, late)
                case requests.Detached():
                    agents.detached(turn, each)
                case requests.Tick():
                    read_ms = max(read_ms, each.read_ms)
                case requests.Attach():
                    try:
                        answers[number] = agents.attach(
                            turn, each, rights=self._rights, jobs=self._jobs
                        )
                    except MythJobsError as error:
                        answers[number] = error
        # Only now: what has arrived is read before anything is given up.
        lease_expiry.expire(turn, ends, read_ms)
        ends.write()
        late.write()
        return answers

    def _answer(self, turn: Turn, request: requests.Request) -> Any:
        match request:
            case requests.SubmitJob():
                return submit(turn, request)
            case requests.BatchSlice():
                return batch_slice(turn, request)
            case requests.BeginBatch():
                return begin_batch(turn, request)
            case requests.DropBatch():
                return drop_batch(turn, request)
            case requests.CancelJobs():
                return jobs.cancel(turn, request)
            case requests.HoldJobs():
                return jobs.hold(turn, request)
            case requests.ReleaseJobs():
                return jobs.release(turn, request)
            case requests.RerunJobs():
                return jobs.rerun(turn, request)
            case requests.Define():
                return jobs.define(turn, request)
            case requests.RemoveCommand():
                return jobs.remove(turn, request)
            case requests.SetMachine():
                return jobs.set_machine(turn, request)
            case requests.EditMachine():
                return machines.edit_machine(turn, request)
            case requests.OverrideHours():
                return machines.override_hours(turn, request)
            case requests.SetSemaphore():
                return machines.set_semaphore(turn, request)
            case requests.EnableCommand():
                return machines.enable_command(turn, request)
            case requests.DeclareDead():
                return lease_expiry.declare_dead(turn, request)
            case requests.FreezeJobs():
                return pausing.freeze(turn, request)
            case requests.PruneJobs(before_ms, states, above, most):
                return prune(turn.tx, before_ms=before_ms, states=states, above=above, most=most)
            case requests.Attach():
                raise AssertionError("machines come before anything else of a turn")

    def _upkeep(self, turn: Turn) -> None:
        if not turn.memory.upkeep:
            return
        work = batches.next_upkeep(turn.tx)
        if work is None:
            turn.memory.upkeep = False
            return
        for class_id, subject in batches.open_slice(turn.tx, work, _UPKEEP_JOBS):
            turn.memory.waking.add(class_id)
            # Their time, or their deadline, may have come while they were made ready.
            turn.memory.due(turn.now.wall_ms)
            if subject is not None:
                turn.subjects.add(subject)

    def _due(self, turn: Turn) -> None:
        due_ms = turn.memory.next_due_ms
        if due_ms is not None and due_ms <= turn.now.wall_ms:
            timers.come(turn)
