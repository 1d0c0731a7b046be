"""In-memory state of the master between turns: machines, live attempts, run times, timers.

The size of the state does not depend on the backlog, and all of it can be reloaded from the
store. A turn changes a draft (a copy), which replaces the state after the commit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any, Final, Literal, NamedTuple, TypeVar

import msgspec

from mythjobs.clock import Now
from mythjobs.errors import DefinitionError, machine_not_found
from mythjobs.master.isolation import Problem, SetAside, Unit
from mythjobs.master.notify.notify_state import NotifyState, load_notify_state
from mythjobs.master.placement.cache import PlacementCache
from mythjobs.master.schedule_state import KnownSchedules
from mythjobs.model.limits import Limits
from mythjobs.model.machine_control import NO_CONTROL, MachineControl
from mythjobs.model.machine_policy import (
    ALLOW_NOTHING,
    MachinePolicy,
    Rights,
    policy_from_table,
)
from mythjobs.model.own_policy import NO_OWN_POLICY, OwnPolicy
from mythjobs.model.progress_track import ProgressTrack
from mythjobs.model.silence import KEEP
from mythjobs.model.window import Hours
from mythjobs.protocol.lease_timing import expiry_after_ms
from mythjobs.protocol.scaling import Headroom, LoadReport, MachineDescription
from mythjobs.scheduler.capacity import automatic_slots
from mythjobs.scheduler.eligibility import MachineFacts
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import (
    commands,
    deadlines,
    dependencies,
    jobs,
    machines,
    overrides,
    readiness,
    semaphores,
)

# Number of runs after which the mean run time of a command on a machine is used.
MIN_RUNS: Final = 3
# Minimum weight of the newest run in a mean run time, so that the mean follows a change.
_MIN_WEIGHT: Final = 0.2
# Name of the holder of a freeze that a user requested (the job is paused).
USER_HOLDER: Final = "user"
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


class Deferral(NamedTuple):
    """Deferral of a command: none of its jobs starts before `until_ms` (wall clock)."""

    until_ms: int
    reason: str


@dataclass(slots=True)
class MasterState:
    machines: dict[int, Machine] = field(default_factory=dict)
    # Ids of job classes that may have new ready jobs, which the placement pass has to read.
    classes_to_recheck: set[int] = field(default_factory=set)
    # Number of runs and mean run time in µs, by (command id, machine id).
    run_times: dict[tuple[int, int], tuple[int, int]] = field(default_factory=dict)
    next_job_id: int = 1
    has_open_dependencies: bool = False
    has_upkeep: bool = True  # table `upkeep`, with work recorded for later turns, may have rows
    next_due_ms: int | None = None  # time (wall clock) at which the next timer fires
    next_expiry_ms: int | None = None  # no lease expires before this time (monotonic)
    deferrals: dict[int, Deferral] = field(default_factory=dict)  # by command id
    set_aside: dict[Unit, SetAside] = field(default_factory=dict)  # the dict is never changed
    problems: tuple[Problem, ...] = ()  # found by load_state(), for the log
    placement: PlacementCache = field(default_factory=PlacementCache)
    notify: NotifyState = field(default_factory=NotifyState)
    schedules: KnownSchedules = field(default_factory=KnownSchedules)  # replaced, never changed
    schedule_clocks: Now | None = None  # clocks at the last turn that looked at the schedules

    def draft(self) -> MasterState:
        copy = _copy_state(self)
        copy.machines = {key: each.draft() for key, each in self.machines.items()}
        copy.classes_to_recheck = set(self.classes_to_recheck)
        copy.run_times = dict(self.run_times)
        copy.deferrals = dict(self.deferrals)
        copy.placement = self.placement.draft()
        return copy

    def add_attempt(self, machine: Machine, job_id: int, attempt: LiveAttempt) -> None:
        machine.live_attempts[job_id] = attempt
        self.schedule_expiry(attempt)

    def schedule_expiry(self, attempt: LiveAttempt) -> None:
        expires_ms = attempt.expires_ms
        if expires_ms is not None:
            self.next_expiry_ms = min(self.next_expiry_ms or expires_ms, expires_ms)

    def schedule_turn(self, wall_ms: int) -> None:
        """Have the timers run at `wall_ms`, or earlier if another timer fires before."""
        self.next_due_ms = min(self.next_due_ms or wall_ms, wall_ms)

    def find_machine(self, name: str) -> Machine:
        """Return the machine with this name. Raises NoSuchMachine."""
        for each in self.machines.values():
            if each.name == name:
                return each
        raise machine_not_found(name)

    def machine_on_connection(self, connection: int) -> Machine | None:
        machines = self.machines.values()
        return next((each for each in machines if each.connection == connection), None)

    def typical_s(self, command_id: int, machine_id: int) -> float | None:
        """Return the mean run time of a command on a machine; None before MIN_RUNS runs."""
        runs, wall_us = self.run_times.get((command_id, machine_id), (0, 0))
        return wall_us / 1e6 if runs >= MIN_RUNS else None

    def record_run_time(self, command_id: int, machine_id: int, wall_s: float) -> None:
        runs, old_us = self.run_times.get((command_id, machine_id), (0, 0))
        wall_us = round(wall_s * 1e6)
        weight = max(_MIN_WEIGHT, 1 / (runs + 1))
        mean_us = round(old_us + weight * (wall_us - old_us))
        self.run_times[command_id, machine_id] = (runs + 1, mean_us)


_copy_state = make_copier(MasterState)


def load_state(tx: Transaction, now: Now) -> MasterState:
    """Load the master's state, except schedules, from the store, at the start of the master.

    The store does not record renewals of leases. Every lease counts as renewed now, so that no
    lease expires at the master before it expires at its machine.
    """
    state = MasterState(
        classes_to_recheck=readiness.read_ready_classes(tx),
        run_times=machines.read_footprints(tx),
        next_job_id=jobs.read_next_id(tx),
        has_open_dependencies=dependencies.has_unmet(tx),
        next_due_ms=readiness.find_next_due_ms(tx),
        deferrals={each: Deferral(at, why) for each, at, why in commands.read_put_off(tx)},
        notify=load_notify_state(tx),
    )
    rows = machines.read_all(tx)
    overrides.remove_expired(tx, now.wall_ms)
    state.placement.overrides = {
        (each.machine_id, each.command_id): (each.kind, each.until_ms)
        for each in overrides.read_all(tx)
    }
    state.placement.semaphore_sizes = semaphores.read_all(tx)
    state.placement.freed_by_freeze = semaphores.read_free_when_frozen(tx)
    state.placement.disabled = frozenset(commands.read_disabled(tx))
    times = [each.until_ms for each in state.deferrals.values()]
    times += [each.pause_until_ms for each in rows if each.paused and each.pause_until_ms]
    if state.notify.next_due_ms is not None:
        times.append(state.notify.next_due_ms)
    deadline_ms = deadlines.find_next_ms(tx, 0)
    for each_ms in times if deadline_ms is None else [*times, deadline_ms]:
        state.schedule_turn(each_ms)
    problems = []
    for found in rows:
        try:
            state.machines[found.machine_id] = machine_from_row(found)
        except (ValueError, TypeError, KeyError, AttributeError, DefinitionError) as error:
            what = f"machine {found.name} runs nothing, as its settings cannot be read"
            problems.append(Problem(what, error))
            unreadable = found._replace(rights=ALLOW_NOTHING.to_json(), settings="{}")
            state.machines[found.machine_id] = machine_from_row(unreadable)
    state.problems = tuple(problems)
    for row in machines.read_live_attempts(tx):
        attempt = LiveAttempt(
            row.n,
            row.class_id,
            row.command_id,
            row.batch_id,
            row.priority,
            row.subject,
            row.started_ms,
            row.stop_requested,
            row.losses,
            row.failures,
            row.boot_id,
            row.silence,
            row.lease_s,
            row.leased_ms,
            renewed_ms=now.steady_ms,
            frozen_by=(USER_HOLDER,) if row.paused else (),
        )
        state.add_attempt(state.machines[row.machine_id], row.job_id, attempt)
    return state


def machine_from_row(row: machines.MachineRow) -> Machine:
    description = msgspec.json.decode(row.description or "{}", type=MachineDescription)
    return Machine(
        row.machine_id,
        row.name,
        row.key,
        Rights.from_json(row.rights),
        row.jobs,
        row.cores,
        row.boot_id,
        zone=row.zone,
        policy=policy_from_table(json.loads(row.settings), known_zone=False),
        is_revoked=row.revoked_ms is not None,
        description=description,
        found_labels=frozenset(description.labels),
        control=MachineControl(bool(row.drained), bool(row.paused), row.pause_until_ms),
    )
