"""State of one attempt on its machine, and the phases of an attempt there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple

from mythjobs.agent.core.lease_terms import NO_TERMS, LeaseTerms
from mythjobs.agent.core.status import JobStatus
from mythjobs.model.command import RUN
from mythjobs.model.machine_control import NO_CONTROL, MachineControl
from mythjobs.protocol import messages as m
from mythjobs.protocol.run_spec import RunSpec

# Identifies an attempt: (job id, attempt number).
Key = tuple[int, int]
# Before the program's name: footprints of ad-hoc jobs, which all have the command `run`.
AD_HOC: Final = f"{RUN} "
# For each output stream: (bytes written, bytes kept from its start, bytes kept from its end).
OutputWindows = list[tuple[int, int, int]]


class JournalSnapshot(NamedTuple):
    """Content of the agent's journal: terms of granted attempts, attempts that must never start,
    and granted attempts that may have started before the machine restarted. control: whether the
    machine is drained or paused."""

    granted: Mapping[Key, LeaseTerms]
    never_start: Iterable[Key]
    maybe_started: Iterable[Key]
    control: MachineControl = NO_CONTROL


class Phase(IntEnum):
    """Phase of an attempt on its machine. Phases are not stored: a restarted agent derives them
    from the journals of agent and reapers."""

    FOUND = 0  # granted according to the agent's journal; unknown whether it has started
    WAITING = 1  # ready to start, waits for a slot
    NEXT = 2  # the start was sent to the reaper, for when another attempt ends
    STARTING = 3  # the start was sent to the reaper; the attempt takes a slot
    RUNNING = 4  # its process exists
    ENDED = 5  # its process is gone; its outcome is not yet durable
    REPORTING = 6  # its outcome is durable and is sent to the master until acknowledged
    NEVER_START = 7  # must never start here; the journal record of this is not yet durable
    RETURNED = 8  # its never-start record is durable; Returned is sent until acknowledged
    FORGOTTEN = 9  # no longer in the attempt table


# State of an attempt in heartbeats to the master, by phase. An attempt is reported as running until
# its outcome is durable: a power failure before then loses the outcome.
HEARTBEAT_STATES: Final = {
    Phase.FOUND: "leased",
    Phase.WAITING: "leased",
    Phase.NEXT: "leased",
    Phase.STARTING: "leased",
    Phase.RUNNING: "running",
    Phase.ENDED: "running",
    Phase.REPORTING: "ended",
    Phase.NEVER_START: "leased",
    Phase.RETURNED: "leased",
}


@dataclass(slots=True, eq=False)
class AgentAttempt:
    """The agent's state of one attempt, from the grant until the master has acknowledged the end
    and collected the output."""

    key: Key
    phase: Phase
    priority: int = 0
    # The command line and settings to start. None once the attempt runs, to save memory.
    run: RunSpec | None = None
    terms: LeaseTerms = NO_TERMS
    # What the attempt's usage is learned for: the command, or AD_HOC and the program. "" if an
    # earlier agent process started it.
    command: str = ""
    # Lease end last sent to the reaper and the journal. `terms.end_ms` may be later, because small
    # renewals are not sent.
    reaper_lease_end_ms: int = 0
    lease_stop_sent: bool = False
    # By whom it was stopped after its start was sent to the reaper; "" if it was not.
    stopped_by: str = ""
    # Freeze holders ("user", "pressure", "window") that the master requested, and those that the
    # reaper reports. The process tree is frozen while it has at least one holder.
    freeze_requests: frozenset[str] = frozenset()
    frozen_by: tuple[str, ...] = ()
    # Instant in ms of CLOCK_BOOTTIME after which the attempt must not be started any more.
    start_by_ms: int = 0
    reaper: str = ""
    started_ms: int | None = None
    start_acknowledged: bool = False
    end_acknowledged: bool = False
    # Why the attempt is returned to the master unstarted: a sentence for people, and a code.
    reason: str = ""
    code: str = ""
    missing: str = ""  # the path that cannot be read here
    status: JobStatus | None = None
    end: m.Ended | None = None
    # Numbers of the output streams whose kept bytes the master has yet to collect.
    pending_streams: set[int] | None = None
    output: Sequence[tuple[int, int, int]] = ()
    # Number of readers to notify of new output: the progress scanner, and each transfer that
    # follows the output.
    watchers: int = 0

    @property
    def progress_source(self) -> str:
        """How to read progress from the output: name of a preset, or `regex:…`; "" if progress is
        not read from the output."""
        return self.terms.progress

    @property
    def is_output_complete(self) -> bool:
        return self.phase in (Phase.ENDED, Phase.REPORTING, Phase.FORGOTTEN)
