import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mythjobs.model.definition import command_from_table
from mythjobs.mythtv.database.profiles import RuleJobs, TranscodeProfile
from mythjobs.mythtv.importer.installation import MythInstallation
from mythjobs.mythtv.importer.machine_policies import describe_host_policy, merge_policy
from mythjobs.mythtv.importer.plan import ImportPlan, plan_import
from mythjobs.mythtv.rules import RecordingRule, replace_rules

ALLOWED = {f"joballow{each}": "1" for each in ("metadata", "commflag", "transcode", "userjob1")}
FOUND = MythInstallation(
    settings={"userjob1": 'log "%TITLE%"', "userjobdesc1": "Log\n the title"},
    hosts={"Attic": ALLOWED},
    profiles=(TranscodeProfile(22, "MPEG2"), TranscodeProfile(27, "High Quality", True)),
    rules=(RuleJobs(1, 11, metadata=True), RuleJobs(5, 4, commflag=True, transcode=True)),
)


def with_settings(**settings: str) -> MythInstallation:
    return replace(FOUND, settings={**FOUND.settings, **settings})


def with_host(**settings: str) -> MythInstallation:
    return replace(FOUND, hosts={"Attic": {**ALLOWED, **settings}})


def notes_of(plan: ImportPlan, item: str) -> list[str]:
    return [each.sentence for each in plan.notes if each.item == item]


def test_each_job_becomes_a_command() -> None:
    plan = plan_import(FOUND)
    assert dict(plan.commands) == {
        "metadata": "mythtv-metadata",
        "commflag": "mythtv-commflag",
        "transcode": "mythtv-transcode",
        "transcode-27": "mythtv-transcode-high-quality",
        "userjob1": "mythtv-userjob1",
    }
    for each in plan.definitions:
        command = command_from_table(each.table)
        if each.job:
            assert command.subject == "recording:{chanid}_{starttime_utc}"
    assert plan_import(FOUND).definitions == plan.definitions
    [userjob] = [each.table for each in plan.definitions if each.job == "userjob1"]
    assert (userjob["summary"], userjob["argv"]) == ("Log the title", ["log", "{title}"])


def test_the_number_of_breaks_is_no_failure() -> None:
    [table] = [each.table for each in plan_import(FOUND).definitions if each.job == "commflag"]
    command = command_from_table(table)
    assert command.success == tuple(range(127))
    assert command.progress == "mythcommflag"


def run_shell(table: dict[str, Any], program: str, tmp_path: Path, **values: str) -> list[str]:
    """Run a definition's shell text, and return the arguments of the program that it calls."""
    path = tmp_path / program
    path.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    path.chmod(0o700)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "MYTHJOBS_DIR": str(tmp_path)}
    env |= {f"MYTHJOBS_P_{name.upper()}": value for name, value in values.items()}
    done = subprocess.run(
        ["/bin/sh", "-c", table["shell"]], env=env, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


def test_flagging_or_a_new_seek_table(tmp_path: Path) -> None:
    [table] = [each.table for each in plan_import(FOUND).definitions if each.job == "commflag"]
    key = {"chanid": "1001", "starttime_utc": "20260715181300"}
    plain = ["--chanid", "1001", "--starttime", "20260715181300"]
    assert run_shell(table, "mythcommflag", tmp_path, rebuild="no", **key) == plain
    assert run_shell(table, "mythcommflag", tmp_path, rebuild="yes", **key) == [
        *plain, "--rebuild",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "use_cutlist, cuts, is_cut", [("yes", "0-100", True), ("yes", "", False), ("no", "0-9", False)]
)
def test_a_transcode_with_the_cut_list(
    tmp_path: Path, use_cutlist: str, cuts: str, is_cut: bool
) -> None:
    [table] = [each.table for each in plan_import(FOUND).definitions if each.job == "transcode-27"]
    values = {
        "chanid": "1001", "starttime_utc": "20260715181300", "recordedid": "1", "path": "/a b.ts",
        "use_cutlist": use_cutlist, "cutlist_frames": cuts,
    }  # fmt: skip
    (tmp_path / "mythjobs").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "mythjobs").chmod(0o700)
    lines = run_shell(table, "mythtranscode", tmp_path, **values)
    out = f"{tmp_path}/transcoded"
    transcode = ["--chanid", "1001", "--starttime", "20260715181300", "--profile", "27"]
    replace = ["mythtv", "replace", "1", out, "--path", "/a b.ts", "--delete-old", "--rebuild"]
    assert lines == [
        *transcode, "--outfile", out, *(["--honorcutlist"] if is_cut else []),
        *replace, *(["--drop-marks"] if is_cut else []),
    ]  # fmt: skip


def test_an_own_flagging_command() -> None:
    plan = plan_import(with_settings(jobqueuecommflagcommand="flag --chanid %CHANID%"))
    [table] = [each.table for each in plan.definitions if each.job == "commflag"]
    assert table["argv"] == ["flag", "--chanid", "{chanid}"]
    assert table["success"] == list(range(127))


def test_an_own_transcode_command_replaces_the_profiles() -> None:
    plan = plan_import(with_settings(jobqueuetranscodecommand="tc %TRANSPROFILE% %FILE%"))
    assert "transcode-27" not in plan.commands
    assert "exit code" in notes_of(plan, "JobQueueTranscodeCommand")[-1]
    assert [each.command for each in plan.rules][1] == "mythtv-transcode"


def test_what_is_not_safe_is_reported_and_not_made() -> None:
    plan = plan_import(with_settings(userjob1='eval "%TITLE%"'))
    assert "userjob1" not in plan.commands
    [note] = [each for each in plan.notes if each.item == "UserJob1"]
    assert note.lost
    assert note.sentence.startswith("not imported: eval would evaluate")


def test_shell_text_that_would_be_no_definition_is_reported() -> None:
    plan = plan_import(with_settings(userjob1="log \"%TITLE%\"; awk '{title}' x"))
    [note] = [each for each in plan.notes if each.item == "mythtv-userjob1"]
    assert note.lost
    assert "{title}" in note.sentence


def test_rules_with_automatic_jobs() -> None:
    rules = (
        RuleJobs(1, 11, metadata=True, commflag=True),
        RuleJobs(5, 4, commflag=True, transcode=True, transcoder=27),
        RuleJobs(6, 4, metadata=True, transcode=True, userjobs=(True, False, False, True)),
        RuleJobs(7, 4, commflag=True),
    )
    plan = plan_import(replace(FOUND, rules=rules))
    assert [(each.command, each.recording_rules) for each in plan.rules] == [
        ("mythtv-metadata", (6,)),
        ("mythtv-commflag", (5, 7)),
        ("mythtv-transcode-high-quality", (5,)),
        ("mythtv-transcode", (6,)),
        ("mythtv-userjob1", (6,)),
    ]
    by_command = {each.command: each for each in plan.rules}
    assert by_command["mythtv-userjob1"].include == ("failed", "tiny", "short")
    assert by_command["mythtv-commflag"].include == ()
    assert not by_command["mythtv-commflag"].is_for_commercial_free
    [note] = [each for each in plan.notes if each.item == "automatic userjob4"]
    assert note.lost


def test_flagging_while_recording_and_transcoding_first() -> None:
    found = with_settings(autocommflagwhilerecording="1", autotranscodebeforeautocommflag="1")
    plan = plan_import(found)
    assert [(each.command, each.when) for each in plan.rules] == [
        ("mythtv-transcode", "finished"), ("mythtv-commflag", "started"),
    ]  # fmt: skip


def test_a_second_import_keeps_rules_of_users() -> None:
    own = RecordingRule("mine", "backup")
    plan = plan_import(FOUND)
    once = replace_rules([own], plan.rules, "mythtv-import")
    assert once[0] == own
    assert replace_rules(once, plan.rules, "mythtv-import") == once


@pytest.mark.parametrize(
    "start, end, windows",
    [
        ("00:00", "23:59", None),
        ("02:00", "18:00", ["02:00-18:00"]),
        ("22:00", "06:00", ["22:00-06:00"]),
        ("18:00", "23:59", ["18:00-24:00"]),
        ("nonsense", "06:00", ["00:00-06:00"]),
    ],
)
def test_the_window_of_a_host(start: str, end: str, windows: list[str] | None) -> None:
    found = with_host(jobqueuewindowstart=start, jobqueuewindowend=end)
    merged = merge(found, {"allow": "all"})
    table = merged["commands"]["mythtv-userjob1"]
    assert table.get("windows", {}).get("open") == windows


def merge(found: MythInstallation, present: dict[str, Any]) -> dict[str, Any]:
    plan = plan_import(found)
    merged = merge_policy(present, plan.policies["Attic"], plan.commands.values())
    assert merge_policy(merged, plan.policies["Attic"], plan.commands.values()) == merged
    return merged


def test_a_window_that_never_opens_denies() -> None:
    found = with_host(jobqueuewindowstart="06:00", jobqueuewindowend="06:00")
    assert "mythtv-userjob1" in merge(found, {"allow": "all"})["allow"]["except"]
    assert "never starts" in notes_of(plan_import(found), "JobQueueWindowStart on Attic")[0]


def test_rights_of_a_host() -> None:
    found = with_host(joballowcommflag="0")
    assert merge(found, {"allow": []})["allow"] == [
        "mythtv-metadata", "mythtv-transcode", "mythtv-transcode-high-quality", "mythtv-userjob1",
    ]  # fmt: skip
    assert merge(found, {"allow": "all"})["allow"] == {"except": ["mythtv-commflag"]}
    assert merge(with_host(), {"allow": {"except": ["mythtv-commflag", "x"]}})["allow"] == {
        "except": ["x"]
    }


def test_a_user_job_without_a_setting_is_not_allowed() -> None:
    found = replace(FOUND, hosts={"Attic": {}})
    merged = merge(found, {"allow": []})
    assert "mythtv-userjob1" not in merged["allow"]
    assert "mythtv-commflag" in merged["allow"]
    assert "has no value" in notes_of(plan_import(found), "JobAllowUserJob1 on Attic")[0]


@pytest.mark.parametrize(
    "value, limits",
    [
        ("0", {"nice": 17, "io": "idle"}),
        ("1", {"nice": 10}),
        ("2", None),
        ("x", {"nice": 17, "io": "idle"}),
    ],
)
def test_the_priority_of_a_host(value: str, limits: dict[str, Any] | None) -> None:
    merged = merge(with_host(jobqueuecpu=value), {"allow": "all"})
    assert merged.get("commands", {}).get("mythtv-commflag", {}).get("limits") == limits


def test_settings_of_the_owner_stay() -> None:
    present = {
        "jobs": 3, "labels": ["gpu"], "allow": "all",
        "commands": {
            "backup": {"jobs": 1}, "mythtv-commflag": {"jobs": 1, "limits": {"wall": "2h"}},
        },
    }  # fmt: skip
    merged = merge(with_host(jobqueuemaxsimultaneousjobs="2"), present)
    assert (merged["jobs"], merged["labels"]) == (3, ["gpu"])
    assert merged["commands"]["backup"] == {"jobs": 1}
    assert merged["commands"]["mythtv-commflag"] == {
        "jobs": 1, "limits": {"wall": "2h", "nice": 17, "io": "idle"},
    }  # fmt: skip


def test_a_later_import_follows_mythtv_but_not_over_the_owner() -> None:
    first = plan_import(
        with_host(jobqueuewindowstart="02:00", jobqueuewindowend="18:00",
                  jobqueuemaxsimultaneousjobs="2")
    )  # fmt: skip
    names = first.commands.values()
    made = merge_policy({"allow": []}, first.policies["Attic"], names)
    before = describe_host_policy(first.policies["Attic"])
    second = plan_import(with_host(jobqueuecpu="2", joballowcommflag="0",
                                   jobqueuemaxsimultaneousjobs="3")).policies["Attic"]  # fmt: skip
    # Nobody changed the machine: its settings follow MythTV's.
    followed = merge_policy(made, second, names, before)
    assert followed == {
        "jobs": 3,
        "allow": [
            "mythtv-metadata", "mythtv-transcode", "mythtv-transcode-high-quality",
            "mythtv-userjob1",
        ],
        "commands": {"mythtv-commflag": made["commands"]["mythtv-commflag"]},
    }  # fmt: skip
    # The owner changed them: they stay.
    own = {
        "jobs": 5,
        "allow": ["mythtv-commflag", "mythtv-metadata"],
        "commands": {
            "mythtv-metadata": {"limits": {"nice": 5}, "windows": {"open": ["20:00-22:00"]}},
        },
    }  # fmt: skip
    kept = merge_policy(own, second, names, before)
    assert kept["jobs"] == 5
    assert kept["allow"] == ["mythtv-metadata"]
    assert kept["commands"]["mythtv-metadata"] == {
        "limits": {"nice": 5}, "windows": {"open": ["20:00-22:00"]},
    }  # fmt: skip


def test_the_number_of_jobs_of_a_host() -> None:
    assert merge(with_host(jobqueuemaxsimultaneousjobs="2"), {"allow": "all"})["jobs"] == 2
    off = with_host(jobqueuemaxsimultaneousjobs="0")
    assert "jobs" not in merge(off, {"allow": "all"})
    assert "switches" in notes_of(plan_import(off), "JobQueueMaxSimultaneousJobs on Attic")[0]


def test_housekeeping_becomes_schedules() -> None:
    [fill] = plan_import(FOUND).schedules
    assert (fill["command"], fill["between"]) == ("mythtv-mythfilldatabase", "00:00-24:00")
    found = with_settings(
        mythfillenabled="1", mythfillminhour="2", mythfillmaxhour="5", dailyartworkupdates="1",
        mythfilldatabasepath="/usr/bin/mythfilldatabase", mythfilldatabaseargs="--dont-refresh-tba",
    )  # fmt: skip
    plan = plan_import(found)
    assert [each["between"] for each in plan.schedules] == ["02:00-05:30", "00:00-24:00"]
    [table] = [
        each.table for each in plan.definitions if each.table["name"] == "mythtv-mythfilldatabase"
    ]
    assert table["argv"] == ["/usr/bin/mythfilldatabase", "--dont-refresh-tba"]
    assert plan_import(with_settings(mythfillenabled="0")).schedules == []


@pytest.mark.parametrize("name", ["DeferAutoTranscodeDays", "JobsRunOnRecordHost"])
def test_settings_without_a_counterpart_are_reported(name: str) -> None:
    assert not notes_of(plan_import(FOUND), name)
    assert notes_of(plan_import(with_settings(**{name.lower(): "1"})), name)
