"""Starts, progress and ends of live attempts: collected during a turn, written at its end."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import Final, NamedTuple

import msgspec

from mythjobs.errors import ProtocolError
from mythjobs.master.attempts.job_incidents import (
    has_heartbeat,
    is_noteworthy,
    record_end_incidents,
    record_start_call,
)
from mythjobs.master.attempts.retry import (
    AttemptHistory,
    RetryDecision,
    decide,
    decide_returned,
    hold_failed,
    hold_paused,
)
from mythjobs.master.attempts.run_times import correct_start, correct_times
from mythjobs.master.attempts.small_output import encode_output_data
from mythjobs.master.isolation import Problem, describe_error
from mythjobs.master.machine import LiveAttempt, Machine
from mythjobs.master.metrics.observation import AttemptResult, name_outcome
from mythjobs.master.turn_context import TurnContext
from mythjobs.model import outcome as o
from mythjobs.model.command import RUN
from mythjobs.model.life import FINAL, JobEvent, JobState, target
from mythjobs.model.limits import usage_from_json
from mythjobs.model.progress_track import ProgressTrack
from mythjobs.protocol.messages import USER_HOLDER, Ended
from mythjobs.protocol.requests import AdHocRun
from mythjobs.store.writes import job_state, jobs, machines, readiness

_encode: Final = msgspec.json.Encoder().encode
_decode_run: Final = msgspec.json.Decoder(AdHocRun).decode


class _EndReport(NamedTuple):
    """What a machine reported about an end. usage, output, output_data: as the store keeps them.
    was_paused: a user had paused the attempt, although its last report says that it is thawed (a
    stop thaws it)."""

    started_ms: int | None = None
    ended_ms: int | None = None
    usage: str = ""
    output: str = ""
    evidence: str = "observed"
    output_data: str = ""
    was_paused: bool = False


_NO_REPORT: Final = _EndReport()


class Completions:
    """Collects the starts, progress and ends of attempts that machines report in one turn.

    write() stores each kind in one statement. An attempt that starts and ends in the same turn is
    written only once, as ended.
    """

    def __init__(self, turn: TurnContext) -> None:
        self._turn = turn
        self._started: dict[int, job_state.AttemptStart] = {}
        self._ended: dict[int, job_state.AttemptEnd] = {}
        self._run_times: set[tuple[int, int]] = set()  # (command id, machine id) with new run times
        self.progress: dict[tuple[int, int], tuple[int | None, str | None]] = {}
        # (job id, attempt number): whether a user has paused the attempt.
        self._paused: dict[tuple[int, int], bool] = {}

    def _open(self, machine: Machine) -> Machine:
        return self._turn.state.open_machine(machine.machine_id)

    def record_start(self, machine: Machine, job_id: int, at_ms: int) -> None:
        attempt = machine.live_attempts[job_id]
        if attempt.started_ms is None:
            at_ms = correct_start(
                attempt.leased_ms,
                at_ms,
                skew_ms=machine.clock_skew_ms,
                now_ms=self._turn.now.wall_ms,
            )
            self._started[job_id] = job_state.AttemptStart(
                job_id, attempt.n, attempt.command_id, at_ms
            )
            self._open(machine).live_attempts[job_id] = attempt.with_start(at_ms)
            if has_heartbeat(self._turn, attempt.command_id, job_id):
                record_start_call(self._turn, job_id, attempt.class_id)

    def record_holders(self, machine: Machine, job_id: int, holders: tuple[str, ...]) -> None:
        """Record the holders of an attempt's freeze, such as a user or a closed run window.

        The store keeps only whether a user is among them (the job is paused), because a paused
        job is held if its attempt is lost.
        """
        attempt = machine.live_attempts[job_id]
        if attempt.frozen_by == holders:
            return
        is_paused = USER_HOLDER in holders
        if is_paused != (USER_HOLDER in attempt.frozen_by):
            self._paused[job_id, attempt.n] = is_paused
        track = (attempt.progress or ProgressTrack()).with_frozen(
            bool(holders), self._turn.now.steady_ms
        )
        changed = replace(attempt, frozen_by=holders, progress=track)
        self._open(machine).live_attempts[job_id] = changed

    def record_end(self, machine: Machine, message: Ended) -> None:
        """Record the end of an attempt as its machine reported it.

        Raises ProtocolError if its outcome or usage is invalid.
        """
        try:
            outcome = o.from_json(message.outcome)
            usage = usage_from_json(dict(message.usage))
        except ValueError as error:
            raise ProtocolError(f"end of job {message.job}: {error}") from None
        attempt = machine.live_attempts[message.job]
        started_ms, ended_ms = correct_times(
            attempt.leased_ms,
            message.started_ms,
            message.ended_ms,
            skew_ms=machine.clock_skew_ms,
            now_ms=self._turn.now.wall_ms,
        )
        if isinstance(outcome, o.Exited) and message.started_ms is not None:
            self._turn.state.record_run_time(attempt.command_id, machine.machine_id, usage.active_s)
            self._run_times.add((attempt.command_id, machine.machine_id))
        self._end_attempt(
            machine,
            message.job,
            outcome,
            self._decide(message.job, attempt, outcome, message.later),
            _EndReport(
                started_ms,
                ended_ms,
                _encode(message.usage).decode(),
                _encode(message.output).decode() if message.output else "",
                message.proof or "observed",
                encode_output_data(message),
                message.paused,
            ),
        )

    def record_loss(self, machine: Machine, job_id: int, outcome: o.Lost, evidence: str) -> None:
        """Record the end of an attempt that its machine did not report.

        evidence: how the end is known, or why it is presumed.
        """
        decision = self._decide(job_id, machine.live_attempts[job_id], outcome)
        self._end_attempt(machine, job_id, outcome, decision, _EndReport(evidence=evidence))

    def record_failure(self, machine: Machine, job_id: int, outcome: o.Outcome, error: str) -> None:
        """End an attempt whose reported end the master failed to process, and hold its job."""
        decision = hold_failed(o.describe(outcome), error)
        self._end_attempt(machine, job_id, outcome, decision)

    def record_never_started(
        self, machine: Machine, job_id: int, outcome: o.NotStarted, *, closed: bool = False
    ) -> None:
        """End an attempt that its machine durably marked never-start, and queue its job again.

        The attempt counts neither as a failure nor as a loss.
        closed: the machine refused it because its run window is closed. Placement offers this
        machine no job of the class for a while, so the job itself is queued without a delay.
        """
        history = _history(job_id, machine.live_attempts[job_id])
        decision = decide_returned(history, o.describe(outcome), at_once=closed)
        self._end_attempt(machine, job_id, outcome, decision)

    def _decide(
        self, job_id: int, attempt: LiveAttempt, outcome: o.Outcome, later: str = ""
    ) -> RetryDecision:
        command = self._turn.catalog.job_class(self._turn.tx, attempt.class_id).command
        history = _history(job_id, attempt)
        if command.name == RUN and isinstance(outcome, o.Lost | o.Stopped):
            history = history._replace(starts_once=not self._may_restart(job_id))
        try:
            return decide(outcome, command, history, later)
        except Exception as error:
            what = f"held job {job_id}: cannot decide on its end"
            self._turn.problems.append(Problem(what, error))
            return hold_failed(o.describe(outcome), describe_error(error))

    def _may_restart(self, job_id: int) -> bool:
        """Return whether the submitter allowed an ad-hoc run to start a second time (--retry)."""
        row = jobs.read_submission(self._turn.tx, job_id)
        try:
            return row is not None and _decode_run(row["arguments"]).retry
        except msgspec.MsgspecError:
            return False

    def _end_attempt(
        self,
        machine: Machine,
        job_id: int,
        outcome: o.Outcome,
        decision: RetryDecision,
        report: _EndReport = _NO_REPORT,
    ) -> None:
        turn = self._turn
        machine = self._open(machine)
        attempt = machine.live_attempts.pop(job_id)
        started_now = self._started.pop(job_id, None) is not None
        was_running = attempt.started_ms is not None and not started_now
        if attempt.subject is not None:
            turn.changed_subjects.add(attempt.subject)
        is_paused = report.was_paused or USER_HOLDER in attempt.frozen_by
        if decision.event is JobEvent.REQUEUED and is_paused:
            decision = hold_paused(decision)
        if decision.event in (JobEvent.REQUEUED, JobEvent.RETURNED):
            turn.add_event(job_id, attempt.n, str(decision.event), decision.reason)
        if decision.hold:
            turn.held.append(job_id)
        self._record_effects(machine, job_id, attempt, outcome, decision, report)
        if decision.defers_command:
            self._defer_command(attempt.command_id, decision)
        self._ended[job_id] = job_state.AttemptEnd(
            job_id,
            attempt.n,
            attempt.command_id,
            attempt.batch_id,
            JobState.RUNNING if was_running else JobState.LEASED,
            decision.event,
            attempt.started_ms if report.started_ms is None else report.started_ms,
            _encode_outcome(outcome),
            report.usage,
            report.output,
            report.evidence,
            decision.reason_code,
            decision.reason,
            decision.losses,
            decision.hold,
            decision.failed,
            self._not_before(decision),
            report.ended_ms,
            report.output_data,
        )

    def _record_effects(
        self,
        machine: Machine,
        job_id: int,
        attempt: LiveAttempt,
        outcome: o.Outcome,
        decision: RetryDecision,
        report: _EndReport,
    ) -> None:
        """Record what else follows from an end: heartbeat calls, incidents, figures for metrics."""
        turn = self._turn
        if attempt.started_ms is None and has_heartbeat(turn, attempt.command_id, job_id):
            # The report of the end is the first about this attempt.
            if not isinstance(outcome, o.NotStarted | o.Lost):
                record_start_call(turn, job_id, attempt.class_id)
        if turn.observations is not None:
            ended_ms = report.ended_ms or turn.now.wall_ms
            turn.observations.append(
                _observe(attempt, outcome, decision, report.started_ms, ended_ms)
            )
        if is_noteworthy(turn, attempt.command_id, decision):
            record_end_incidents(
                turn, machine, job_id, attempt.n, attempt.class_id, outcome, decision
            )

    def _not_before(self, decision: RetryDecision) -> int | None:
        if not decision.wait_s:
            return None
        at_ms = self._turn.now.wall_ms + int(decision.wait_s * 1000)
        self._turn.state.schedule_turn(at_ms)
        return at_ms

    def _defer_command(self, command_id: int, decision: RetryDecision) -> None:
        until_ms = self._not_before(decision)
        current = self._turn.state.deferrals.get(command_id)
        if until_ms is None or (current is not None and current.until_ms >= until_ms):
            return
        self._turn.defer_command(command_id, until_ms, decision.reason)

    def write(self) -> None:
        turn = self._turn
        if self._started:
            job_state.start(turn.tx, list(self._started.values()))
        if self.progress:
            rows = [(job_id, n, *progress) for (job_id, n), progress in self.progress.items()]
            jobs.record_progress(turn.tx, rows)
        if self._paused:
            job_state.set_paused(turn.tx, self._paused)
        if self._ended:
            self._write_ends()

    def _write_ends(self) -> None:
        turn = self._turn
        ends = list(self._ended.values())
        job_state.end(turn.tx, ends, at_ms=turn.now.wall_ms)
        machines.record_footprints(
            turn.tx, [(*each, *turn.state.run_times[each]) for each in self._run_times]
        )
        turn.record_final(
            {each.job_id: target(each.event) for each in ends if target(each.event) in FINAL}
        )
        again = [each.job_id for each in ends if target(each.event) not in FINAL]
        turn.recheck(readiness.refresh(turn.tx, again))
        if any(each.started_ms is None and target(each.event) not in FINAL for each in ends):
            # A leased job is not cancelled at its deadline. Run the timers at once, because a job
            # that is queued again before it started may have missed its deadline meanwhile.
            turn.state.schedule_turn(turn.now.wall_ms)


@lru_cache(256)
def _encode_outcome(outcome: o.Outcome) -> str:
    """Return an attempt's outcome as JSON. Cached, as most attempts share a few outcomes."""
    return json.dumps(o.to_json(outcome))


def _observe(
    attempt: LiveAttempt,
    outcome: o.Outcome,
    decision: RetryDecision,
    started_ms: int | None,
    ended_ms: int,
) -> AttemptResult:
    result = "held" if decision.hold else str(decision.event)
    started_ms = attempt.started_ms if started_ms is None else started_ms
    run_s = None if started_ms is None else max(ended_ms - started_ms, 0) / 1000
    return AttemptResult(attempt.command_id, name_outcome(outcome), result, run_s)


def _history(job_id: int, attempt: LiveAttempt) -> AttemptHistory:
    return AttemptHistory(
        job_id,
        attempt.n,
        attempt.failures,
        attempt.losses,
        attempt.stop_requested_by,
        attempt.silence,
    )
