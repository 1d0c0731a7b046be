"""From events to jobs of recordings; recordings that ended while nothing was connected."""

from dataclasses import replace

from mythjobs.mythtv.bridge.watch import (
    LookUp,
    RecordingWatch,
    WatchProgress,
    automatic_key,
    choose_jobs,
    is_about_recordings,
    is_automatic,
)
from mythjobs.mythtv.job_rows import JobRow
from mythjobs.mythtv.protocol.events import MonitorEvent, parse_event
from mythjobs.mythtv.protocol.frames import FrameDecoder
from mythjobs.mythtv.recording import RECORDED, Recording
from mythjobs.mythtv.rules import IMPORT_ORIGIN, RecordingRule
from tests.support.mythtv import transcripts
from tests.unit.mythtv.test_rules import a_recording

HOUR_MS = 3_600_000
START_MS = 1_795_505_760_000  # of the recorded recording
KEY = (1001, START_MS)
FINISHED = LookUp(KEY, "finished")
RULE = RecordingRule("flag", "mythcommflag", include=("short",))
EARLY_RULE = RecordingRule("live", "mythcommflag", when="started")


def recorded_events(name: str) -> list[MonitorEvent]:
    decoder = FrameDecoder()
    messages = [each for frame in transcripts.events(name) for each in decoder.feed(frame)]
    return [event for each in messages if (event := parse_event(each, 91)) is not None]


def a_watch(now_ms: int = START_MS) -> RecordingWatch:
    return RecordingWatch(WatchProgress(since_ms=now_ms, caught_up_ms=now_ms))


def the_recording(**changes: object) -> Recording:
    found = a_recording(recordedid=11, start_ms=START_MS, end_ms=START_MS + 89_000)
    return replace(found, **changes)  # type: ignore[arg-type]


def finish(watch: RecordingWatch, now_ms: int) -> None:
    for each in recorded_events("10-recording-short.mode3-bridge3"):
        watch.on_event(each, now_ms)


def test_a_finished_recording_gets_its_jobs_when_its_row_is_complete() -> None:
    watch = a_watch()
    finish(watch, now_ms=10_000)
    assert LookUp(KEY, "started") in watch.due_look_ups(10_000)
    assert FINISHED not in watch.due_look_ups(10_000)
    assert watch.due_look_ups(10_500)[-1] == FINISHED
    # The update of the row comes first.
    for each in recorded_events("10-recording-short.mode2-bridge2"):
        watch.on_event(each, now_ms=10_150)
    assert FINISHED in watch.due_look_ups(10_150)
    jobs = watch.decide(FINISHED, the_recording(), [RULE, EARLY_RULE], 10_150)
    assert jobs is not None
    assert [each.key for each in jobs] == ["mythtv:1001_20261124073600:flag"]
    watch.finish(FINISHED, START_MS + 89_000)
    assert watch.due_look_ups(20_000) == [LookUp(KEY, "started")]


def test_a_job_during_the_recording_is_made_at_its_start() -> None:
    watch = a_watch()
    finish(watch, now_ms=10_000)
    started = LookUp(KEY, "started")
    recording = the_recording(status=-2, size_bytes=0)
    jobs = watch.decide(started, recording, [RULE, EARLY_RULE], 10_000)
    assert jobs is not None
    assert [each.rule.name for each in jobs] == ["live"]


def test_a_repeated_event_does_nothing() -> None:
    watch = a_watch()
    finish(watch, now_ms=10_000)
    watch.finish(FINISHED, START_MS)
    finish(watch, now_ms=20_000)
    assert FINISHED not in watch.due_look_ups(30_000)


def test_a_row_that_stays_unfinished_is_looked_up_again_and_then_believed() -> None:
    watch = a_watch()
    finish(watch, now_ms=10_000)
    unfinished = the_recording(status=-2)
    for expected_ms in (11_000, 12_000, 14_000):
        assert watch.decide(FINISHED, unfinished, [RULE], expected_ms) is None
        assert FINISHED not in watch.due_look_ups(expected_ms)
    jobs = watch.decide(FINISHED, unfinished, [RULE], 20_000)
    assert jobs is not None
    assert [each.recording.status for each in jobs] == [RECORDED]


def test_the_status_in_the_event_counts() -> None:
    watch = a_watch()
    event = "SYSTEM_EVENT REC_FINISHED CARDID 1 CHANID 1001 STARTTIME 2026-11-24T07:36:00Z "
    failed = parse_event(["BACKEND_MESSAGE", event + "RECSTATUS -9 SENDER mythbox", "empty"], 91)
    assert failed is not None
    watch.on_event(failed, 10_000)
    assert watch.decide(FINISHED, the_recording(), [RULE], 11_000) == []
    rule = replace(RULE, include=("failed", "short"))
    assert watch.decide(FINISHED, the_recording(), [rule], 11_000) != []


def test_a_deleted_recording_is_finished_without_jobs() -> None:
    watch = a_watch()
    finish(watch, now_ms=10_000)
    assert watch.decide(FINISHED, None, [RULE], 11_000) == []


def test_a_recording_whose_row_comes_after_its_start_is_looked_up_again() -> None:
    watch = a_watch()
    finish(watch, now_ms=10_000)
    started = LookUp(KEY, "started")
    assert watch.decide(started, None, [EARLY_RULE], 10_000) is None
    assert started not in watch.due_look_ups(10_499)
    assert started in watch.due_look_ups(10_500)
    assert watch.decide(started, the_recording(status=-2), [EARLY_RULE], 10_500) != []
    for now_ms in (11_000, 13_000):
        assert watch.decide(started, None, [EARLY_RULE], now_ms) is None
    assert watch.decide(started, None, [EARLY_RULE], 16_000) == []


def test_look_ups_that_fail_are_repeated_with_growing_delays() -> None:
    watch = a_watch()
    finish(watch, now_ms=10_000)
    now_ms, delays = 11_000, []
    for _ in range(8):
        watch.postpone(FINISHED, now_ms)
        due_ms = next(ms for ms in range(now_ms, 10**6, 500) if FINISHED in watch.due_look_ups(ms))
        delays.append(due_ms - now_ms)
        now_ms = due_ms
    assert delays == [500, 1000, 2000, 5000, 10_000, 30_000, 30_000, 30_000]


def test_a_faulty_recording_is_looked_up_ever_less_often_and_at_last_no_more() -> None:
    watch = a_watch()
    finish(watch, now_ms=10_000)
    watch.forget(LookUp(KEY, "started"))
    now_ms, delays = 11_000, []
    while watch.postpone(FINISHED, now_ms, is_faulty=True):
        due_ms = watch.next_due_ms()
        assert due_ms is not None
        delays.append((due_ms - now_ms) // 1000)
        now_ms = due_ms
    assert delays[:10] == [0, 1, 2, 5, 10, 30, 60, 300, 900, 3600]
    assert 72 <= len(delays) - 9 <= 74
    assert watch.next_due_ms() is None


def test_events_that_are_not_about_recordings_are_left_out() -> None:
    for mode, count in (("2-bridge2", 7), ("3-bridge3", 2)):
        events = recorded_events(f"10-recording-short.mode{mode}")
        assert sum(map(is_about_recordings, events)) == count


def test_recordings_that_ended_while_disconnected_are_found_once() -> None:
    now_ms = START_MS + 10 * HOUR_MS
    watch = a_watch(START_MS)
    watch.on_connected(now_ms)
    assert watch.is_catch_up_due(now_ms)
    listed = [
        the_recording(start_ms=now_ms - 600_000, end_ms=now_ms + HOUR_MS, status=-2),
        the_recording(start_ms=START_MS + 8 * HOUR_MS, end_ms=START_MS + 9 * HOUR_MS),
        the_recording(start_ms=START_MS - HOUR_MS, end_ms=START_MS + HOUR_MS),
        # Before `since`, and a guard: the list is not read further.
        the_recording(start_ms=START_MS - 3 * HOUR_MS, end_ms=START_MS - 1),
        the_recording(start_ms=START_MS - 25 * HOUR_MS, end_ms=START_MS + 5 * HOUR_MS),
    ]
    found = watch.select_missed(iter(listed))
    assert [(each.when, each.key[1] - START_MS) for each, _ in found] == [
        ("started", 10 * HOUR_MS - 600_000), ("finished", 8 * HOUR_MS), ("finished", -HOUR_MS),
    ]  # fmt: skip
    for look_up, recording in found:
        watch.finish(look_up, recording.end_ms)
    watch.record_caught_up(now_ms)
    assert watch.select_missed(iter(listed)) == []
    assert not watch.is_catch_up_due(now_ms + 899_000)
    assert watch.is_catch_up_due(now_ms + 900_000)


def test_a_recording_that_waits_for_its_backend_is_found_after_a_restart() -> None:
    recording = the_recording(end_ms=START_MS + HOUR_MS)
    watch = a_watch(START_MS)
    watch.postpone(FINISHED, recording.end_ms)
    for hours in range(2, 50):
        watch.record_caught_up(START_MS + hours * HOUR_MS)
    [(found, _)] = RecordingWatch(watch.progress).select_missed([recording])
    assert found == FINISHED
    watch.finish(FINISHED, recording.end_ms)
    watch.record_caught_up(START_MS + 50 * HOUR_MS)
    assert RecordingWatch(watch.progress).select_missed([recording]) == []


def test_an_imported_rule_and_the_row_of_mythtv_are_one_job() -> None:
    recording = the_recording()
    rule = replace(RULE, origin=IMPORT_ORIGIN)
    [job] = choose_jobs([rule], recording, "finished")
    assert job.key == automatic_key(recording, "mythcommflag")
    row = JobRow(1, *KEY, recording.end_ms + 1000, 2, 0, 0, 1, "", "", "", 0, 11)
    assert is_automatic(row, recording)
    assert is_automatic(replace(row, inserted_ms=START_MS - 1000), recording)
    assert not is_automatic(replace(row, inserted_ms=recording.end_ms + 121_000), recording)
    assert not is_automatic(replace(row, inserted_ms=START_MS - 121_000), recording)


def test_the_clock_of_the_backend_may_differ() -> None:
    now_ms = START_MS + 10 * HOUR_MS
    watch = a_watch(START_MS)
    watch.record_caught_up(now_ms)
    # It ended an hour ago by its backend's clock, but was listed only now.
    late = the_recording(start_ms=now_ms - 2 * HOUR_MS, end_ms=now_ms - HOUR_MS)
    assert len(watch.select_missed([late])) == 1
    old = the_recording(start_ms=now_ms - 4 * HOUR_MS, end_ms=now_ms - 3 * HOUR_MS)
    assert watch.select_missed([old]) == []


def test_what_was_examined_is_forgotten_when_it_cannot_be_found_again() -> None:
    watch = a_watch()
    watch.finish(FINISHED, START_MS)
    watch.record_caught_up(START_MS + 71 * HOUR_MS)
    assert len(watch.progress.examined) == 1
    watch.record_caught_up(START_MS + 73 * HOUR_MS)
    assert watch.progress.examined == {}
