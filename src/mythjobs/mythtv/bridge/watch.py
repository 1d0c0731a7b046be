"""Decisions about recordings: which were not examined yet, and which jobs the rules give them.

Pure: events and recordings are arguments; what to look up and to submit is returned.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from mythjobs.mythtv.job_rows import JobRow
from mythjobs.mythtv.protocol.events import MonitorEvent, RecordingUpdated, SystemEvent
from mythjobs.mythtv.recording import RECORDED, UNFINISHED, Recording, format_key
from mythjobs.mythtv.rules import IMPORT_ORIGIN, RecordingRule, explain_mismatch

# REC_FINISHED comes 0.13 to 0.2 s before the row is complete. The update that follows it says so;
# without one the recording is looked up after this time.
FINISH_DELAY_S: Final = 0.5
# The list of recordings is read at least at this interval, in case an event was lost.
CATCH_UP_S: Final = 900.0
# The clocks of bridge and backend may differ by this.
_MARGIN_MS: Final = 2 * 3600_000
_DAY_MS: Final = 86_400_000
# No recording is longer, so one that began earlier has ended before the looked-up period.
_LONGEST_MS: Final = _DAY_MS
_KEPT_MS: Final = 3 * _DAY_MS
# A recording that cannot get its jobs yet, as its backend is away, is found again after a restart
# of the bridge for so long.
_LONGEST_WAIT_MS: Final = 60 * _DAY_MS
# MythTV's recorder queues its jobs within a second of the recording's start or end; the start is
# rounded to a minute.
_QUEUED_MS: Final = 120_000
_MAX_TRIES: Final = 3
_RETRY_S: Final = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
# Of a recording that somebody must correct first: its values or its file.
_FAULTY_RETRY_S: Final = (*_RETRY_S, 60.0, 300.0, 900.0, 3600.0)
_FINISHED: Final = "REC_FINISHED"
_STARTED: Final = "REC_STARTED"

Key = tuple[int, int]


@dataclass(frozen=True)
class LookUp:
    """Fetch a recording. when: "started" or "finished"."""

    key: Key
    when: str


@dataclass(frozen=True)
class SubmitRecording:
    """Submit the job of a rule. The key makes a repetition return the same job."""

    recording: Recording
    rule: RecordingRule

    @property
    def key(self) -> str:
        if self.rule.origin == IMPORT_ORIGIN:
            return automatic_key(self.recording, self.rule.command)
        return f"mythtv:{self.recording.key}:{self.rule.name}"


@dataclass
class WatchProgress:
    """Progress that survives a restart. since_ms: recordings that ended before are not processed.
    caught_up_ms: all that ended before were examined. examined: end of each recording (or start, of
    one that goes on) by `when` and key."""

    since_ms: int
    caught_up_ms: int
    examined: dict[str, int] = field(default_factory=dict)


@dataclass
class _Pending:
    """failed_ms: of the first failure in a row."""

    due_ms: int
    status: int | None = None
    tries: int = 0
    failed_ms: int | None = None


class RecordingWatch:
    """Keeps which recordings have to be examined. Instants are wall time in milliseconds."""

    def __init__(self, progress: WatchProgress) -> None:
        self.progress = progress
        self._pending: dict[LookUp, _Pending] = {}
        self._catch_up_ms: int | None = None

    def on_event(self, event: MonitorEvent, now_ms: int) -> None:
        if isinstance(event, RecordingUpdated):
            waiting = self._pending.get(LookUp((event.chanid, event.start_ms), "finished"))
            if waiting and event.status not in UNFINISHED:
                waiting.due_ms = min(waiting.due_ms, now_ms)
        elif isinstance(event, SystemEvent) and (key := event.recording_key):
            if event.name == _FINISHED:
                due_ms = now_ms + round(FINISH_DELAY_S * 1000)
                self._add(LookUp(key, "finished"), _Pending(due_ms, event.recording_status))
            elif event.name == _STARTED:
                self._add(LookUp(key, "started"), _Pending(now_ms))

    def on_connected(self, now_ms: int) -> None:
        """Examine all recordings that ended while there was no connection for events."""
        self._catch_up_ms = now_ms

    def is_catch_up_due(self, now_ms: int) -> bool:
        return self._catch_up_ms is not None and self._catch_up_ms <= now_ms

    def due_look_ups(self, now_ms: int) -> list[LookUp]:
        return [each for each, waiting in self._pending.items() if waiting.due_ms <= now_ms]

    def next_due_ms(self) -> int | None:
        """Return when the next look-up or catch-up is due; None without one."""
        due = [each.due_ms for each in self._pending.values()]
        if self._catch_up_ms is not None:
            due.append(self._catch_up_ms)
        return min(due, default=None)

    def decide(
        self,
        look_up: LookUp,
        recording: Recording | None,
        rules: Sequence[RecordingRule],
        now_ms: int,
    ) -> list[SubmitRecording] | None:
        """Return the jobs of a recording that was looked up; None if the recording is not complete
        yet and will be looked up again."""
        waiting = self._pending.get(look_up)
        if recording is None:
            if waiting and look_up.when == "started" and waiting.tries < _MAX_TRIES:
                # The event may come before the row.
                self.postpone(look_up, now_ms)
                return None
            return []  # deleted meanwhile
        if waiting and look_up.when == "finished":
            if recording.status in UNFINISHED:
                if waiting.tries < _MAX_TRIES:
                    self.postpone(look_up, now_ms)
                    return None
                # The event is right: the backend sends it when it has closed the file.
                status = RECORDED if waiting.status is None else waiting.status
                recording = replace(recording, status=status)
            elif waiting.status is not None and waiting.status != RECORDED:
                recording = replace(recording, status=waiting.status)
        return choose_jobs(rules, recording, look_up.when)

    def postpone(self, look_up: LookUp, now_ms: int, *, is_faulty: bool = False) -> bool:
        """Look up again later, with growing delays. Return False if it was tried for three days.

        is_faulty: the recording itself is the cause, so the delays grow to an hour.
        """
        waiting = self._pending.setdefault(look_up, _Pending(now_ms))
        if is_faulty:
            waiting.failed_ms = now_ms if waiting.failed_ms is None else waiting.failed_ms
            if now_ms - waiting.failed_ms >= _KEPT_MS:
                self.forget(look_up)
                return False
        delays_s = _FAULTY_RETRY_S if is_faulty else _RETRY_S
        delay_s = delays_s[min(waiting.tries, len(delays_s) - 1)]
        waiting.tries += 1
        waiting.due_ms = now_ms + round(delay_s * 1000)
        return True

    def finish(self, look_up: LookUp, end_ms: int) -> None:
        """Record that the recording was examined and its jobs are submitted."""
        self.forget(look_up)
        self.progress.examined[_name(look_up)] = end_ms

    def forget(self, look_up: LookUp) -> None:
        """Do not look up any more: there is no such recording."""
        self._pending.pop(look_up, None)

    def select_missed(self, recordings: Iterable[Recording]) -> list[tuple[LookUp, Recording]]:
        """Return the recordings of the list that were not examined. The list begins with the
        newest; it is read only as far as necessary."""
        progress = self.progress
        from_ms = max(progress.caught_up_ms - _MARGIN_MS, progress.since_ms)
        found = []
        for each in recordings:
            if each.start_ms < from_ms - _LONGEST_MS:
                break
            if each.status in UNFINISHED:
                look_up = LookUp((each.chanid, each.start_ms), "started")
            elif each.end_ms >= from_ms:
                look_up = LookUp((each.chanid, each.start_ms), "finished")
            else:
                continue
            if _name(look_up) not in progress.examined and look_up not in self._pending:
                found.append((look_up, each))
        return found

    def record_caught_up(self, began_ms: int) -> None:
        """Record that all recordings that ended before `began_ms` were examined, or are pending:
        those are found again after a restart."""
        self._catch_up_ms = began_ms + round(CATCH_UP_S * 1000)
        progress = self.progress
        pending = [each.key[1] for each in self._pending if each.when == "finished"]
        pending_ms = max(min(pending, default=began_ms), began_ms - _LONGEST_WAIT_MS)
        progress.caught_up_ms = max(progress.caught_up_ms, min(began_ms, pending_ms))
        oldest_ms = progress.caught_up_ms - _KEPT_MS
        progress.examined = {k: ms for k, ms in progress.examined.items() if ms >= oldest_ms}

    def postpone_catch_up(self, now_ms: int, delay_s: float) -> None:
        self._catch_up_ms = now_ms + round(delay_s * 1000)

    def _add(self, look_up: LookUp, waiting: _Pending) -> None:
        # The backend may send an event twice.
        if _name(look_up) not in self.progress.examined:
            self._pending.setdefault(look_up, waiting)


def is_about_recordings(event: MonitorEvent) -> bool:
    """Return whether RecordingWatch uses the event."""
    if isinstance(event, SystemEvent):
        return event.name in (_FINISHED, _STARTED)
    return isinstance(event, RecordingUpdated)


def automatic_key(recording: Recording, command: str) -> str:
    """Return the key of the job that MythTV makes by itself for a recording: the job of an imported
    rule and that of MythTV's row are the same job."""
    return f"mythtv:auto:{recording.key}:{command}"


def is_automatic(row: JobRow, recording: Recording) -> bool:
    """Return whether MythTV's recorder has queued the row, at the recording's start or end."""
    first_ms, last_ms = recording.start_ms - _QUEUED_MS, recording.end_ms + _QUEUED_MS
    return first_ms <= row.inserted_ms <= last_ms


def choose_jobs(
    rules: Sequence[RecordingRule], recording: Recording, when: str
) -> list[SubmitRecording]:
    return [
        SubmitRecording(recording, rule)
        for rule in rules
        if not explain_mismatch(rule, recording, when)
    ]


def _name(look_up: LookUp) -> str:
    return f"{look_up.when} {format_key(*look_up.key)}"
