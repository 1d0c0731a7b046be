"""Handlers of agents' frames: heartbeats, reports on attempts; and of the end of a connection."""

from __future__ import annotations

from mythjobs.master.attempts.completion import Completions
from mythjobs.master.attempts.late_results import LateResults
from mythjobs.master.handlers.footprints import (
    find_first_guesses,
    list_starving,
    record_footprints,
)
from mythjobs.master.handlers.machine_description import record_description
from mythjobs.master.handlers.machine_reports import bound_headroom, bound_load
from mythjobs.master.machine import Machine
from mythjobs.master.placement.visibility import forget_hidden, record_hidden
from mythjobs.master.requests import Detached, FailedMessage, FrameReceived
from mythjobs.master.turn_context import TurnContext
from mythjobs.model import outcome as o
from mythjobs.model.outcome import Lost, NotStarted
from mythjobs.model.progress_track import ProgressTrack
from mythjobs.model.units import is_clock_skewed
from mythjobs.protocol import messages as m

_MAX_COMMENT = 1000
_MAX_WAITING = 100
_MAX_PATH = 5000
# Number of attempts in a heartbeat that are rejected. Others are when it is repeated; none of them
# has its lease renewed.
_MAX_REJECTED = 1000
# Maximum of the time that a program reports to need until its end; a longer time is cut to this.
_MAX_ETA_S = 10 * 365 * 86_400


def _open_connected(turn: TurnContext, connection: int) -> Machine | None:
    """Return the machine on a connection, which the turn may change; None if it was detached."""
    machine = turn.state.machine_on_connection(connection)
    return None if machine is None else turn.state.open_machine(machine.machine_id)


def detach_machine(turn: TurnContext, message: Detached) -> None:
    machine = _open_connected(turn, message.connection)
    if machine is not None:
        turn.state.set_connection(machine, None)
        machine.heartbeat_no, machine.reported_free = 0, None
        machine.has_left = not machine.live_attempts and (message.by_agent or machine.is_draining)


def _read_outcome(message: m.Ended | m.Returned) -> o.Outcome:
    if isinstance(message, m.Returned):
        return NotStarted(0, message.reason[:500].replace("\0", "\ufffd"))
    try:
        return o.from_json(message.outcome)
    except ValueError:
        return Lost("its machine reported an unknown outcome")


class FrameHandler:
    """Handles the agents' frames that one turn processes."""

    def __init__(self, turn: TurnContext, completions: Completions, late: LateResults) -> None:
        self._turn = turn
        self._completions = completions
        self._late = late

    def handle(self, message: FrameReceived) -> None:
        """Handle all messages of a frame. Frames of a detached connection are ignored."""
        machine = _open_connected(self._turn, message.connection)
        if machine is None:
            return
        frame = message.frame
        self._turn.acks[message.connection] = frame.no
        machine.last_frame_ms = self._turn.now.steady_ms
        machine.is_draining = frame.draining
        if frame.headroom is not None or not machine.has_scaling:
            machine.reported_free = max(frame.room, 0)
        if frame.headroom is not None:
            machine.headroom, machine.headroom_seen = bound_headroom(frame.headroom), frame.seen
        if frame.load is not None:
            machine.load = bound_load(frame.load)
        if frame.description is not None:
            record_description(self._turn, machine, frame.description)
        if frame.footprints:
            record_footprints(self._turn, machine, frame.footprints)
        for each in frame.messages:
            match each:
                case m.Started():
                    if self._is_live(machine, each.job, each.n, reject=True):
                        self._completions.record_start(machine, each.job, each.at_ms)
                case m.Ended():
                    if self._is_live(machine, each.job, each.n):
                        self._completions.record_end(machine, each)
                    else:
                        self._late.add_result(machine, each)
                case m.Progress():
                    if self._is_live(machine, each.job, each.n):
                        self._record_progress(machine, each)
                case m.Returned():
                    if self._is_live(machine, each.job, each.n, reject=True):
                        self._handle_returned(machine, each)
                case m.Frozen():
                    if self._is_live(machine, each.job, each.n):
                        holders = tuple(sorted({holder[:20] for holder in each.holders[:10]}))
                        self._completions.record_holders(machine, each.job, holders)
                case m.Heartbeat():
                    self._handle_heartbeat(machine, each, frame.seen)
                case _:
                    pass  # the link server has handled messages about output

    def handle_failed(self, failed: FailedMessage) -> None:
        """Acknowledge a message that the master failed to handle; the agent must not repeat it.

        If the message reports the end of an attempt, the attempt's job is held.
        """
        machine = _open_connected(self._turn, failed.connection)
        if machine is None:
            return
        self._turn.acks[failed.connection] = failed.frame_no
        message = failed.message
        if isinstance(message, m.Ended | m.Returned):
            if self._is_live(machine, message.job, message.n):
                outcome = _read_outcome(message)
                self._completions.record_failure(machine, message.job, outcome, failed.error)

    def _is_live(self, machine: Machine, job_id: int, n: int, *, reject: bool = False) -> bool:
        """Return whether attempt n of a job is live on a machine.

        reject: if the attempt is not live, reject the machine's report about it as stale.
        """
        attempt = machine.live_attempts.get(job_id)
        if attempt is not None and attempt.n == n:
            return True
        if reject:
            self._late.reject(machine, job_id, n)
        return False

    def _record_progress(self, machine: Machine, message: m.Progress) -> None:
        attempt, now = machine.live_attempts[message.job], self._turn.now
        track = attempt.progress or ProgressTrack()
        percent = None if message.percent is None else min(max(message.percent, 0.0), 100.0)
        if percent is not None:
            track = track.add_percent(percent, now.steady_ms)
        if message.eta_s is not None:
            left_ms = round(1000 * min(max(message.eta_s, 0.0), _MAX_ETA_S))
            track = track._replace(end_ms=now.wall_ms + left_ms)
        machine.live_attempts[message.job] = attempt.with_progress(track)
        tenths = None if percent is None else round(10 * percent)
        # The comment comes from the job's output and may have NUL, which PostgreSQL cannot store.
        comment = message.comment and message.comment[:_MAX_COMMENT].replace("\0", "\ufffd")
        self._completions.progress[message.job, message.n] = (tenths, comment)

    def _handle_returned(self, machine: Machine, message: m.Returned) -> None:
        if machine.live_attempts[message.job].started_ms is not None:
            # The machine has reported the start, but its journals have lost it.
            self._record_forgotten(machine, message.job)
            return
        reason = message.reason[:500].replace("\0", "\ufffd")
        closed = message.code == m.HOURS_CLOSED
        if closed:
            class_id, now_ms = machine.live_attempts[message.job].class_id, self._turn.now.wall_ms
            self._turn.state.placement.record_decline(machine.machine_id, class_id, now_ms)
        if message.code == m.NOT_VISIBLE and message.path:
            path, closed = message.path[:_MAX_PATH].replace("\0", "\ufffd"), True
            record_hidden(self._turn.state, machine, path, self._turn.now.wall_ms)
        outcome = NotStarted(0, reason)
        self._completions.record_never_started(machine, message.job, outcome, closed=closed)

    def _handle_heartbeat(self, machine: Machine, beat: m.Heartbeat, seen: int) -> None:
        """Renew leases of the attempts that a heartbeat lists; end or regrant live ones not listed.

        seen: number of the last grant that the machine had journalled when it sent the heartbeat.
        """
        now = self._turn.now
        first = machine.heartbeat_no == 0
        if beat.wall_ms is not None:
            skew_ms = beat.wall_ms - now.wall_ms
            if is_clock_skewed(skew_ms - machine.clock_skew_ms):
                # A clock was set. The machine may have declined grants because its run windows
                # were closed by its old time; they may be open by its new time.
                self._turn.state.placement.clear_declines(machine.machine_id)
            machine.clock_skew_ms = skew_ms
        machine.heartbeat_no = max(machine.heartbeat_no, beat.hb)
        held: dict[tuple[int, int], str] = {(each.job, each.n): each.state for each in beat.held}
        if first:
            self._end_previous_boot(machine, held)
            # Again, as it accepts grants only now: jobs that waited for it were deferred once more.
            forget_hidden(self._turn, machine)
        excepted = []
        for (job_id, n), state in held.items():
            attempt = machine.live_attempts.get(job_id)
            if attempt is not None and attempt.n == n:
                machine.live_attempts[job_id] = attempt.with_renewal(now.steady_ms)
            elif state != "ended":
                excepted.append((job_id, n))
                if len(excepted) <= _MAX_REJECTED:
                    self._late.reject(machine, job_id, n)
        waiting = self._list_waiting() if machine.has_scaling else []
        guesses = find_first_guesses(self._turn, machine, waiting) if waiting else {}
        starving = list_starving(self._turn, machine) if waiting else []
        self._turn.send(machine, m.Renew(beat.hb, excepted, waiting, guesses, starving))
        for job_id, attempt in list(machine.live_attempts.items()):
            held_state = held.get((job_id, attempt.n))
            if held_state is not None:
                if first:
                    self._resume_held(machine, job_id, held_state)
            elif first or attempt.grant_no <= seen:
                self._resolve_missing(machine, job_id, first)

    def _list_waiting(self) -> list[str]:
        """Return the commands with ready jobs. A machine learns more about its limits while jobs
        wait for it."""
        turn, cache = self._turn, self._turn.state.placement
        class_ids = sorted(cache.ready_classes - cache.unplaceable)[:_MAX_WAITING]
        return sorted({turn.catalog.job_class(turn.tx, each).command.name for each in class_ids})

    def _end_previous_boot(self, machine: Machine, held: dict[tuple[int, int], str]) -> None:
        # Called at the first heartbeat, not at the handshake: a delayed hello of an old boot must
        # not end attempts of a later boot, and only an agent that has read the welcome sends a
        # heartbeat. An attempt listed as "ended" is skipped, as the agent reports its end itself.
        for job_id, attempt in list(machine.live_attempts.items()):
            if attempt.boot_id != machine.boot_id and held.get((job_id, attempt.n)) != "ended":
                outcome = Lost("the machine restarted")
                self._completions.record_loss(machine, job_id, outcome, "observed: rebooted")

    def _resume_held(self, machine: Machine, job_id: int, state: str) -> None:
        """Restore the state of an attempt that a machine still has after it reconnected.

        The report of its start or a stop request may have been lost with the old connection. An
        attempt that has not ended counts as thawed: the machine reports frozen attempts next, and
        only these. One that has ended keeps its holders: if a user had paused it, and it must run
        again, its job is held.
        """
        if state != "ended":
            self._completions.record_holders(machine, job_id, ())
        attempt = machine.live_attempts[job_id]
        if state == "running" and attempt.started_ms is None:
            self._completions.record_start(machine, job_id, self._turn.now.wall_ms)
        if attempt.stop_requested_by is not None and state != "ended":
            stop = m.Stop(job_id, attempt.n, attempt.stop_requested_by)
            self._turn.send(machine, stop)

    def _resolve_missing(self, machine: Machine, job_id: int, first: bool) -> None:
        # The heartbeat does not list this attempt, although the machine has journalled every
        # grant up to `seen`, and grants of earlier connections cannot arrive any more. So the
        # machine never received the grant, or lost its own journal.
        attempt = machine.live_attempts[job_id]
        if attempt.started_ms is not None:
            self._record_forgotten(machine, job_id)
        elif first and attempt.stop_requested_by is None and machine.accepts_grants:
            self._turn.regrants.append((machine.machine_id, job_id))
        else:
            not_started = NotStarted(0, "the grant did not reach the machine")
            self._completions.record_never_started(machine, job_id, not_started)

    def _record_forgotten(self, machine: Machine, job_id: int) -> None:
        lost = Lost("the machine has no record of it any more")
        self._completions.record_loss(machine, job_id, lost, "observed: forgotten")
