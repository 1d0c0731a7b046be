"""Takeover and undo of one entry: which of the two runs it now, and the steps that change that.

Each step is idempotent, and what is true is read from the crontab, from systemd and from the
schedule. So a command that is killed between two steps can be repeated, or reversed.
"""

from __future__ import annotations

import datetime as dt
import difflib
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from mythjobs.errors import BadRequest, Conflict
from mythjobs.takeover.cron import comments
from mythjobs.takeover.cron.cron_files import CronFiles
from mythjobs.takeover.entry import Place
from mythjobs.takeover.records import (
    HELD,
    TAKEN,
    FileRecord,
    ImportRecord,
    ImportRecords,
    compute_checksum,
)
from mythjobs.takeover.systemd.timer_switch import TimerState, TimerSwitch

# Cron reads changed crontabs at second 0 of a minute, then starts what is due in that minute. A
# change in these seconds is before the next minute for cron and for the queue alike.
_FIRST_SECOND: Final = 3
_LAST_SECOND: Final = 55
_MINUTE_MS: Final = 60_000


class Runner(StrEnum):
    """Who runs an entry now. GONE: its line no longer exists, and its schedule does not run.
    UNKNOWN: its place cannot be read."""

    CRON = "cron"
    QUEUE = "queue"
    BOTH = "both"
    NEITHER = "neither"
    GONE = "gone"
    UNKNOWN = "unknown"


class HoldState(StrEnum):
    """HELD: paused by an import. PAUSED: paused by a person."""

    RUNNING = "running"
    HELD = "held"
    PAUSED = "paused"


class ScheduleHolder(Protocol):
    """Schedules of the queue, by name."""

    def find_state(self, name: str) -> HoldState | None:
        """Return the state of a schedule; None if it does not exist."""

    def hold(self, name: str, place: Place) -> None: ...

    def resume(self, name: str) -> None: ...

    def find_last_run(self, name: str) -> dt.datetime | None:
        """Return the local time of the last tick that has a job; None if there was none."""


@dataclass(frozen=True, slots=True)
class EntryStatus:
    """Who runs an entry. schedule: None if it does not exist. is_interrupted: a takeover or an undo
    of it has not ended. problem: why its place cannot be read, or ""."""

    record: ImportRecord
    runner: Runner
    schedule: HoldState | None
    is_interrupted: bool = False
    problem: str = ""

    @property
    def has_schedule(self) -> bool:
        return self.schedule is not None


class Switcher:
    """Takes entries over and gives them back.

    timers: by the kind of a place, those that this process may switch.
    """

    def __init__(
        self,
        records: ImportRecords,
        cron: CronFiles,
        timers: dict[str, TimerSwitch],
        schedules: ScheduleHolder,
    ) -> None:
        self._records = records
        self._cron = cron
        self._timers = timers
        self._schedules = schedules

    def find_status(self, record: ImportRecord) -> EntryStatus:
        is_on = self._is_on(record.place)
        state = self._schedules.find_state(record.name)
        # A person may pause a schedule that was taken over, and then it is the queue's. A schedule
        # that was to be held stays held if a person pauses it for another reason.
        is_running = state is HoldState.RUNNING or (
            state is HoldState.PAUSED and record.wanted == TAKEN
        )
        if is_on is None:
            runner = Runner.QUEUE if is_running else Runner.GONE
        elif is_on:
            runner = Runner.BOTH if is_running else Runner.CRON
        else:
            runner = Runner.QUEUE if is_running else Runner.NEITHER
        expected = Runner.QUEUE if record.wanted == TAKEN else Runner.CRON
        return EntryStatus(record, runner, state, runner not in (expected, Runner.GONE))

    def _is_on(self, place: Place) -> bool | None:
        """Return whether cron or systemd runs an entry; None if its line is gone."""
        if place.kind in self._timers:
            return self._timers[place.kind].is_on(place.name)
        data = self._cron.read(place)
        is_disabled = None if data is None else comments.is_disabled(data, place)
        return None if is_disabled is None else not is_disabled

    def take(self, record: ImportRecord, now_ms: int) -> None:
        """Disable an entry in its place, then let its schedule run. Raises BadRequest."""
        status = self.find_status(record)
        runner = status.runner
        if not status.has_schedule:
            raise BadRequest(f"the schedule {record.name} was removed; import the entry again")
        _check_there(record, runner)
        record.wanted = TAKEN
        if runner in (Runner.CRON, Runner.BOTH):
            record.switched_ms = now_ms
            try:
                if record.place.kind in self._timers:
                    self._take_timer(record)
                else:
                    self._take_line(record)
            except BadRequest:
                record.wanted = HELD
                self._records.save()
                raise
        else:
            self._records.save()
        self._schedules.resume(record.name)

    def _take_timer(self, record: ImportRecord) -> None:
        switch = self._timers[record.place.kind]
        # After an interruption the state is not read again: the links may be half removed.
        if record.timer is None:
            record.timer = switch.read_state(record.place.name).to_json()
        self._records.save()
        state = TimerState.from_json(record.timer)
        try:
            switch.switch_off(record.place.name, state)
        except BadRequest:
            with suppress(BadRequest):
                switch.switch_on(record.place.name, state, None)
                record.timer = None
            raise

    def _take_line(self, record: ImportRecord) -> None:
        self._cron.remove_temporary(record.place)
        data = self._read(record.place)
        changed = comments.disable_line(data, record.place, record.name)
        self._write(record.place, self._find_file(record, data), data, changed)

    def _find_file(self, record: ImportRecord, data: bytes) -> FileRecord:
        """Return what is known of an entry's file, whose content is `data`."""
        key = _file_key(record)
        known = self._records.files.get(key)
        if known is None or not _is_as_written(data, known):
            # No takeover has changed the file yet, or somebody else did since: the original, which
            # is restored with the last entry, has these changes.
            original = self._records.keep_copy(comments.remove_markers(data))
            self._records.files[key] = known = FileRecord(original, original, original)
        return known

    def _write(self, place: Place, known: FileRecord, data: bytes, changed: bytes) -> None:
        known.previous = self._records.keep_copy(data)
        known.written = self._records.keep_copy(changed)
        self._records.save()
        self._cron.write(place, changed)

    def undo(self, record: ImportRecord, now_ms: int, *, keep_changes: bool = False) -> None:
        """Hold an entry's schedule, then restore the entry in its place. Raises BadRequest."""
        status = self.find_status(record)
        _check_there(record, status.runner)
        if record.place.kind not in self._timers:
            self._check_restorable(record, keep_changes=keep_changes)
        record.wanted = HELD
        if status.runner in (Runner.QUEUE, Runner.BOTH):
            record.switched_ms = now_ms
        self._records.save()
        last_run = None
        if status.has_schedule:
            self._schedules.hold(record.name, record.place)
            last_run = self._schedules.find_last_run(record.name)
        try:
            self._give_back(record, last_run)
        except BadRequest:
            if status.runner is Runner.QUEUE and not self._is_on(record.place):
                record.wanted = TAKEN
                self._records.save()
                self._schedules.resume(record.name)
            raise
        self._records.save()

    def _give_back(self, record: ImportRecord, last_run: dt.datetime | None) -> None:
        """Enable an entry in its place. Raises BadRequest."""
        if record.place.kind not in self._timers:
            if last_run is not None:
                self._cron.record_anacron_run(record.place, last_run.date())
            self._undo_line(record)
        elif record.timer is not None:
            state = TimerState.from_json(record.timer)
            self._timers[record.place.kind].switch_on(record.place.name, state, last_run)
            record.timer = None

    def _undo_line(self, record: ImportRecord) -> None:
        self._cron.remove_temporary(record.place)
        data = self._read(record.place)
        restored = comments.enable_line(data, record.place)
        if restored == data:
            return
        known = self._find_file(record, data)
        if not comments.has_markers(restored):
            # The copy proves that this is the file as it was.
            restored = self._records.read_copy(known.original)
        self._write(record.place, known, data, restored)

    def _check_restorable(self, record: ImportRecord, *, keep_changes: bool) -> None:
        """Raise BadRequest if an entry's line cannot be enabled; Conflict if its file was changed
        since the takeover, and not `keep_changes`."""
        data = self._read(record.place)
        is_disabled = comments.is_disabled(data, record.place)
        where = record.place.describe()
        if is_disabled is None:
            raise BadRequest(
                f"the line of {record.name} is not in {where} any more, so cron cannot get it "
                f"back; add it to {where}, then pause the schedule"
            )
        known = self._records.files.get(_file_key(record))
        if not is_disabled or known is None or keep_changes:
            return
        if not _is_as_written(data, known):
            raise Conflict(
                f"{where} was changed since the takeover, so it cannot be restored byte for byte; "
                f"`mythjobs import undo {record.name} --diff` shows the changes, --keep-changes "
                "keeps them and enables only this entry"
            )

    def format_diff(self, record: ImportRecord) -> list[str]:
        """Return the changes of an entry's file since the last takeover or undo, as a diff.

        Raises BadRequest for a timer, which has none.
        """
        if record.place.kind in self._timers:
            raise BadRequest(f"{record.place.name} is a timer; only files of cron have a diff")
        known = self._records.files.get(_file_key(record))
        if known is None:
            return []
        name = record.place.describe()
        return list(
            difflib.unified_diff(
                self._records.read_copy(known.written).decode(errors="replace").splitlines(),
                self._read(record.place).decode(errors="replace").splitlines(),
                f"{name} (as mythjobs wrote it)",
                f"{name} (now)",
                lineterm="",
            )
        )

    def _read(self, place: Place) -> bytes:
        data = self._cron.read(place)
        if data is None:
            raise BadRequest(f"{place.describe()} does not exist any more")
        return data


def _check_there(record: ImportRecord, runner: Runner) -> None:
    """Raise BadRequest if an entry cannot be switched, with what to do."""
    if runner is Runner.GONE:
        raise BadRequest(
            f"the line of {record.name} is not in {record.place.describe()} any more; if it was "
            "changed, import it again"
        )


def _is_as_written(data: bytes, known: FileRecord) -> bool:
    return compute_checksum(data) in (known.previous, known.written)


def _file_key(record: ImportRecord) -> str:
    return f"{record.root}:{record.place.kind}:{record.place.name}"


def compute_wait_s(now_ms: int) -> float:
    """Return how long to wait until cron is between two minutes (see `_FIRST_SECOND`)."""
    second = now_ms % _MINUTE_MS / 1000
    if second < _FIRST_SECOND:
        return _FIRST_SECOND - second
    if second >= _LAST_SECOND:
        return 60 - second + _FIRST_SECOND
    return 0.0
