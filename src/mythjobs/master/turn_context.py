"""Context of a turn: its transaction, its time, the draft of the state, messages to send."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mythjobs.clock import Now
from mythjobs.master.catalog import Catalog
from mythjobs.master.isolation import Problem, Unit
from mythjobs.master.placement.fit_cache import FitCache
from mythjobs.master.state import Machine, MasterState
from mythjobs.model.life import JobState
from mythjobs.protocol.messages import MasterMessage
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import dependencies, events, job_state, jobs, readiness


@dataclass(slots=True)
class TurnContext:
    """Argument of every function of the core. Nothing takes effect before the commit."""

    tx: Transaction
    now: Now
    state: MasterState
    catalog: Catalog
    fits: FitCache = field(default_factory=FitCache)
    # Published after the commit.
    outgoing: dict[int, list[MasterMessage]] = field(default_factory=dict)  # by connection
    acks: dict[int, int] = field(default_factory=dict)  # last frame, by connection
    ended: list[int] = field(default_factory=list)  # jobs that reached a final state
    held: list[int] = field(default_factory=list)  # jobs that were held in this turn
    # Collected over the turn and written by flush().
    events: list[events.Event] = field(default_factory=list)
    changed_subjects: set[str] = field(default_factory=set)
    placed: dict[int, str] = field(default_factory=dict)  # machine name, by job
    wait_reasons: dict[int, tuple[str, str]] = field(default_factory=dict)  # by class
    # (machine, job): granted on an earlier connection, and lost with that connection.
    regrants: list[tuple[int, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)  # errors that were handled, for the log
    working_on: Unit | None = None  # the unit at fault if the turn raises

    def send(self, machine: Machine, message: MasterMessage) -> None:
        assert machine.connection is not None
        self.outgoing.setdefault(machine.connection, []).append(message)

    def add_event(self, job_id: int, n: int, kind: str, detail: str = "") -> None:
        self.events.append(events.Event(job_id, n, self.now.wall_ms, kind, detail))

    def recheck(self, classes: set[int]) -> None:
        """Have the placement pass read the ready jobs of these classes again."""
        self.state.classes_to_recheck |= classes

    def allocate_ids(self, count: int) -> int:
        """Return the first of `count` consecutive job ids that were never used before."""
        first = self.state.next_job_id
        self.state.next_job_id += count
        jobs.save_next_id(self.tx, self.state.next_job_id)
        return first

    def cancel_queued(
        self, job_ids: list[int], sentence: Callable[[int], str], code: str = "cancelled"
    ) -> set[int]:
        """Cancel those jobs that are queued, and dependents that can never run."""
        cancelled = self._cancel_rows(job_ids, sentence, code)
        self.record_final(dict.fromkeys(cancelled, JobState.CANCELLED))
        return cancelled

    def _cancel_rows(
        self, job_ids: list[int], sentence: Callable[[int], str], code: str
    ) -> set[int]:
        cancelled: set[int] = set()
        for job_id in job_ids:
            found = job_state.cancel_queued(
                self.tx, [job_id], code=code, sentence=sentence(job_id), at_ms=self.now.wall_ms
            )
            cancelled |= {each.job_id for each in found}
            self.changed_subjects |= {each.subject for each in found if each.subject is not None}
        return cancelled

    def record_final(self, states: dict[int, JobState]) -> None:
        """Record jobs that reached a final state, and resolve the jobs that depend on them.

        Dependents that can never run are cancelled.
        """
        self.ended.extend(states)
        if not states or not self.state.has_open_dependencies:
            return
        # Cancelled dependents have dependents too; such a chain has no maximum length.
        while states:
            freed, never = dependencies.resolve_ended(self.tx, states)
            dependencies.mark_all_met(self.tx, list(states))
            self.recheck(readiness.refresh(self.tx, freed))
            why = {
                job_id: f"the job depends on job {on}, which is {states[on]}"
                for job_id, on in never.items()
            }
            cancelled = self._cancel_rows(list(never), why.__getitem__, "dependency_failed")
            states = dict.fromkeys(cancelled, JobState.CANCELLED)
            self.ended.extend(states)
        self.state.has_open_dependencies = dependencies.has_unmet(self.tx)

    def flush(self) -> None:
        """Write what the turn has collected, each kind in one statement."""
        if self.changed_subjects:
            self.recheck(readiness.refresh_subjects(self.tx, self.changed_subjects))
            self.changed_subjects.clear()
        if self.events:
            events.add(self.tx, self.events)
            self.events.clear()
