"""State of one attempt on its machine, and the phases of an attempt there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple

from mythjobs.agent.core.lease_terms import NO_TERMS, LeaseTerms
from mythjobs.agent.core.status import JobStatus
from mythjobs.protocol import messages as m

# (job id, attempt number).
Key = tuple[int, int]
# By stream: (bytes written, bytes kept of the head, bytes kept of the tail).
OutputWindows = list[tuple[int, int, int]]


class JournalSnapshot(NamedTuple):
    """Content of the agent's journal: terms of granted attempts, attempts barred from starting,
    and granted attempts that may have started before the machine restarted."""

    granted: Mapping[Key, LeaseTerms]
    never_start: Iterable[Key]
    maybe_started: Iterable[Key]


class Phase(IntEnum):
    """Phase of an attempt. Phases are not stored: a new agent derives them from the journals."""

    FOUND = 0  # granted according to the journal; only the reapers know what followed
    WAITING = 1  # ready to start, waits for a slot
    STARTING = 2  # sent to the reaper; takes a slot
    RUNNING = 3  # its process exists
    ENDED = 4  # its process is gone; the outcome is not yet durable
    REPORTING = 5  # the outcome is durable and sent to the master until acknowledged
    NEVER_START = 6  # will not be started; the journal record is not yet durable
    RETURNED = 7  # the record is durable; the return is sent until acknowledged
    FORGOTTEN = 8


# State in heartbeats. An attempt counts as running until its outcome is durable: a power cut
# before that loses the outcome.
HEARTBEAT_STATES: Final = {
    Phase.FOUND: "leased",
    Phase.WAITING: "leased",
    Phase.STARTING: "leased",
    Phase.RUNNING: "running",
    Phase.ENDED: "running",
    Phase.REPORTING: "ended",
    Phase.NEVER_START: "leased",
    Phase.RETURNED: "leased",
}


@dataclass(slots=True, eq=False)
class AgentAttempt:
    """What the agent knows of one attempt, from its grant to the last acknowledgement."""

    key: Key
    phase: Phase
    priority: int = 0
    # Dropped once the attempt runs: only `terms.progress` is needed from then on.
    run: m.RunSpec | None = None
    terms: LeaseTerms = NO_TERMS
    # Lease end known to the reaper and the journal. `terms.end_ms` may be later.
    reaper_lease_end_ms: int = 0
    lease_stop_sent: bool = False
    # Holders that asked for a freeze, and holders that the reaper reports.
    freeze_requests: set[str] = field(default_factory=set)
    frozen_by: tuple[str, ...] = ()
    # On the steady clock.
    start_by_ms: int = 0
    reaper: str = ""
    started_ms: int | None = None
    start_acknowledged: bool = False
    end_acknowledged: bool = False
    # Why the attempt is returned: a sentence for people, and a code for the master.
    reason: str = ""
    code: str = ""
    status: JobStatus | None = None
    end: m.Ended | None = None
    # Streams whose kept bytes the master has yet to collect. None: there are none.
    pending_streams: set[int] | None = None
    output: OutputWindows = field(default_factory=list)
    # How many need updates on new output: the progress scanner and following transfers.
    watchers: int = 0

    @property
    def progress_source(self) -> str:
        """How to read progress from the output: a preset or `regex:…`. "" if not from output."""
        return self.terms.progress

    @property
    def is_output_complete(self) -> bool:
        return self.phase in (Phase.ENDED, Phase.REPORTING, Phase.FORGOTTEN)
