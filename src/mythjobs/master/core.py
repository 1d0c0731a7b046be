"""Master core: handles one batch of requests and messages per turn. Never blocks, sends nothing."""

from __future__ import annotations

from collections.abc import Sequence
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
from mythjobs.master.handlers import agents, commands, jobs, machines
from mythjobs.master.handlers.batches import begin_batch, drop_batch, insert_slice
from mythjobs.master.handlers.submit import submit_job
from mythjobs.master.placement.fit_cache import FitCache
from mythjobs.master.placement.scheduler import place_ready_jobs
from mythjobs.master.state import MasterState, load_state
from mythjobs.master.turn_context import TurnContext
from mythjobs.model.machine_policy import ALLOW_ALL, ALLOW_NOTHING
from mythjobs.protocol.messages import MasterMessage
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import batches
from mythjobs.store.writes.commands import ensure_run_command
from mythjobs.store.writes.prune import prune

# Jobs of an opened batch made ready per turn: the turn serves everything else too.
_UPKEEP_JOBS: Final = 500


@dataclass(slots=True)
class TurnResult:
    """What takes effect once the turn is committed. `responses` are by index in the batch."""

    state: MasterState
    responses: dict[int, Any] = field(default_factory=dict)
    outgoing: dict[int, list[MasterMessage]] = field(default_factory=dict)
    acks: dict[int, int] = field(default_factory=dict)
    ended: list[int] = field(default_factory=list)


class MasterCore:
    """Holds the state between turns.

    allow_local: the machine of the master itself may run every command when it joins.
    local_jobs: most jobs at once on that machine while this process runs.
    """

    def __init__(self, *, allow_local: bool, local_jobs: int | None) -> None:
        self._local_rights = (ALLOW_ALL if allow_local else ALLOW_NOTHING).to_json()
        self._local_jobs = local_jobs
        self.state = MasterState()
        self.catalog = Catalog()
        self.fits = FitCache()

    def load(self, tx: Transaction, now: Now) -> None:
        """Delete batches that were never opened, and load the state."""
        ensure_run_command(tx, at_ms=now.wall_ms)
        batches.drop_unopened(tx)
        self.state = load_state(tx, now)

    def clear_caches(self) -> None:
        """Drop what a rolled-back turn may have read or inserted."""
        self.catalog.clear()
        self.fits.clear()

    def run_turn(
        self, tx: Transaction, batch: Sequence[requests.Request | requests.Message], now: Now
    ) -> TurnResult:
        """Handle a batch in order, then place jobs.

        The response to a request that fails is its MythJobsError; the request has changed
        nothing. After any other exception the whole turn must be rolled back.
        """
        turn = TurnContext(tx, now, self.state.draft(), self.catalog, self.fits)
        responses = self._handle_machines(turn, batch)
        submitted: dict[int, tuple[int, bool]] = {}
        for number, each in enumerate(batch):
            if isinstance(each, requests.Message | requests.Attach):
                continue
            try:
                responses[number] = self._handle_request(turn, each)
            except MythJobsError as error:
                responses[number] = error
                continue
            if isinstance(each, requests.SubmitJob):
                submitted[number] = responses[number]
        self._open_batches(turn)
        self._run_timers(turn)
        turn.flush()
        place_ready_jobs(turn)
        turn.flush()
        for number, (job_id, new) in submitted.items():
            responses[number] = explain_submitted(turn, job_id, new)
        return TurnResult(turn.state, responses, turn.outgoing, turn.acks, turn.ended)

    def _handle_machines(
        self, turn: TurnContext, batch: Sequence[requests.Request | requests.Message]
    ) -> dict[int, Any]:
        """Handle frames, attaches and detaches in order, then expire leases.

        Return the responses to attach requests.
        """
        completions, late = Completions(turn), LateResults(turn)
        responses: dict[int, Any] = {}
        received_ms = 0
        for number, each in enumerate(batch):
            match each:
                case requests.FrameReceived():
                    agents.handle_frame(turn, each, completions, late)
                case requests.Detached():
                    agents.detach_machine(turn, each)
                case requests.LeaseTick():
                    received_ms = max(received_ms, each.received_ms)
                case requests.Attach():
                    try:
                        responses[number] = agents.attach_machine(
                            turn, each, rights=self._local_rights, jobs=self._local_jobs
                        )
                    except MythJobsError as error:
                        responses[number] = error
        # After all frames of the batch, because a heartbeat among them may renew a lease.
        lease_expiry.expire_leases(turn, completions, received_ms)
        completions.write()
        late.write()
        return responses

    def _handle_request(self, turn: TurnContext, request: requests.Request) -> Any:
        match request:
            case requests.SubmitJob():
                return submit_job(turn, request)
            case requests.BatchSlice():
                return insert_slice(turn, request)
            case requests.BeginBatch():
                return begin_batch(turn, request)
            case requests.DropBatch():
                return drop_batch(turn, request)
            case requests.CancelJobs():
                return jobs.cancel_jobs(turn, request)
            case requests.HoldJobs():
                return jobs.hold_jobs(turn, request)
            case requests.ReleaseJobs():
                return jobs.release_jobs(turn, request)
            case requests.RerunJobs():
                return jobs.rerun_jobs(turn, request)
            case requests.DefineCommand():
                return commands.define_command(turn, request)
            case requests.RemoveCommand():
                return commands.remove_command(turn, request)
            case requests.SetMachine():
                return machines.set_machine(turn, request)
            case requests.EditMachine():
                return machines.edit_machine(turn, request)
            case requests.OverrideHours():
                return machines.override_hours(turn, request)
            case requests.SetSemaphore():
                return machines.set_semaphore(turn, request)
            case requests.EnableCommand():
                return commands.enable_command(turn, request)
            case requests.DeclareDead():
                return lease_expiry.declare_machine_dead(turn, request)
            case requests.FreezeJobs():
                return jobs.freeze_jobs(turn, request)
            case requests.PruneJobs(before_ms, states, above, most):
                return prune(
                    turn.tx, before_ms=before_ms, states=states, after_job_id=above, limit=most
                )
            case requests.Attach():
                raise AssertionError("attach requests are handled before all others")

    def _open_batches(self, turn: TurnContext) -> None:
        """Make the next jobs of an opened batch ready."""
        if not turn.state.has_batch_upkeep:
            return
        work = batches.find_next_upkeep(turn.tx)
        if work is None:
            turn.state.has_batch_upkeep = False
            return
        for class_id, subject in batches.run_upkeep_slice(turn.tx, work, _UPKEEP_JOBS):
            turn.state.classes_to_recheck.add(class_id)
            # The start time or deadline of such a job may have passed meanwhile.
            turn.state.schedule_turn(turn.now.wall_ms)
            if subject is not None:
                turn.changed_subjects.add(subject)

    def _run_timers(self, turn: TurnContext) -> None:
        due_ms = turn.state.next_due_ms
        if due_ms is not None and due_ms <= turn.now.wall_ms:
            timers.run_due(turn)
