"""One turn: its transaction, its instant, the draft of the memory, and what it will say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mythjobs.clock import Now
from mythjobs.master.catalog import Book
from mythjobs.master.state import Memory
from mythjobs.model.life import JobState
from mythjobs.protocol.messages import MasterMessage, Stale
from mythjobs.store.statement import Transaction
from mythjobs.store.writes import dependencies, events, job_state, jobs, readiness


@dataclass(slots=True)
class Turn:
    """What the functions of the core work on. Nothing of it takes effect before the commit."""

    tx: Transaction
    now: Now
    memory: Memory
    book: Book
    # What leaves after the commit.
    said: dict[int, list[MasterMessage]] = field(default_factory=dict)
    acks: dict[int, int] = field(default_factory=dict)
    over: list[int] = field(default_factory=list)
    # What is gathered for one statement at the turn's end.
    events: list[events.Event] = field(default_factory=list)
    subjects: set[str] = field(default_factory=set)
    placed: dict[int, str] = field(default_factory=dict)
    reasons: dict[int, tuple[str, str]] = field(default_factory=dict)  # by class, for submits
    # (machine, job): granted on an earlier connection that broke, and to be granted again.
    again: list[tuple[int, int]] = field(default_factory=list)

    def say(self, connection: int, message: MasterMessage) -> None:
        self.said.setdefault(connection, []).append(message)

    def stale(self, connection: int, job_id: int, n: int) -> None:
        """The machine has nothing more to do with this attempt."""
        self.say(connection, Stale(job_id, n))

    def note(self, job_id: int, n: int, kind: str, detail: str = "") -> None:
        self.events.append(events.Event(job_id, n, self.now.wall_ms, kind, detail))

    def wake(self, classes: set[int]) -> None:
        self.memory.waking |= classes

    def take_ids(self, count: int) -> int:
        """The first of `count` consecutive job numbers that nobody had before."""
        first = self.memory.next_job_id
        self.memory.next_job_id += count
        jobs.save_next_id(self.tx, self.memory.next_job_id)
        return first

    def cancel_queued(
        self, job_ids: list[int], sentence: Callable[[int], str], code: str = "cancelled"
    ) -> set[int]:
        """Cancels those that are queued, with all that wait for them in vain."""
        done = self._cancel(job_ids, sentence, code)
        self.ended(dict.fromkeys(done, JobState.CANCELLED))
        return done

    def _cancel(self, job_ids: list[int], sentence: Callable[[int], str], code: str) -> set[int]:
        done: set[int] = set()
        for job_id in job_ids:
            found = job_state.cancel_queued(
                self.tx, [job_id], code=code, sentence=sentence(job_id), at_ms=self.now.wall_ms
            )
            done |= {each.job_id for each in found}
            self.subjects |= {each.subject for each in found if each.subject is not None}
        return done

    def ended(self, states: dict[int, JobState]) -> None:
        """These jobs are over for good: tells who waits for them, and cancels who waits in vain."""
        self.over.extend(states)
        if not states or not self.memory.open_dependencies:
            return
        # Who waits in vain is over as well; a chain of such jobs may be as long as it likes.
        while states:
            freed, vain = dependencies.over(self.tx, states)
            dependencies.close(self.tx, list(states))
            self.wake(readiness.refresh(self.tx, freed))
            why = {
                job_id: f"job {on}, which it waits for, is {states[on]}"
                for job_id, on in vain.items()
            }
            cancelled = self._cancel(list(vain), why.__getitem__, "dependency_failed")
            states = dict.fromkeys(cancelled, JobState.CANCELLED)
            self.over.extend(states)
        self.memory.open_dependencies = dependencies.any_open(self.tx)

    def finish(self) -> None:
        """What is written once for the whole turn."""
        if self.subjects:
            self.wake(readiness.settle(self.tx, self.subjects))
            self.subjects.clear()
        if self.events:
            events.add(self.tx, self.events)
            self.events.clear()
