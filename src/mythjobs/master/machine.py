"""In-memory state of one machine at the master: its settings, connection and live attempts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, Literal, TypeVar

from mythjobs.model.limits import Limits
from mythjobs.model.machine_control import NO_CONTROL, MachineControl
from mythjobs.model.machine_policy import MachinePolicy, Rights
from mythjobs.model.own_policy import NO_OWN_POLICY, OwnPolicy
from mythjobs.model.progress_track import ProgressTrack
from mythjobs.model.silence import KEEP
from mythjobs.model.window import Hours
from mythjobs.protocol.lease_timing import expiry_after_ms
from mythjobs.protocol.scaling import Headroom, LoadReport, MachineDescription
from mythjobs.scheduler.capacity import automatic_slots
from mythjobs.scheduler.eligibility import MachineFacts

# Name of the holder of a freeze that a machine requested because of its load.
PRESSURE_HOLDER: Final = "pressure"

T = TypeVar("T")


def make_copier(of: type[T]) -> Callable[[T], T]:
    """Return a function that copies instances of a dataclass with slots.

    dataclasses.replace() inspects every field at each call, which took a tenth of a turn's time.
    """
    values: Callable[[Any], tuple[Any, ...]] = attrgetter(*of.__slots__)  # type: ignore[attr-defined]
    return lambda original: of(*values(original))


@dataclass(slots=True)
class LiveAttempt:
    """An attempt that is leased to a machine.

    Instances are replaced, never changed, so that drafts of the state can share them. The
    with_…() methods return changed copies, faster than dataclasses.replace().
    """

    n: int
    class_id: int
    command_id: int
    batch_id: int | None
    priority: int
    subject: str | None
    started_ms: int | None = None
    stop_requested_by: str | None = None
    losses: int = 0
    failures: int = 0
    boot_id: str = ""  # boot of the machine at the lease; a later boot has ended the attempt
    silence: str = KEEP  # silence policy
    lease_s: float | None = None  # duration of the lease; None: the lease does not expire
    leased_ms: int = 0  # wall clock
    # The following fields are not stored.
    renewed_ms: int = 0  # arrival of the last heartbeat that listed the attempt (monotonic clock)
    grant_no: int = 0  # number of the grant on the current connection; 0: on an earlier connection
    frozen_by: tuple[str, ...] = ()  # holders of the freeze, as the machine reported them
    progress: ProgressTrack | None = None  # None: nothing reported, and never frozen
    # Run windows and limits last sent to the machine on the current connection; "?": none sent.
    sent_hours: Hours | Literal["?"] | None = "?"
    sent_limits: Limits | Literal["?"] = "?"

    def with_start(self, at_ms: int) -> LiveAttempt:
        copy = _copy_attempt(self)
        copy.started_ms = at_ms
        return copy

    def with_renewal(self, arrived_ms: int) -> LiveAttempt:
        copy = _copy_attempt(self)
        copy.renewed_ms = arrived_ms
        return copy

    def with_progress(self, progress: ProgressTrack) -> LiveAttempt:
        copy = _copy_attempt(self)
        copy.progress = progress
        return copy

    def with_grant(self, grant_no: int, arrived_ms: int) -> LiveAttempt:
        copy = _copy_attempt(self)
        copy.grant_no, copy.renewed_ms = grant_no, arrived_ms
        return copy

    @property
    def expires_ms(self) -> int | None:
        """Instant (monotonic clock) at which the lease expires unless renewed; None: never."""
        after_ms = expiry_after_ms(self.silence, self.lease_s)
        return None if after_ms is None else self.renewed_ms + after_ms


_copy_attempt = make_copier(LiveAttempt)


@dataclass(slots=True)
class Machine:
    """A machine: its stored row, its connection if it has one, and its live attempts."""

    machine_id: int
    name: str
    key: str
    rights: Rights
    policy_jobs: int | None  # maximum number of jobs at once by policy; None: one per core
    cores: int
    boot_id: str
    connection: int | None = None
    incarnation: str = ""
    past_incarnations: tuple[str, ...] = ()  # of earlier agents with its key, the newest last
    heartbeat_no: int = 0  # last heartbeat on this connection; 0: none yet, so send no grant
    last_grant_no: int = 0  # number of the last grant sent on this connection
    reported_free: int | None = None  # free slots by its last frame; None: none on this connection
    has_scaling: bool = False  # its measurements decide how many jobs it runs
    # What the machine has room for and its load, by its last reports on this connection.
    headroom: Headroom | None = None
    headroom_seen: int = 0  # number of the last grant that `headroom` takes into account
    load: LoadReport | None = None
    known_footprints: frozenset[str] = frozenset()  # commands of which it knows a footprint
    # What it can do, by its last report, also of an earlier connection.
    description: MachineDescription = MachineDescription()
    found_labels: frozenset[str] = frozenset()  # of `description`
    is_draining: bool = False  # its agent finishes the running jobs and returns every grant
    has_left: bool = False  # it closed its connection itself, and has no jobs
    last_frame_ms: int = 0  # arrival of the last frame (monotonic clock)
    zone: str = ""  # time zone that the agent reported
    clock_skew_ms: int = 0  # the machine's wall clock minus the master's, at the last heartbeat
    capabilities: frozenset[str] = frozenset()  # as listed in the agent's last hello
    policy: MachinePolicy = field(default_factory=MachinePolicy)  # without `rights` and `jobs`
    own: OwnPolicy = NO_OWN_POLICY  # the machine's own policy, as in the agent's last hello
    is_revoked: bool = False  # its key is refused
    control: MachineControl = NO_CONTROL  # drained or paused
    temporary_jobs: int | None = None  # from `mythjobs up --jobs N`; overrides policy_jobs
    live_attempts: dict[int, LiveAttempt] = field(default_factory=dict)  # by job id

    @property
    def max_jobs(self) -> int:
        jobs = self.policy_jobs if self.temporary_jobs is None else self.temporary_jobs
        if jobs is None:
            jobs = automatic_slots(self.cores) if self.has_scaling else self.cores
        return jobs if self.own.jobs is None else min(jobs, self.own.jobs)

    @property
    def is_limited_by_load(self) -> bool:
        """Whether the machine alone decides how many jobs it runs, because no user set a limit."""
        limits = (self.temporary_jobs, self.policy_jobs, self.own.jobs)
        return self.has_scaling and all(each is None for each in limits)

    @property
    def expected_jobs(self) -> int:
        """Number of jobs that the machine is expected to run at once, for forecasts."""
        return min(self.max_jobs, max(self.cores, len(self.live_attempts)))

    @property
    def is_listed(self) -> bool:
        """A revoked machine is listed as long as attempts on it are not known to have ended."""
        return not self.is_revoked or bool(self.live_attempts)

    @property
    def labels(self) -> set[str]:
        """Labels that jobs can require: of the settings, and found ones that these permit."""
        return {*self.found_labels - {*self.policy.no_labels}, *self.policy.labels}

    @property
    def is_ready(self) -> bool:
        """Whether its agent is connected and would start jobs."""
        return self.heartbeat_no > 0 and not self.is_draining

    @property
    def accepts_grants(self) -> bool:
        return self.is_ready and self.control.accepts_jobs

    def is_frozen(self, attempt: LiveAttempt) -> bool:
        """Return whether an attempt on this machine is known to be frozen.

        While the machine is disconnected, and until its next heartbeat, this is unknown, and the
        result is False.
        """
        return bool(attempt.frozen_by) and self.heartbeat_no > 0

    def facts(self) -> MachineFacts:
        return MachineFacts(
            self.name,
            self.rights,
            self.is_ready,
            self.max_jobs,
            len(self.live_attempts),
            self.machine_id,
            self.policy,
            self.policy.zone or self.zone,
            self.capabilities,
            self.clock_skew_ms,
            self.own.rights,
            self.headroom.reasons if self.headroom else {},
            self.found_labels,
            self.control,
        )

    def draft(self) -> Machine:
        copy = _copy_machine(self)
        copy.live_attempts = dict(self.live_attempts)
        return copy


_copy_machine = make_copier(Machine)
