"""Loop of recordings: waits for events, looks recordings up, submits their jobs."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Final

from mythjobs.errors import BadRequest, MythJobsError, ProtocolError
from mythjobs.mythtv.bridge.job_request import JobRequests, describe_recording
from mythjobs.mythtv.bridge.recording_file import FileAway, FileMissing
from mythjobs.mythtv.bridge.state_files import StatusFile, save_progress
from mythjobs.mythtv.bridge.watch import (
    LookUp,
    RecordingWatch,
    SubmitRecording,
    is_about_recordings,
)
from mythjobs.mythtv.protocol.events import MonitorEvent
from mythjobs.mythtv.recording import Recording, format_key
from mythjobs.mythtv.rules import IMPORT_ORIGIN, RecordingRule
from mythjobs.mythtv.services.client import Services
from mythjobs.mythtv.settings import BridgeDir, load_rules

CONNECTED: Final = "connected"
STOP: Final = "stop"
# What the monitors put into the loop's queue.
Input = MonitorEvent | str
# Of the catch-up; it doubles with each failure.
_RETRY_S: Final = 10.0
_MAX_DOUBLINGS: Final = 5
_MAX_INPUTS: Final = 10_000
_RECORDINGS: Final = "recordings"
log = logging.getLogger(__name__)


class RecordingsLoop:
    """runs_imported: returns whether imported rules make jobs, because MythTV does not run its
    automatic jobs itself. on_finished: called after each finished recording."""

    def __init__(
        self,
        directory: BridgeDir,
        watch: RecordingWatch,
        services: Services,
        requests: JobRequests,
        status: StatusFile,
        *,
        runs_imported: Callable[[], bool],
        on_finished: Callable[[], object],
        now_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self.inputs: queue.SimpleQueue[Input] = queue.SimpleQueue()
        self._directory = directory
        self._watch = watch
        self._services = services
        self._requests = requests
        self._status = status
        self._runs_imported = runs_imported
        self._on_finished = on_finished
        self._now_ms = now_ms
        self._malformed: set[str] = set()
        self._failures = 0  # of the catch-up, in a row
        self._has_dropped = threading.Event()

    def receive(self, event: MonitorEvent) -> None:
        """Take an event of a monitor. For any thread.

        Events that come faster than they are handled are dropped; then the list of recordings is
        read instead.
        """
        if not is_about_recordings(event):
            return
        if self.inputs.qsize() < _MAX_INPUTS:
            self.inputs.put(event)
        else:
            self._has_dropped.set()

    def run(self) -> None:
        """Work until STOP comes in."""
        while STOP not in (inputs := self._receive()):
            self.handle(inputs)

    def handle(self, inputs: Iterable[Input]) -> None:
        """Handle the inputs, then do what is due."""
        for each in inputs:
            if not isinstance(each, str):
                self._watch.on_event(each, self._now_ms())
            elif each == CONNECTED:
                self._watch.on_connected(self._now_ms())
        if self._has_dropped.is_set():
            self._has_dropped.clear()
            self._watch.on_connected(self._now_ms())
        for look_up in self._watch.due_look_ups(self._now_ms()):
            self._examine(look_up)
        if self._watch.is_catch_up_due(self._now_ms()):
            self._catch_up()

    def _receive(self) -> list[Input]:
        """Wait for an input or until something is due; return all inputs that are there."""
        due_ms = self._watch.next_due_ms()
        timeout_s = None if due_ms is None else max(due_ms - self._now_ms(), 0) / 1000
        try:
            found = [self.inputs.get(timeout=timeout_s)]
            while not self.inputs.empty():
                found.append(self.inputs.get_nowait())
        except queue.Empty:
            return []
        return found

    def _examine(self, look_up: LookUp) -> None:
        now_ms = self._now_ms()
        try:
            recording = self._services.find_recording_by_key(*look_up.key)
            jobs = self._watch.decide(look_up, recording, self._load_rules(), now_ms)
            if jobs is None:
                return
            self._submit_all(jobs)
        except MythJobsError as error:
            self._postpone(look_up, error)
            return
        self._status.solve_problem(_RECORDINGS)
        self._status.solve_problem(_name(look_up))
        if recording is None:
            self._watch.forget(look_up)
            return
        self._watch.finish(look_up, recording.end_ms)
        save_progress(self._directory, self._watch.progress)
        if look_up.when == "finished":
            self._status.update(last_recording=_describe(recording, len(jobs), now_ms))
            self._on_finished()

    def _postpone(self, look_up: LookUp, error: MythJobsError) -> None:
        """Look the recording up again later; report the cause once."""
        is_faulty = isinstance(error, ProtocolError)
        is_own = is_faulty or isinstance(error, FileAway)
        self._report(_name(look_up) if is_own else _RECORDINGS, error.sentence)
        if not self._watch.postpone(look_up, self._now_ms(), is_faulty=is_faulty):
            log.warning("%s is not looked up any more", _name(look_up))

    def _report(self, subject: str, sentence: str) -> None:
        if self._status.add_problem(subject, sentence, self._now_ms()):
            log.warning("%s: %s", subject, sentence)

    def _load_rules(self) -> list[RecordingRule]:
        rules = load_rules(self._directory)
        if any(each.origin == IMPORT_ORIGIN for each in rules) and not self._runs_imported():
            return [each for each in rules if each.origin != IMPORT_ORIGIN]
        return rules

    def _catch_up(self) -> None:
        """Examine the recordings that ended while no event could arrive."""
        began_ms = self._now_ms()
        malformed: dict[str, str] = {}
        try:
            listed = self._services.list_recordings(malformed.__setitem__)
            missed = self._watch.select_missed(listed)
            self._report_malformed(malformed)
            rules = self._load_rules() if missed else []
            for look_up, recording in missed:
                try:
                    self._submit_all(self._watch.decide(look_up, recording, rules, began_ms) or [])
                except (FileAway, ProtocolError) as error:
                    # It concerns this recording; the others are examined nevertheless.
                    self._postpone(look_up, error)
                else:
                    self._watch.finish(look_up, recording.end_ms)
        except MythJobsError as error:
            self._report(_RECORDINGS, f"cannot examine all recordings: {error.sentence}")
            delay_s = _RETRY_S * 2 ** min(self._failures, _MAX_DOUBLINGS)
            self._failures += 1
            self._watch.postpone_catch_up(self._now_ms(), delay_s)
        else:
            self._failures = 0
            self._status.solve_problem(_RECORDINGS)
            self._watch.record_caught_up(began_ms)
        save_progress(self._directory, self._watch.progress)

    def _report_malformed(self, malformed: dict[str, str]) -> None:
        """Name the recordings of the list that cannot be examined; the others are."""
        for name in self._malformed - malformed.keys():
            self._status.solve_problem(name)
        for name, sentence in malformed.items():
            self._report(
                name,
                f"{sentence}, so it gets no jobs; correct it in MythTV, then run "
                "`mythjobs mythtv rules apply NUMBER`",
            )
        self._malformed = set(malformed)

    def _submit_all(self, jobs: list[SubmitRecording]) -> None:
        for each in jobs:
            rule = f"rule {each.rule.name}"
            try:
                self._submit(each)
                self._status.solve_problem(rule)
            except FileMissing as error:
                # The rule is right; it makes jobs of other recordings.
                self._report(f"{rule}, recording {each.recording.key}", error.sentence)
            except BadRequest as error:
                # A repetition would be refused too; the other jobs are made.
                self._report(rule, error.sentence)

    def _submit(self, job: SubmitRecording) -> None:
        found = submit_for_rule(self._requests, job.recording, job.rule, job.key)
        if found["new"]:
            log.info(
                "job %d: %s of recording %s by rule %s",
                found["id"], job.rule.command, job.recording.key, job.rule.name,
            )  # fmt: skip
            self._status.count("submitted")


def _name(look_up: LookUp) -> str:
    return f"recording {format_key(*look_up.key)}"


def submit_for_rule(
    requests: JobRequests, recording: Recording, rule: RecordingRule, key: str
) -> dict[str, object]:
    """Submit the job that a rule gives to a recording; return `{id, state, new, reason}`."""
    body = requests.describe(
        rule.command,
        recording,
        key=key,
        arguments=rule.arguments,
        priority=rule.priority,
        comment=describe_recording(recording),
    )
    return requests.submit(body)


def _describe(recording: Recording, jobs: int, now_ms: int) -> dict[str, object]:
    return {
        "recordedid": recording.recordedid,
        "title": recording.title,
        "jobs": jobs,
        "at_ms": now_ms,
    }
