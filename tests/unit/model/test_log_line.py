from __future__ import annotations

import json

import pytest

from mythjobs.model.log_line import LogEvent, format_event, is_journal

AT_S = 1_795_521_600.25  # 2026-11-24 12:00:00.250 UTC
EVENT = LogEvent(AT_S, "master", "warning", 'cannot read "x y"', {"job": 12, "machine": "attic"})


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()


def test_text_has_time_program_and_message() -> None:
    assert format_event(EVENT, "text") == ('2026-11-24 12:00:00,250 master: cannot read "x y"')


def test_logfmt_is_one_line_of_pairs() -> None:
    assert format_event(EVENT, "logfmt") == (
        'ts=2026-11-24T12:00:00.250Z level=warning program=master msg="cannot read \\"x y\\"" '
        "job=12 machine=attic"
    )
    odd = EVENT._replace(message="two\nlines", fields={"a": "", "b": "x=1", "c": "ä"})
    assert format_event(odd, "logfmt").partition(" msg=")[2] == ('"two\\nlines" a="" b="x=1" c=ä')


def test_json_is_one_object_a_line() -> None:
    line = format_event(EVENT._replace(traceback="Traceback\n  x"), "json")
    assert "\n" not in line
    assert json.loads(line) == {
        "ts": "2026-11-24T12:00:00.250Z",
        "level": "warning",
        "program": "master",
        "msg": 'cannot read "x y"',
        "job": 12,
        "machine": "attic",
        "traceback": "Traceback\n  x",
    }


@pytest.mark.parametrize("style", ["logfmt", "json"])
def test_a_traceback_is_part_of_its_line(style: str) -> None:
    assert "\n" not in format_event(EVENT._replace(traceback="a\nb"), style)


def test_in_the_journal_each_line_has_the_priority_and_no_time() -> None:
    event = EVENT._replace(level="error", traceback="a\nb")
    assert format_event(event, "text", journal=True) == ('<3>master: cannot read "x y"\n<3>a\n<3>b')
    assert format_event(EVENT, "logfmt", journal=True).startswith("<4>level=warning program=")
    assert format_event(EVENT, "json", journal=True).startswith('<4>{"ts": ')


def test_the_journal_is_recognized_by_device_and_inode() -> None:
    assert is_journal("8:1234", 8, 1234)
    assert not is_journal("8:1234", 8, 1235)
    assert not is_journal("", 8, 1234)
