"""Frames, versions and events of MythTV's protocol, against the recordings."""

import pytest

from mythjobs.errors import ProtocolError
from mythjobs.mythtv.protocol.events import (
    RecordingUpdated,
    SystemEvent,
    parse_event,
)
from mythjobs.mythtv.protocol.frames import (
    SEPARATOR,
    FrameDecoder,
    encode_frame,
    parse_program,
    program_fields,
)
from tests.support.mythtv import transcripts

START_MS = 1_795_505_760_000  # 2026-11-24T07:36:00Z


def decode(frame: bytes) -> list[str]:
    [message] = FrameDecoder().feed(frame)
    return message


RECORDED = [
    line.data
    for path in transcripts.conversations()
    for line in transcripts.read_transcript(path)
    if line.direction == "<"
]


def test_every_recorded_reply_is_decoded_and_encoded_again() -> None:
    assert len(RECORDED) > 100
    for frame in RECORDED:
        assert encode_frame(*decode(frame)) == frame


@pytest.mark.parametrize("size", [1, 3, 7, 8, 9, 1000])
def test_frames_are_found_however_the_network_divides_them(size: int) -> None:
    stream = b"".join(RECORDED)
    decoder = FrameDecoder()
    found = []
    for at in range(0, len(stream), size):
        found += decoder.feed(stream[at : at + size])
    assert found == [decode(each) for each in RECORDED]


@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad", b"-5      x", b"99999999"])
def test_other_programs_are_recognized(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="is it a MythTV backend"):
        FrameDecoder().feed(data)


def test_a_field_with_the_separator_is_refused() -> None:
    with pytest.raises(ValueError, match="must not contain"):
        encode_frame("MESSAGE", f"a{SEPARATOR}b")


def test_the_length_counts_bytes() -> None:
    assert encode_frame("ä", "b") == "8       ä[]:[]b".encode()


def recordings_of(name: str) -> list[list[str]]:
    path = transcripts.RECORDINGS / "protocol" / f"{name}.txt"
    [reply] = dict(transcripts.exchanges(path, "ctl"))[encode_frame("QUERY_RECORDINGS Ascending")]
    count, *fields = decode(reply)
    size = len(program_fields(91))
    assert count == "5"
    return [fields[:size], fields[size : 2 * size + 1]]


def test_a_recorded_program_has_all_fields() -> None:
    first, hostile = recordings_of("30-recordings-ascending")
    program = parse_program(first, 91)
    assert program is not None
    assert (program["title"], program["recordedid"], program["recstartts"]) == (
        "Große Reise", "1", "1784139180",
    )  # fmt: skip
    # The separator within its description makes one field too many.
    assert parse_program(hostile, 91) is None


@pytest.mark.parametrize("version, count", [(72, 44), (75, 44), (77, 47), (88, 52), (91, 52)])
def test_versions_have_different_fields(version: int, count: int) -> None:
    assert len(program_fields(version)) == count


def events_of(name: str) -> list[object]:
    return [parse_event(decode(each), 91) for each in transcripts.events(name)]


def test_the_system_events_of_a_recording() -> None:
    found = events_of("10-recording-short.mode3-bridge3")
    events = [each for each in found if isinstance(each, SystemEvent)]
    assert len(events) == len(found)
    assert [each.name for each in events] == [
        "SCHEDULER_RAN", "REC_PENDING", "REC_STARTED", "REC_STARTED_WRITING", "REC_FINISHED",
        "SCHEDULER_RAN",
    ]  # fmt: skip
    pending, started, finished = events[1], events[2], events[4]
    assert finished.recording_key == started.recording_key == (1001, START_MS)
    # The pending recording has the rule's time, not the key.
    assert pending.recording_key == (1001, START_MS + 29_000)
    assert finished.fields["RECSTATUS"] == "-3"
    assert finished.fields["SENDER"] == "mythbox"
    assert finished.fields["VIDEODEVICE"].endswith("--infile /srv/recordings/videos/source.ts")
    assert events[0].recording_key is None


def test_the_other_events_of_a_recording() -> None:
    found = events_of("10-recording-short.mode2-bridge2")
    updates = [each for each in found if isinstance(each, RecordingUpdated)]
    assert {(each.chanid, each.start_ms) for each in updates} == {(1001, START_MS)}
    assert [each.status for each in updates][:2] == [-2, -2]
    assert updates[-1].status == -3
    # What says nothing about one recording is left out, as DONE_RECORDING and UPDATE_FILE_SIZE.
    assert found.count(None) == len(found) - len(updates) > 20


def test_an_update_with_shifted_fields_is_not_believed() -> None:
    _, hostile = recordings_of("30-recordings-ascending")
    message = ["BACKEND_MESSAGE", "RECORDING_LIST_CHANGE UPDATE", *hostile]
    assert parse_event(message, 91) is None


@pytest.mark.parametrize(
    "text",
    [
        "REC_FINISHED",
        "REC_FINISHED CHANID x STARTTIME y SENDER mythbox",
        "REC_FINISHED CHANID 1001 SENDER mythbox",
        f"REC_FINISHED CHANID {'9' * 5000} STARTTIME 2026-11-24T07:36:00Z SENDER mythbox",
        "REC_FINISHED CHANID 1001 STARTTIME 9999-12-31T23:59:59-05:00 SENDER mythbox",
        "",
    ],
)
def test_incomplete_events_have_no_key(text: str) -> None:
    event = parse_event(["BACKEND_MESSAGE", f"SYSTEM_EVENT {text}", "empty"], 91)
    assert isinstance(event, SystemEvent)
    assert event.recording_key is None


@pytest.mark.parametrize("status", ["--3", "9" * 5000, "", "-", "\u0663"])
def test_a_status_that_is_no_number_is_not_known(status: str) -> None:
    text = f"REC_FINISHED CHANID 1001 STARTTIME 2026-11-24T07:36:00Z RECSTATUS {status} SENDER m"
    event = parse_event(["BACKEND_MESSAGE", f"SYSTEM_EVENT {text}", "empty"], 91)
    assert isinstance(event, SystemEvent)
    assert event.recording_status is None
    number = "9" * 5000
    message = ["BACKEND_MESSAGE", f"RECORDING_LIST_CHANGE DELETE {number}", "empty"]
    assert parse_event(message, 91) is None
    fields = ["5" if each == "chanid" else number for each in program_fields(91)]
    message = ["BACKEND_MESSAGE", "RECORDING_LIST_CHANGE UPDATE", *fields]
    assert parse_event(message, 91) is None


def test_replies_are_no_events() -> None:
    assert parse_event(["OK"], 91) is None
    assert parse_event(["BACKEND_MESSAGE"], 91) is None
