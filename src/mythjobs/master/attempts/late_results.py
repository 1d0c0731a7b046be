"""Late results: machines' reports about attempts that the master has already ended."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mythjobs.errors import ProtocolError
from mythjobs.master.attempts.job_incidents import is_noteworthy, record_end_incidents
from mythjobs.master.attempts.retry import AttemptHistory, decide
from mythjobs.master.attempts.run_times import correct_times
from mythjobs.master.attempts.small_output import encode_output_data
from mythjobs.master.machine import Machine
from mythjobs.master.turn_context import TurnContext
from mythjobs.model import outcome as o
from mythjobs.model.life import FINAL, JobEvent, JobState, target
from mythjobs.protocol.messages import Ended, Stale
from mythjobs.store.writes import events, job_state, late_results

# Outcomes that can be accepted late, because the command ended by itself. A forced end, such as
# a stop or a breach, says nothing about the command's own result.
_OWN_OUTCOMES = (o.Exited, o.Signalled)


class LateResults:
    """Collects the late results of a turn; write() handles them after all other state changes."""

    def __init__(self, turn: TurnContext) -> None:
        self._turn = turn
        self._results: list[tuple[Machine, Ended]] = []
        self._rejected: dict[tuple[int, int, int], Machine] = {}

    def add_result(self, machine: Machine, message: Ended) -> None:
        self._results.append((machine, message))

    def reject(self, machine: Machine, job_id: int, n: int) -> None:
        """Reject a machine's report about attempt `n` of a job, and have the machine stop it."""
        key = (machine.machine_id, job_id, n)
        if key not in self._rejected:
            self._turn.send(machine, Stale(job_id, n))
            self._rejected[key] = machine

    def write(self) -> None:
        keys = [(each.job, each.n) for _, each in self._results]
        keys += [(job_id, n) for _, job_id, n in self._rejected]
        if not keys:
            return
        ended = late_results.find_ended_attempts(self._turn.tx, keys)
        self._add_stale_events(ended)
        final: dict[int, JobState] = {}
        for machine, message in self._results:
            found = ended.get((message.job, message.n))
            if found is None or found.machine_id != machine.machine_id or not found.is_unobserved:
                continue  # repeated report: acknowledging its frame is enough
            event = self._apply(machine, message, found)
            if event is not None and target(event) in FINAL:
                final[message.job] = target(event)
        self._turn.record_final(final)

    def _add_stale_events(self, ended: Mapping[tuple[int, int], late_results.EndedAttempt]) -> None:
        """Add one "stale" event for each rejected attempt that its machine really had.

        Attempts with such an event are skipped, because a machine that cannot stop an attempt
        reports it with every heartbeat.
        """
        had = {
            (job_id, n): machine
            for (_, job_id, n), machine in self._rejected.items()
            if (found := ended.get((job_id, n))) and found.machine_id == machine.machine_id
        }
        known = events.find_attempts(self._turn.tx, "stale", [job_id for job_id, _ in had])
        for (job_id, n), machine in had.items():
            if (job_id, n) not in known:
                detail = f"{machine.name} still had this attempt; rejected as stale"
                self._turn.add_event(job_id, n, "stale", detail)

    def _apply(
        self, machine: Machine, message: Ended, old: late_results.EndedAttempt
    ) -> JobEvent | None:
        """Accept a late result and return the job's event, or reject it and return None.

        A late result is accepted only while the job still waits for its next attempt.
        """
        turn = self._turn
        try:
            outcome = o.from_json(message.outcome)
        except ValueError as error:
            raise ProtocolError(f"end of job {message.job}: {error}") from None
        command = turn.catalog.job_class(turn.tx, old.class_id).command
        history = AttemptHistory(
            old.job_id, old.n, old.failures, 0, old.stop_requested, old.silence
        )
        decision = decide(outcome, command, history, message.later)
        accepted = (
            old.state == JobState.QUEUED
            and old.last_n == old.n
            and isinstance(outcome, _OWN_OUTCOMES)
            and target(decision.event) in FINAL
        )
        started_ms, ended_ms = correct_times(
            old.leased_ms,
            message.started_ms,
            message.ended_ms,
            skew_ms=machine.clock_skew_ms,
            now_ms=turn.now.wall_ms,
        )
        end = job_state.AttemptEnd(
            old.job_id,
            old.n,
            old.command_id,
            old.batch_id,
            old.state,
            decision.event,
            started_ms,
            json.dumps(o.to_json(outcome)),
            json.dumps(message.usage),
            json.dumps(message.output) if message.output else "",
            late_results.ACCEPTED_LATE if accepted else late_results.TOO_LATE,
            decision.reason_code,
            decision.reason,
            ended_ms=ended_ms,
            output_data=encode_output_data(message),
        )
        report = f"{machine.name} reported: {o.describe(outcome)}"
        if not accepted:
            late_results.record_late_result(turn.tx, end)
            turn.add_event(old.job_id, old.n, "late", f"late result rejected; {report}")
            return None
        late_results.accept_late_result(turn.tx, end, at_ms=turn.now.wall_ms)
        turn.add_event(old.job_id, old.n, "adopted", f"late result accepted; {report}")
        if is_noteworthy(turn, old.command_id, decision):
            record_end_incidents(turn, machine, old.job_id, old.n, old.class_id, outcome, decision)
        if old.subject is not None:
            turn.changed_subjects.add(old.subject)
        return decision.event
