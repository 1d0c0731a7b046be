"""Master core: handles a list of requests and messages in one turn, without network I/O."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from mythjobs.clock import Now
from mythjobs.errors import MythJobsError
from mythjobs.master import requests
from mythjobs.master.attempts import lease_expiry, timers
from mythjobs.master.attempts.completion import Completions
from mythjobs.master.attempts.late_results import LateResults
from mythjobs.master.catalog import Catalog
from mythjobs.master.explain.job import explain_submitted
from mythjobs.master.handlers import (
    agents,
    attachment,
    commands,
    jobs,
    joining,
    machines,
    retention,
)
from mythjobs.master.handlers.batches import begin_batch, drop_batch, insert_slice
from mythjobs.master.handlers.job_settings import set_jobs
from mythjobs.master.handlers.reruns import rerun_jobs
from mythjobs.master.handlers.submit import submit_job
from mythjobs.master.isolation import OwnWork, Problem, SetAside, Unit, describe_error
from mythjobs.master.metrics.observation import Observation
from mythjobs.master.notify import handlers as notify
from mythjobs.master.notify.requests import ConditionsFound
from mythjobs.master.notify.turn_notify import process_incidents
from mythjobs.master.placement.fit_cache import FitCache
from mythjobs.master.placement.placement_pass import place_ready_jobs
from mythjobs.master.schedule_state import load_schedules
from mythjobs.master.schedules import handlers
from mythjobs.master.schedules import requests as schedule_requests
from mythjobs.master.schedules.backfill import backfill_schedule
from mythjobs.master.schedules.evaluation import run_schedules
from mythjobs.master.schedules.settlement import settle_ended
from mythjobs.master.state import MasterState, load_state
from mythjobs.master.turn_context import TurnContext
from mythjobs.master.upkeep import run_upkeep
from mythjobs.model.machine_policy import ALLOW_ALL, ALLOW_NOTHING
from mythjobs.protocol.messages import MasterMessage
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches
from mythjobs.store.writes.commands import ensure_run_command


@dataclass(slots=True)
class TurnResult:
    """Result of a turn: the new state, and responses and messages to send after the commit.

    responses: by index of the request in the list that the turn handled.
    """

    state: MasterState
    responses: dict[int, Any] = field(default_factory=dict)
    outgoing: dict[int, list[MasterMessage]] = field(default_factory=dict)
    acks: dict[int, int] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    held: list[int] = field(default_factory=list)
    has_messages: bool = False
    observations: list[Observation] | None = None


class MasterCore:
    """Holds the master's state between turns, and runs turns.

    allow_local: the master's own machine is allowed to run every command when it first joins.
    local_jobs: maximum number of jobs at once on that machine, until this process ends.
    zone: time zone of schedules that name none; "" is UTC.
    """

    def __init__(self, *, allow_local: bool, local_jobs: int | None, zone: str = "") -> None:
        self._zone = zone
        self._local_rights = (ALLOW_ALL if allow_local else ALLOW_NOTHING).to_json()
        self._local_jobs = local_jobs
        self.state = MasterState()
        self.catalog = Catalog()
        self.fits = FitCache()
        self.is_measured = False  # turns make observations for metrics, from the first scrape on
        self._failed_unit: Unit | None = None  # unit at which the last turn raised an exception

    def measure(self) -> None:
        """Have turns make observations for metrics from now on."""
        self.is_measured = True

    def load(self, tx: Transaction, now: Now) -> None:
        """Load the state from the store; delete batches whose submit was never completed."""
        ensure_run_command(tx, at_ms=now.wall_ms)
        batches.drop_unopened(tx)
        self.state = load_state(tx, now)
        self.state.schedules = load_schedules(tx, self._zone, now.wall_ms)
        if self.state.schedules.by_id:
            self.state.schedule_turn(now.wall_ms)  # some ticks may have been missed

    def clear_caches(self) -> None:
        """Clear the caches, which may have rows that a rolled-back turn had inserted."""
        self.catalog.clear()
        self.fits.clear()

    def run_turn(
        self,
        tx: Transaction,
        batch: Sequence[requests.Request | requests.Message],
        now: Now,
        work: OwnWork = OwnWork.ALL,
    ) -> TurnResult:
        """Handle requests and messages, then do the master's own work, such as placing jobs.

        batch: requests and messages. Those about machines' connections are handled first; within
        each of the two groups the order is kept.

        A request that raises a MythJobsError has changed nothing; the error is its response. After
        any other exception the caller must roll the turn back; set_failed_unit_aside() then tells
        which unit (such as a job class) was at fault, if that is known.
        """
        turn = TurnContext(tx, now, self.state.draft(), self.catalog, self.fits)
        if self.is_measured:
            turn.observations = []
        self._failed_unit = None
        try:
            return self._run(turn, batch, work)
        except Exception:
            self._failed_unit = turn.working_on
            raise

    def set_failed_unit_aside(self, error: Exception, now: Now) -> Unit | None:
        """Exclude the unit at which the last turn failed (such as a job class) from later turns.

        Return the unit, or None if it is unknown, or failed although it was already set aside.
        """
        unit = self._failed_unit
        if unit is None or unit in self.state.set_aside:
            return None
        self.state.set_aside = self.state.set_aside | {
            unit: SetAside(now.wall_ms, describe_error(error))
        }
        return unit

    def _run(
        self,
        turn: TurnContext,
        batch: Sequence[requests.Request | requests.Message],
        work: OwnWork,
    ) -> TurnResult:
        responses = self._handle_machines(turn, batch)
        submitted: dict[int, tuple[int, bool]] = {}
        for number, each in enumerate(batch):
            if isinstance(each, _OF_MACHINES):
                continue
            if not isinstance(each, requests.SubmitJob):
                turn.flush_new_jobs()
            try:
                responses[number] = _HANDLERS[type(each)](turn, each)
            except MythJobsError as error:
                responses[number] = error
                continue
            if isinstance(each, requests.SubmitJob):
                submitted[number] = responses[number]
        is_all = work is OwnWork.ALL  # the usual case, in which no flag is computed: 2 µs each
        has_schedules = turn.state.schedules.by_id and (is_all or work & OwnWork.SCHEDULES)
        if has_schedules or not is_all or _changes_jobs(turn):
            turn.flush_new_jobs()
        # Otherwise placement inserts the new jobs, those that start now already leased.
        if is_all or work & OwnWork.UPKEEP:
            run_upkeep(turn)
        if has_schedules:
            run_schedules(turn, all_open=not is_all)
            turn.flush_new_jobs()
        if is_all or work & OwnWork.TIMERS:
            self._run_timers(turn, work)
        if has_schedules:
            settle_ended(turn, all_open=False)  # jobs that were cancelled at their deadlines
            turn.flush_new_jobs()
        turn.flush()
        if is_all or work & OwnWork.PLACEMENT:
            place_ready_jobs(turn, each_alone=work == OwnWork.PLACEMENT)
            turn.flush_new_jobs()
            turn.flush()
        for number, (job_id, new) in submitted.items():
            responses[number] = explain_submitted(turn, job_id, new, work)
        self._record_unreadable_classes(turn)
        process_incidents(turn, work)
        return TurnResult(
            turn.state,
            responses,
            turn.outgoing,
            turn.acks,
            turn.ended,
            turn.problems,
            turn.held,
            turn.has_messages,
            turn.observations,
        )

    def _record_unreadable_classes(self, turn: TurnContext) -> None:
        for each in self.catalog.take_unreadable():
            assert each.error is not None
            unit = Unit("class", each.class_id)
            if unit not in turn.state.set_aside:
                what = f"set aside class {each.class_id} of {each.command.name}: unreadable"
                turn.problems.append(Problem(what, each.error))
                aside = SetAside(turn.now.wall_ms, describe_error(each.error))
                turn.state.set_aside = turn.state.set_aside | {unit: aside}

    def _handle_machines(
        self, turn: TurnContext, batch: Sequence[requests.Request | requests.Message]
    ) -> dict[int, Any]:
        """Handle agents' frames, attach requests and detaches in order, then expire leases.

        Return the responses to attach requests, by index in `batch`.
        """
        if all(type(each) in _HANDLERS for each in batch):
            return {}
        completions, late = Completions(turn), LateResults(turn)
        frames = agents.FrameHandler(turn, completions, late)
        responses: dict[int, Any] = {}
        received_ms = 0
        for number, each in enumerate(batch):
            match each:
                case requests.FrameReceived():
                    frames.handle(each)
                case requests.Detached():
                    agents.detach_machine(turn, each)
                case requests.FailedMessage():
                    frames.handle_failed(each)
                case ConditionsFound():
                    notify.record_conditions(turn, each)
                case requests.LeaseTick():
                    received_ms = max(received_ms, each.received_ms)
                case requests.Attach():
                    try:
                        responses[number] = attachment.attach_machine(
                            turn, each, rights=self._local_rights, jobs=self._local_jobs
                        )
                    except MythJobsError as error:
                        responses[number] = error
        # Expire leases only after all received frames, because a heartbeat may renew a lease.
        lease_expiry.expire_leases(turn, completions, received_ms)
        completions.write()
        late.write()
        return responses

    def _run_timers(self, turn: TurnContext, work: OwnWork) -> None:
        if _is_timer_due(turn):
            timers.run_due(turn, work & OwnWork.TIMERS)


def _is_timer_due(turn: TurnContext) -> bool:
    due_ms = turn.state.next_due_ms
    return due_ms is not None and due_ms <= turn.now.wall_ms


def _changes_jobs(turn: TurnContext) -> bool:
    """Return whether upkeep, a timer or a changed subject reads and changes jobs in the store."""
    return turn.state.has_upkeep or bool(turn.changed_subjects) or _is_timer_due(turn)


# Inputs about machines' connections, which a turn handles before all others.
_OF_MACHINES: Final = (requests.Message, requests.Attach)
_HANDLERS: Final[dict[type[requests.Request], Callable[[TurnContext, Any], Any]]] = {
    requests.SubmitJob: submit_job,
    requests.BatchSlice: insert_slice,
    requests.BeginBatch: begin_batch,
    requests.DropBatch: drop_batch,
    requests.CancelJobs: jobs.cancel_jobs,
    requests.SetPriority: jobs.set_priority,
    requests.SetJobs: set_jobs,
    requests.HoldJobs: jobs.hold_jobs,
    requests.ReleaseJobs: jobs.release_jobs,
    requests.RerunJobs: rerun_jobs,
    requests.FreezeJobs: jobs.freeze_jobs,
    requests.DefineCommand: commands.define_command,
    requests.RemoveCommand: commands.remove_command,
    requests.EnableCommand: commands.enable_command,
    requests.SetMachine: machines.set_machine,
    requests.ControlMachine: machines.control_machine,
    requests.InviteMachine: joining.invite_machine,
    requests.AcceptInvitation: joining.accept_invitation,
    requests.ApproveMachine: joining.approve_machine,
    requests.RenameMachine: joining.rename_machine,
    requests.RevokeMachine: joining.revoke_machine,
    requests.EditMachine: machines.edit_machine,
    requests.OverrideHours: machines.override_hours,
    requests.SetSemaphore: machines.set_semaphore,
    requests.DeclareDead: lease_expiry.declare_machine_dead,
    requests.DeleteJobs: retention.delete_jobs,
    requests.DiscardOutput: retention.delete_output,
    requests.DeleteAttempts: retention.delete_attempts,
    requests.BeginClassSweep: retention.begin_class_sweep,
    requests.DeleteClasses: retention.delete_classes,
    **notify.HANDLERS,
    schedule_requests.DefineSchedule: handlers.define_schedule,
    schedule_requests.RemoveSchedule: handlers.remove_schedule,
    schedule_requests.PauseSchedule: handlers.pause_schedule,
    schedule_requests.RunSchedule: handlers.run_now,
    schedule_requests.BackfillSchedule: backfill_schedule,
}
