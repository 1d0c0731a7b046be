"""Which recordings get a job, and the rules' file."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mythjobs.errors import DefinitionError
from mythjobs.mythtv.recording import Recording, format_key, parse_recording
from mythjobs.mythtv.rules import (
    RecordingRule,
    explain_mismatch,
    format_rules,
    parse_rules,
    replace_rules,
)

API = Path(__file__).parents[2] / "support" / "mythtv" / "recordings" / "api"


def recorded(name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads((API / f"{name}.json").read_text(encoding="utf-8"))
    return found["Program"]  # type: ignore[return-value]


def a_recording(**changes: object) -> Recording:
    found = parse_recording(recorded("dvr-getrecorded.as-json"))
    assert found is not None
    found = replace(found, end_ms=found.start_ms + 3_600_000)
    return replace(found, **changes)  # type: ignore[arg-type]


FLAG = RecordingRule("flag", "mythcommflag")


def test_a_recording_of_the_services_api_is_read() -> None:
    found = parse_recording(recorded("dvr-getrecorded.as-json"))
    assert found is not None
    assert (found.recordedid, found.key) == (1, "1001_20260715181300")
    assert (found.title, found.subtitle) == ("Große Reise", "Über die Alpen")
    assert (found.season, found.episode, found.duration_s) == (2, 7, 40.0)
    assert found.basename == f"{found.key}.ts"


def test_texts_with_the_separator_of_the_protocol_arrive_whole() -> None:
    found = parse_recording(recorded("dvr-getrecorded.hostile.as-json"))
    assert found is not None
    assert found.title.startswith("Ärger \"im\" 'Haus' $(touch ")
    assert "[]:[]" in found.description


def test_version_1_of_the_api_writes_all_values_as_texts() -> None:
    def to_texts(value: object) -> object:
        if isinstance(value, dict):
            return {key: to_texts(each) for key, each in value.items()}
        if value is None or isinstance(value, list):
            return value
        return str(value).lower() if isinstance(value, bool) else str(value)

    program = recorded("dvr-getrecorded.as-json")
    texts = to_texts(program)
    assert isinstance(texts, dict)
    assert parse_recording(texts) == parse_recording(program)


def test_the_empty_object_of_an_unknown_recording_is_none() -> None:
    assert parse_recording(recorded("dvr-getrecorded.unknown.as-json")) is None


def test_a_rule_without_conditions_matches_every_complete_recording() -> None:
    assert explain_mismatch(FLAG, a_recording(), "finished") == ""


@pytest.mark.parametrize(
    "changes, exception, reason",
    [
        ({"recording_group": "LiveTV"}, "livetv", "the recording is Live TV"),
        ({"status": -6}, "failed", "the recording failed (status -6)"),
        ({"size_bytes": 999}, "tiny", "the file has only 999 bytes"),
        ({"end_ms": 1_784_139_180_000 + 119_000}, "short", "the recording is shorter than 2 min"),
    ],
)
def test_what_mythtv_leaves_out_is_left_out_unless_included(
    changes: dict[str, object], exception: str, reason: str
) -> None:
    recording = a_recording(**changes)
    assert explain_mismatch(FLAG, recording, "finished") == reason
    assert explain_mismatch(replace(FLAG, include=(exception,)), recording, "finished") == ""


def test_a_deleted_recording_gets_no_job() -> None:
    rule = replace(FLAG, include=("livetv", "failed", "tiny", "short"), groups=("Deleted",))
    deleted = a_recording(recording_group="Deleted")
    assert explain_mismatch(rule, deleted, "finished") == "the recording has been deleted"


@pytest.mark.parametrize(
    "condition, other",
    [
        ({"recording_rules": (0,)}, {"recording_rules": (7,)}),
        ({"titles": ("große*",)}, {"titles": ("reise",)}),
        ({"titles": ("*REISE",)}, {"titles": ("Gro?e Reise",)}),
        ({"channels": ("ERSTES",)}, {"channels": ("2",)}),
        ({"channels": ("1001",)}, {"channels": ("1002",)}),
        ({"channels": ("1",)}, {"channels": ("100",)}),
        ({"groups": ("Default",)}, {"groups": ("default",)}),
        ({"min_size_bytes": 4_182_812}, {"min_size_bytes": 4_182_813}),
        ({"max_size_bytes": 4_182_812}, {"max_size_bytes": 4_182_811}),
        ({"min_duration_s": 3600}, {"min_duration_s": 3601}),
        ({"max_duration_s": 3600}, {"max_duration_s": 3599}),
    ],
)
def test_a_condition_selects_recordings(
    condition: dict[str, object], other: dict[str, object]
) -> None:
    assert explain_mismatch(replace(FLAG, **condition), a_recording(), "finished") == ""  # type: ignore[arg-type]
    assert explain_mismatch(replace(FLAG, **other), a_recording(), "finished") != ""  # type: ignore[arg-type]


def test_a_rule_for_the_start_ignores_size_duration_and_status() -> None:
    rule = replace(FLAG, when="started", min_size_bytes=10**9)
    recording = a_recording(status=-2, size_bytes=0)
    assert explain_mismatch(rule, recording, "started") == ""
    assert explain_mismatch(rule, recording, "finished") != ""
    assert explain_mismatch(FLAG, recording, "started") != ""


def test_a_rule_leaves_out_channels_without_commercials() -> None:
    rule = replace(FLAG, is_for_commercial_free=False)
    assert explain_mismatch(rule, a_recording(), "finished") == ""
    free = a_recording(is_commercial_free=True)
    assert explain_mismatch(rule, free, "finished") == "the channel has no commercials"


def test_rules_survive_their_file() -> None:
    rules = [
        FLAG,
        RecordingRule(
            "news", "transcode", "started", False, (3, 7), ('N"ews*',), ("1001",), ("Default",),
            10**6, 2**33, 90, 7200, ("failed", "livetv"), False, -5, {"preset": "fast"}, "import",
        ),
    ]  # fmt: skip
    assert parse_rules(format_rules(rules)) == rules
    assert parse_rules("") == []


@pytest.mark.parametrize(
    "text, message",
    [
        ("[[rules]]\nname='a'", "rules[1].command: is missing"),
        ("[[rules]]\nname='a b'\ncommand='x'", 'rules[1].name: "a b" is invalid'),
        ("[[rules]]\nname='a'\ncommand='x'\ntitle='y'", "rules[1].title: unknown key"),
        ("[[rules]]\nname='a'\ncommand='x'\nwhen='later'", 'rules[1].when: "later" must be'),
        ("[[rules]]\nname='a'\ncommand='x'\ninclude=['x']", 'rules[1].include: "x" must be'),
        ("[[rules]]\nname='a'\ncommand='x'\nmin_size='big'", "rules[1].min_size:"),
        ("[[rules]]\nname='a'\ncommand='x'\nrecording_rules=['7']", "rules[1].recording_rules:"),
        ("[rules]\nname='a'", "rules: each rule begins with a line [[rules]]"),
        ("rule = 1", "rule: unknown key"),
        ("[[rules]]\nname='a'\ncommand='x'\n" * 2, 'two rules have the name "a"'),
        ("[[rules", ""),
    ],
)
def test_invalid_rules_name_the_key(text: str, message: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        parse_rules(text)
    assert message in caught.value.sentence


def test_an_import_replaces_its_own_rules_only() -> None:
    own = RecordingRule("mine", "x")
    old = replace(FLAG, origin="import", is_enabled=False)
    new = [RecordingRule("flag", "y"), RecordingRule("mine", "z"), RecordingRule("more", "w")]
    found = replace_rules([old, own], new, "import")
    assert [each.name for each in found] == ["mine", "flag", "more"]
    assert found[0] is own
    assert (found[1].command, found[1].is_enabled, found[1].origin) == ("y", False, "import")


def test_a_key_is_in_utc() -> None:
    assert format_key(1001, 1_784_139_180_000) == "1001_20260715181300"
