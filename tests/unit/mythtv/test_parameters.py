"""Values of parameters, compared with what a user job of a real MythTV received."""

import json
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from mythjobs.model.definition import command_from_table
from mythjobs.mythtv.parameters import (
    FORGOTTEN_TOKENS,
    PARAMETERS,
    SUBJECT,
    TOKENS,
    RecordingContext,
    describe_parameters,
    format_frames,
    format_seconds,
    format_subject,
    list_values,
    select_arguments,
)
from tests.support.mythtv.samples import RECORDING

BERLIN = ZoneInfo("Europe/Berlin")
FILE = Path(__file__).parents[2] / "support" / "mythtv" / "recordings" / "userjob1-tokens.json"
RECEIVED = dict(each.split("=", 1) for each in json.loads(FILE.read_text(encoding="utf-8")))
VALUES = list_values(RECORDING, RecordingContext("/srv/recordings", job_id=4), BERLIN)

# What differs on purpose: quotation marks stay, and the log options are not those of a backend.
OWN = {
    "%DESCRIPTION%": 'Eine "Dokumentation" in drei Teilen.',
    "%VERBOSELEVEL%": "2",
    "%VERBOSEMODE%": " --verbose general --loglevel info",
}


@pytest.mark.parametrize("token", [each for each in TOKENS if each not in FORGOTTEN_TOKENS])
def test_each_token_has_the_value_that_mythtv_gave(token: str) -> None:
    expected = OWN.get(token, RECEIVED[token.strip("%")])
    assert VALUES[TOKENS[token]] == expected


@pytest.mark.parametrize(
    "token, value",
    [
        ("%RECID%", "5"), ("%PARENTID%", "3"), ("%FINDID%", "7"), ("%RECSTATUS%", "-3"),
        ("%RECTYPE%", "4"), ("%REACTIVATE%", "0"), ("%INPUTNAME%", "External 1"),
        ("%CHANNUM%", "1"),
    ],
)  # fmt: skip
def test_the_tokens_that_mythtv_forgets(token: str, value: str) -> None:
    assert RECEIVED[token.strip("%")] == token
    recording = replace(RECORDING, recording_rule=5, recording_type=4, input_name="External 1")
    context = RecordingContext(parent_rule=3, findid=7)
    assert list_values(recording, context, BERLIN)[TOKENS[token]] == value


def test_each_token_is_covered() -> None:
    assert len(TOKENS) == 47
    assert set(FORGOTTEN_TOKENS) <= set(TOKENS)
    assert set(VALUES) == set(PARAMETERS)


def test_a_file_that_is_not_local() -> None:
    values = list_values(RECORDING, RecordingContext(), BERLIN)
    assert values["dir"] == values["path"] == "myth://mythbox/1001_20260715181300.ts"
    assert values["file"] == "1001_20260715181300.ts"


def test_the_path_of_a_local_file() -> None:
    assert VALUES["path"] == "/srv/recordings/1001_20260715181300.ts"
    values = list_values(RECORDING, RecordingContext("/"), BERLIN)
    assert (values["dir"], values["path"]) == ("/", "/1001_20260715181300.ts")


def test_times_that_are_missing_are_empty() -> None:
    values = list_values(replace(RECORDING, program_start_ms=None), RecordingContext(), BERLIN)
    assert values["progstart"] == values["progstart_iso_utc"] == ""


def test_local_times_follow_the_zone_of_the_day() -> None:
    winter = replace(RECORDING, start_ms=RECORDING.start_ms + 128 * 86_400_000)
    values = list_values(winter, RecordingContext(), BERLIN)
    assert (values["starttime"], values["starttime_utc"]) == ("20261120191300", "20261120181300")


def test_ranges_in_frames_and_seconds() -> None:
    ranges = ((0, 100), (2500, 2**23))
    assert format_frames(ranges) == "0-100,2500-"
    assert format_seconds(ranges, 25.0) == "0.000-4.000,100.000-"
    assert format_seconds(ranges, 0.0) == ""
    context = RecordingContext(cuts=ranges, breaks=((30, 60),), fps=30.0)
    values = list_values(RECORDING, context, BERLIN)
    assert (values["cutlist_frames"], values["skiplist_seconds"]) == ("0-100,2500-", "1.000-2.000")


def test_a_command_may_declare_every_parameter() -> None:
    command = command_from_table(
        {
            "name": "all",
            "argv": ["echo", "{title}"],
            "subject": SUBJECT,
            "parameters": describe_parameters(PARAMETERS),
        }
    )
    assert [each.name for each in command.parameters] == list(PARAMETERS)


def test_the_arguments_of_the_declared_parameters() -> None:
    values = VALUES | {"title": "a\0b"}
    assert select_arguments(["title", "chanid", "quality"], values) == {
        "title": "ab", "chanid": "1001",
    }  # fmt: skip


def test_the_subject_is_the_filled_template() -> None:
    filled = SUBJECT.format(**VALUES)
    assert filled == format_subject(RECORDING.chanid, RECORDING.start_ms)
    assert filled == "recording:1001_20260715181300"
