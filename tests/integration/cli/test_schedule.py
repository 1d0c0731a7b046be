"""`mythjobs schedule` and `mythjobs schedules`, against a scripted master."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from mythjobs.clock import master_now
from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import STATUS
from tests.integration.cli.scripted import Master, error, write_editor

AT_MS = 1_800_000_000_000
RUN = {
    "at_ms": AT_MS, "local": "Fri 2027-01-15 02:30 CET", "start_ms": AT_MS, "until_ms": None,
    "note": "",
}  # fmt: skip
DEFINED = {"name": "night", "changed": True, "next": [RUN]}
TICK = {
    "at_ms": AT_MS, "local": "Fri 2027-01-15 02:30 CET", "last_ms": AT_MS, "ticks": 1,
    "outcome": "succeeded", "reason": "", "machine": "", "job": 7, "tries": 1,
    "started_ms": AT_MS + 2000, "ended_ms": AT_MS + 62_000,
}  # fmt: skip
MISSED = TICK | {
    "ticks": 3, "outcome": "missed", "reason": "the master was not running", "job": None,
    "started_ms": None, "ended_ms": None,
}  # fmt: skip
SUMMARY: dict[str, Any] = {
    "name": "night", "command": "backup", "summary": "", "when": "30 2 * * *",
    "zone": "Europe/Berlin", "is_own_zone": False, "where": "any machine", "paused": False,
    "paused_until_ms": None, "pause_reason": "", "error": "", "next_ms": AT_MS,
    "next_local": "Fri 2027-01-15 02:30 CET", "jobs": [], "last": TICK,
    "cadence": {"asked_s": 86400.0, "effective_s": 86400.0, "wait_s": 2.0, "run_s": 60.0,
                "drifting": False, "sentence": "every 1 d"},
}  # fmt: skip
DETAILS = SUMMARY | {
    "definition": {"name": "night", "command": "backup", "cron": "30 2 * * *"},
    "submitter": "ann", "created_ms": AT_MS, "changed_ms": AT_MS, "next": [RUN],
    "ticks": [MISSED, TICK],
}  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path: Path, master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    master.answers |= {
        "POST schedules": DEFINED,
        "GET schedules": {"zone": "Europe/Berlin", "schedules": [SUMMARY]},
        "GET schedules/night": DETAILS,
        "GET commands/backup": {
            "definition": {"name": "backup", "parameters": [{"name": "target", "type": "path"}]}
        },
    }


def test_a_schedule_is_added_from_a_file(call: Call, master: Master) -> None:
    Path("night.toml").write_text('name = "night"\ncommand = "backup"\ncron = "@daily"\n')
    done = call("schedule", "add", "night.toml", "--paused")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("schedule night stored; its next runs are\n  Fri 2027-01-15 02:30")
    assert master.requests[-1].json == {
        "definition": {"name": "night", "command": "backup", "cron": "@daily"},
        "replace": False, "dry_run": False, "paused": True,
    }  # fmt: skip
    dry = call("schedule", "add", "night.toml", "--dry-run")
    assert "is valid; its next runs would be" in dry.out


def test_a_schedule_is_added_from_options(call: Call, master: Master, tmp_path: Path) -> None:
    done = call(
        "schedule", "add", "night", "--command", "backup", "--cron", "30 2 * * *", "--cron",
        "@weekly", "--param", "target=out", "--zone", "Europe/Berlin", "--catch-up", "all",
        "--at-most", "3", "--where", "each machine", "--start-within", "2h",
    )  # fmt: skip
    assert done.code == 0
    assert master.requests[-1].json["definition"] == {
        "name": "night", "command": "backup", "cron": ["30 2 * * *", "@weekly"],
        "zone": "Europe/Berlin", "where": "each machine", "catch_up": "all", "at_most": 3,
        "start_within": "2h", "arguments": {"target": str(tmp_path / "out")},
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments, why",
    [
        (["night.toml", "--cron", "@daily"], "--cron needs --command and a name"),
        (["night.toml", "--param", "a=b"], "--param needs --command and a name"),
        (["night", "--command", "backup"], "cron: give one of"),
        (["night", "--command", "backup", "--every", "6x"], "every: "),
        (["no.toml"], "cannot read no.toml"),
    ],
)
def test_a_wrong_definition_is_not_sent(
    call: Call, master: Master, arguments: list[str], why: str
) -> None:
    done = call("schedule", "add", *arguments)
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert not any(each.method == "POST" for each in master.requests)


def test_a_file_with_an_error_names_the_line(call: Call, master: Master) -> None:
    Path("night.toml").write_text('name = "night"\ncommand = "backup"\nevery = "1x"\n')
    done = call("schedule", "add", "night.toml")
    assert "night.toml line 3: every: " in done.err
    Path("night.toml").write_text('name = "night"\ncommand = "backup"\ncron = "@daily"\n')
    master.answers["POST schedules"] = error(409, "conflict", 'the name "night" is taken; change')
    done = call("schedule", "add", "night.toml")
    assert "schedule night exists already; use `mythjobs schedule edit night`" in done.err


def test_schedules_are_listed(call: Call, master: Master) -> None:
    paused = {"paused": True, "next_ms": None, "next_local": "", "pause_reason": "cron runs it"}
    broken = {"error": "moon: unknown key", "last": None, "cadence": None}
    later = {"paused": True, "paused_until_ms": AT_MS - 60_000}
    found = [SUMMARY, SUMMARY | paused, SUMMARY | broken, SUMMARY | later]
    master.answers["GET schedules"] = {"zone": "UTC", "schedules": found}
    lines = call("schedules").out.splitlines()
    next_run = r"Fri 2027-01-15 02:30 CET, in \d+ d"
    assert re.match(
        rf"night +backup +30 2 \* \* \* +{next_run} +succeeded 2027-.* every 1 d", lines[1]
    )
    assert "paused: cron runs it" in lines[2]
    assert "never: moon: unknown key" in lines[3]
    assert ", paused until 2027-01-15 " in lines[4]
    assert json.loads(call("schedules", "--json").out) == found
    master.answers["GET schedules"] = {"zone": "UTC", "schedules": []}
    assert "there are no schedules" in call("schedules").err


def test_status_names_schedules_that_cannot_be_used(call: Call, master: Master) -> None:
    why = 'zone: time zone "Europe/Gone" is not known on this machine'
    aside = {"kind": "schedule", "id": 3, "command": "", "error": "KeyError", "since_ms": 1}
    master.answers["GET status"] = STATUS | {
        "unusable_schedules": [{"name": "night", "error": why}],
        "set_aside": [aside],
    }
    error = call("status").err
    assert f"the schedule night submits no jobs: {why}; change it with `mythjobs schedule" in error
    assert "job 3" not in error  # the number is the one of a schedule


def test_a_schedule_is_shown_with_its_ticks(call: Call) -> None:
    out = call("schedule", "show", "night").out
    assert "time zone  Europe/Berlin (the master's)" in out
    assert "next runs\n  Fri 2027-01-15 02:30 CET  in " in out
    assert re.search(r"02:30 CET and 2 more +missed +the master was not running\n", out)
    assert re.search(r"succeeded +7 +2\.0 s +1 min\n", out)
    assert call("schedule", "show", "night", "--definition").out == (
        'name = "night"\ncommand = "backup"\ncron = "30 2 * * *"\n'
    )


def test_actions_on_a_schedule(call: Call, master: Master) -> None:
    master.answers["POST schedules/night/run"] = {"name": "night", "jobs": [9]}
    assert call("schedule", "run", "night").out.startswith("job 9 submitted")
    master.answers["POST schedules/night/paused"] = {"name": "night", "paused": True}
    done = call("schedule", "pause", "night", "--for", "2h", "--reason", "away")
    assert done.out.startswith("schedule night is paused until ")
    assert master.requests[-1].json["reason"] == "away"
    assert call("schedule", "pause", "night", "--for", "2h", "--until", "+3h").code == 2
    master.answers["POST schedules/night/paused"] = {"name": "night", "paused": False}
    assert call("schedule", "resume", "night").out == "schedule night is active\n"
    assert call("schedule", "remove", "night").code == 2
    master.answers["DELETE schedules/night"] = {"name": "night"}
    assert call("schedule", "remove", "night", "--yes").out == "schedule night removed\n"


def test_a_backfill_is_shown_before_it_is_done(call: Call, master: Master) -> None:
    ticks = [
        {"at_ms": AT_MS, "local": "Fri 02:30", "outcome": each, "job": job, "reason": ""}
        for each, job in (("ran", 3), ("to submit", None), ("to submit", None))
    ]
    done = [ticks[0]] + [
        each | {"outcome": "submitted", "job": job}
        for each, job in zip(ticks[1:], (8, 9), strict=True)
    ]
    plan, result = {"name": "night", "ticks": ticks}, {"name": "night", "ticks": done}
    master.answers["POST schedules/night/backfill"] = [plan, plan, result]
    refused = call("schedule", "backfill", "night", "2020-01-10")
    assert refused.code == 2
    assert "2 jobs would be submitted" in refused.err
    out = call("schedule", "backfill", "night", "2020-01-10", "--yes").out
    assert "Fri 02:30  job 3\nFri 02:30  to submit\n" in out
    assert out.endswith("2 jobs, 8 to 9, submitted\n")
    assert [each.json["dry_run"] for each in master.requests] == [True, True, False]


def test_a_backfill_begins_in_the_past(call: Call, master: Master) -> None:
    master.answers["POST schedules/night/backfill"] = {"name": "night", "ticks": []}
    for times in (["00:00"], ["23:59"], ["yesterday", "today"], ["2h", "1h"]):
        assert call("schedule", "backfill", "night", *times).code == 0
        sent = master.requests[-1].json
        assert 0 <= sent["to_ms"] - sent["from_ms"] <= 2 * 86_400_000
        assert sent["to_ms"] <= master_now().wall_ms
    for wrong in (["2999-01-01"], ["today", "2999-01-01"], ["soon"]):
        assert call("schedule", "backfill", "night", *wrong).code == 2


def test_a_schedule_is_edited(
    call: Call, master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VISUAL", write_editor(tmp_path / "ed", 'sed -i "s/30 2/15 3/" "$2"'))
    assert call("schedule", "edit", "night").code == 0
    sent = master.requests[-1].json
    assert (sent["definition"]["cron"], sent["replace"]) == ("15 3 * * *", True)


def test_an_expression_is_tested_without_a_master(call: Call, master: Master) -> None:
    done = call("schedule", "test", "30 2 29 3 *", "--zone", "Europe/Berlin", "--count", "2")
    assert done.out.startswith("next runs, time zone Europe/Berlin\n  ")
    assert len(done.out.splitlines()) == 3
    wrong = call("schedule", "test", "61 * * * *")
    assert (wrong.code, 'is not a cron expression: minute "' in wrong.err) == (2, True)
    assert master.requests == []
