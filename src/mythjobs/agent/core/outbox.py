"""Outbox: messages for the master, collected into frames and repeated until acknowledged."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from mythjobs.agent.core.attempt import HEARTBEAT_STATES, AgentAttempt, Phase
from mythjobs.agent.core.status import JobStatus
from mythjobs.clock import Now
from mythjobs.protocol import messages as m

# The agent sends no further frame while this many are unacknowledged (docs/protocol.md). Messages
# wait in the outbox meanwhile.
_MAX_UNACKNOWLEDGED: Final = 2
_PROGRESS_INTERVAL_MS: Final = 500


class _SentFrame(NamedTuple):
    no: int
    started: Sequence[AgentAttempt]
    ended: Sequence[AgentAttempt]


class Outbox:
    """Messages to be sent and unacknowledged frames of the current connection to the master."""

    def __init__(self) -> None:
        self._frame_no = 0
        self._heartbeat_no = 0
        self._unacknowledged: deque[_SentFrame] = deque()
        self._heartbeat_due = False
        self._started: dict[AgentAttempt, None] = {}
        self._ended: list[AgentAttempt] = []
        self._frozen: dict[AgentAttempt, None] = {}
        self.can_report_freezes = True  # whether the master knows the message `frozen`
        self.can_send_output = True  # whether it knows the field `data` of the message `ended`
        self._progress: dict[AgentAttempt, None] = {}
        # By attempt: CLOCK_BOOTTIME ms at which its progress was last sent. Progress of one attempt
        # is sent at most twice a second.
        self._progress_sent_ms: dict[AgentAttempt, int] = {}
        self._output_ends: list[m.OutputEnd] = []

    def reset(self, attempts: Collection[AgentAttempt]) -> None:
        """Prepare for a new connection: discard the frames of the old one, and queue the state of
        all attempts again, as the master may not have received it."""
        self._frame_no = 0
        self._unacknowledged.clear()
        self._output_ends.clear()
        self._progress_sent_ms.clear()
        self._heartbeat_due = True
        self._started, self._ended, self._frozen, self._progress = {}, [], {}, {}
        for each in attempts:
            if each.status and each.phase < Phase.REPORTING:
                self._progress[each] = None
            if each.phase is Phase.RUNNING:
                if each.frozen_by:
                    self._frozen[each] = None
                if not each.start_acknowledged:
                    self._started[each] = None
            elif each.phase is Phase.RETURNED or (
                each.phase is Phase.REPORTING
                and (not each.end_acknowledged or each.pending_streams)
            ):
                self._ended.append(each)

    def queue_heartbeat(self) -> None:
        self._heartbeat_due = True

    def queue_start(self, attempt: AgentAttempt) -> None:
        self._started[attempt] = None

    def queue_end(self, attempt: AgentAttempt) -> None:
        """Queue the end, or the return, of an attempt whose journal record is durable."""
        # Do not send Started any more: the end contains the start time.
        self._started.pop(attempt, None)
        self._ended.append(attempt)

    def queue_frozen(self, attempt: AgentAttempt) -> None:
        self._frozen[attempt] = None

    def queue_progress(self, attempt: AgentAttempt) -> None:
        self._progress[attempt] = None

    def queue_output_end(self, end: m.OutputEnd) -> None:
        self._output_ends.append(end)

    def remove(self, attempt: AgentAttempt) -> None:
        self._frozen.pop(attempt, None)
        self._progress.pop(attempt, None)
        self._progress_sent_ms.pop(attempt, None)

    def next_progress_ms(self) -> int | None:
        """Return the CLOCK_BOOTTIME ms at which the next progress may be sent. None if no progress
        is queued, or too many frames are unacknowledged."""
        if len(self._unacknowledged) >= _MAX_UNACKNOWLEDGED:
            return None
        return min(map(self._progress_due_ms, self._progress), default=None)

    def _progress_due_ms(self, attempt: AgentAttempt) -> int:
        sent_ms = self._progress_sent_ms.get(attempt)
        return 0 if sent_ms is None else sent_ms + _PROGRESS_INTERVAL_MS

    @property
    def _has_queued(self) -> bool:
        return bool(
            self._ended
            or self._started
            or self._heartbeat_due
            or self._output_ends
            or self._progress
            or self._frozen
        )

    def take_frame(
        self,
        now: Now,
        *,
        durable_grant: int,
        room: int,
        attempts: Iterable[AgentAttempt],
        is_due: bool = False,
    ) -> tuple[m.AgentFrame, int | None] | None:
        """Return the next frame with the number of the heartbeat in it (None if it has none).

        Return None if too many frames are unacknowledged, or no message is queued. With `is_due`
        the frame may be without messages.
        """
        if len(self._unacknowledged) >= _MAX_UNACKNOWLEDGED or not self._has_queued:
            return None
        messages: list[m.AgentMessage] = []
        hb = None
        if self._heartbeat_due:
            self._heartbeat_due = False
            self._heartbeat_no = hb = self._heartbeat_no + 1
            held = [
                m.HeldAttempt(*each.key, HEARTBEAT_STATES[each.phase])
                for each in attempts
                if not each.end_acknowledged
            ]
            messages.append(m.Heartbeat(hb, held, now.wall_ms))
        started, ended = list(self._started), self._ended
        for each in started:
            messages.append(m.Started(*each.key, each.started_ms or now.wall_ms))
        for each in self._frozen if self.can_report_freezes else ():
            messages.append(m.Frozen(*each.key, list(each.frozen_by)))
        if self._progress:
            self._add_progress(messages, now)
        for each in ended:
            self._add_end(each, messages)
        messages += self._output_ends
        if not messages and not is_due:
            return None
        self._started, self._ended, self._output_ends, self._frozen = {}, [], [], {}
        self._frame_no += 1
        self._unacknowledged.append(_SentFrame(self._frame_no, started, ended))
        return m.AgentFrame(self._frame_no, durable_grant, room, messages), hb

    def acknowledge(self, no: int) -> list[AgentAttempt]:
        """Record that the master acknowledged the frames up to number `no`. Return the attempts
        whose end or return was in these frames."""
        done: list[AgentAttempt] = []
        while self._unacknowledged and self._unacknowledged[0].no <= no:
            frame = self._unacknowledged.popleft()
            for each in frame.started:
                each.start_acknowledged = True
            done += frame.ended
        return done

    def mark_acknowledged(self, attempt: AgentAttempt) -> None:
        """Record that the master has the attempt's end or return, and output sent with the end."""
        is_first = not attempt.end_acknowledged
        attempt.end_acknowledged = True
        if is_first and self.can_send_output and attempt.end is not None and attempt.end.data:
            attempt.pending_streams = None

    def _add_progress(self, messages: list[m.AgentMessage], now: Now) -> None:
        for each in list(self._progress):
            # Ignore the rate limit for the last progress of an attempt, which must precede its end.
            is_last = each.phase >= Phase.REPORTING
            if is_last or now.steady_ms >= self._progress_due_ms(each):
                del self._progress[each]
                self._progress_sent_ms[each] = now.steady_ms
                status = each.status or JobStatus()
                left_s = status.compute_left_s(now.steady_ms)
                messages.append(m.Progress(*each.key, status.percent, status.comment, left_s))

    def _add_end(self, attempt: AgentAttempt, messages: list[m.AgentMessage]) -> None:
        job, n = attempt.key
        end = attempt.end
        if end is None:
            messages.append(m.Returned(job, n, attempt.reason, attempt.code, attempt.missing))
            return
        if not attempt.end_acknowledged:
            if end.data and self.can_send_output:
                messages.append(end)
                return
            messages.append(msgspec.structs.replace(end, data=[]) if end.data else end)
        for stream in sorted(attempt.pending_streams or ()):
            _, head, tail = end.output[stream - 1]
            messages.append(m.OutputOffer(job, n, stream, head + tail))
