"""Context of a turn: its transaction, its time, the draft of the state, messages to send.

A turn is one transaction that handles everything received since the last commit.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Final

from mythjobs.clock import Now
from mythjobs.master.catalog import Catalog
from mythjobs.master.isolation import Problem, Unit
from mythjobs.master.machine import Machine
from mythjobs.master.metrics.observation import Observation
from mythjobs.master.placement.fit_cache import FitCache
from mythjobs.master.state import Deferral, MasterState
from mythjobs.model.heartbeat_url import HeartbeatCall
from mythjobs.model.incident import Incident
from mythjobs.model.life import JobState
from mythjobs.model.units import MAX_WALL_MS
from mythjobs.model.zone import format_zoned_time
from mythjobs.protocol.compatibility import NEEDED_CAPABILITIES
from mythjobs.protocol.messages import MasterMessage
from mythjobs.scheduler.blocked import describe_unmet
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import (
    commands,
    dependencies,
    events,
    job_state,
    jobs,
    readiness,
    upkeep,
)
from mythjobs.store.writes.upkeep import UpkeepKind

# Maximum number of dependencies that one turn resolves, to keep turns short. Dependencies
# beyond this maximum are recorded as upkeep for later turns.
MAX_RESOLVED: Final = 250


@dataclass(slots=True)
class TurnContext:
    """Argument of all functions that work in a turn. No change takes effect before the commit."""

    tx: Transaction
    now: Now
    state: MasterState
    catalog: Catalog
    fits: FitCache = field(default_factory=FitCache)
    # `outgoing`, `acks`, `ended` and `held` are sent or published after the commit.
    outgoing: dict[int, list[MasterMessage]] = field(default_factory=dict)  # by connection id
    acks: dict[int, int] = field(default_factory=dict)  # number of last frame by connection id
    ended: list[int] = field(default_factory=list)  # jobs that reached a final state
    held: list[int] = field(default_factory=list)  # jobs that were held in this turn
    # `events` and `changed_subjects` are collected during the turn and handled by flush().
    events: list[events.Event] = field(default_factory=list)
    changed_subjects: set[str] = field(default_factory=set)
    # Submitted jobs that are not inserted yet: by placement, already leased, or flush_new_jobs().
    new_jobs: list[jobs.NewJob] = field(default_factory=list)
    has_new_ids: bool = False  # job ids were allocated that the store does not know yet
    placed: dict[int, str] = field(default_factory=dict)  # leased jobs: machine name by job id
    wait_reasons: dict[int, tuple[str, str]] = field(default_factory=dict)  # by class id
    # (machine id, job id) of grants that were lost with an earlier connection: to be sent again.
    regrants: list[tuple[int, int]] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)  # handled errors, to be logged
    # Stored by notify/turn_notify.py at the end of the turn.
    incidents: list[Incident] = field(default_factory=list)
    heartbeat_calls: list[HeartbeatCall] = field(default_factory=list)
    observations: list[Observation] | None = None  # for metrics; None: nobody reads metrics
    has_messages: bool = False  # messages to channels were stored, or their next try was changed
    resolved: int = 0  # number of dependencies resolved in this turn, see MAX_RESOLVED
    working_on: Unit | None = None  # unit that is at fault if the turn raises an exception

    def format_time(self, at_ms: int) -> str:
        """Return an instant in the master's time zone, as messages to users name it."""
        if not 0 <= at_ms <= MAX_WALL_MS:
            return f"{at_ms} ms since 1970"
        return format_zoned_time(at_ms, self.state.schedules.zone)

    def send(self, machine: Machine, message: MasterMessage) -> None:
        """Send a message after the commit, unless the machine's agent is too old to know it."""
        assert machine.connection is not None
        needed = NEEDED_CAPABILITIES.get(type(message))
        if needed is not None and needed not in machine.capabilities:
            return
        self.outgoing.setdefault(machine.connection, []).append(message)

    def add_event(self, job_id: int, n: int, kind: str, detail: str = "") -> None:
        self.events.append(events.Event(job_id, n, self.now.wall_ms, kind, detail))

    def defer_command(self, command_id: int, until_ms: int, why: str) -> None:
        """Start no job of a command before `until_ms`, in place of an earlier deferral."""
        self.state.deferrals[command_id] = Deferral(until_ms, why)
        commands.put_off(self.tx, command_id, until_ms, why)
        self.state.schedule_turn(until_ms)

    def recheck(self, classes: set[int]) -> None:
        """Have the next placement pass read the ready jobs of these job classes again."""
        self.state.classes_to_recheck |= classes

    def allocate_ids(self, count: int) -> int:
        """Return the first of `count` consecutive job ids that were never used before.

        The turn stores the next id once, in flush_new_jobs().
        """
        first = self.state.next_job_id
        self.state.next_job_id += count
        self.has_new_ids = True
        return first

    def take_new_jobs(self, job_ids: Container[int]) -> list[jobs.NewJob]:
        """Return those of the given jobs that are not inserted yet; the caller inserts them."""
        taken = [each for each in self.new_jobs if each.job_id in job_ids]
        if taken:
            self.new_jobs = [each for each in self.new_jobs if each.job_id not in job_ids]
        return taken

    def flush_new_jobs(self) -> None:
        """Insert the jobs submitted so far in one statement, and store the next job id.

        Call it before reading or changing jobs in the store.
        """
        if self.has_new_ids:
            jobs.save_next_id(self.tx, self.state.next_job_id)
            self.has_new_ids = False
        if self.new_jobs:
            jobs.add(self.tx, self.new_jobs)
            self.new_jobs.clear()

    def cancel_queued(
        self, job_ids: list[int], sentence: Callable[[int], str], code: str = "cancelled"
    ) -> set[int]:
        """Cancel the given jobs that are queued, and jobs that can never run without them.

        Return the ids of the given jobs that were cancelled.
        """
        cancelled = self._cancel_rows(job_ids, sentence, code)
        self.record_final(dict.fromkeys(cancelled, JobState.CANCELLED))
        return cancelled

    def _cancel_rows(
        self, job_ids: list[int], sentence: Callable[[int], str], code: str
    ) -> set[int]:
        by_sentence: dict[str, list[int]] = {}
        for job_id in job_ids:
            by_sentence.setdefault(sentence(job_id), []).append(job_id)
        cancelled: set[int] = set()
        for text, some in by_sentence.items():
            found = job_state.cancel_queued(
                self.tx, some, code=code, sentence=text, at_ms=self.now.wall_ms
            )
            cancelled |= {each.job_id for each in found}
            self.changed_subjects |= {each.subject for each in found if each.subject is not None}
        return cancelled

    def record_final(self, states: dict[int, JobState]) -> None:
        """Record jobs that reached a final state, and resolve the dependencies on them.

        Also cancel jobs that depend on them in a way that can never be met now.
        """
        self.ended.extend(states)
        if states and self.state.has_open_dependencies:
            self.resolve_dependents(states)

    def resolve_dependents(self, states: dict[int, JobState]) -> None:
        """Resolve dependencies on ended jobs, at most MAX_RESOLVED in a turn.

        Dependencies beyond this maximum are recorded as upkeep for later turns.
        """
        # Loop, as dependent jobs that are cancelled have dependents too, in chains of any length.
        while states:
            # A job in another final state has run, so all its dependencies were met.
            if any(each is JobState.CANCELLED for each in states.values()):
                dependencies.pass_on(self.tx, states.keys())
            resolved = dependencies.resolve_ended(
                self.tx, states, limit=max(0, MAX_RESOLVED - self.resolved)
            )
            self.resolved += resolved.found
            dependencies.mark_all_met(self.tx, list(states))
            self.recheck(readiness.refresh(self.tx, resolved.freed))
            if self.resolved >= MAX_RESOLVED:
                for job_id in dependencies.find_unresolved(self.tx, list(states)):
                    upkeep.add(self.tx, UpkeepKind.RESOLVE, job_id, job_id)
                    self.state.has_upkeep = True
            why = {job_id: describe_unmet(on, states[on]) for job_id, on in resolved.never.items()}
            cancelled = self._cancel_rows(list(why), why.__getitem__, "dependency_failed")
            states = dict.fromkeys(cancelled, JobState.CANCELLED)
            self.ended.extend(states)
        self.state.has_open_dependencies = dependencies.has_unmet(self.tx)

    def flush(self) -> None:
        """Write the collected events; update which jobs about the changed subjects are ready."""
        if self.changed_subjects:
            self.recheck(readiness.refresh_subjects(self.tx, self.changed_subjects))
            self.changed_subjects.clear()
        if self.events:
            events.add(self.tx, self.events)
            self.events.clear()
