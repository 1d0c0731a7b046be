import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mythjobs.clock import master_now
from tests.integration.cli.conftest import Call
from tests.integration.cli.samples import MACHINE, STATUS, WHOLE_MACHINE
from tests.integration.cli.scripted import Master, error, write_editor


@pytest.fixture(autouse=True)
def here(tmp_path: Path, master: Master, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    master.answers["GET machines/attic"] = WHOLE_MACHINE
    master.answers["POST machines/attic"] = WHOLE_MACHINE
    for act in ("settings", "hours", "control"):
        master.answers[f"POST machines/attic/{act}"] = WHOLE_MACHINE


def test_a_shown_policy_can_be_set(call: Call, master: Master) -> None:
    override = {"command": "thumbnail", "kind": "pause", "until_ms": 1_800_000_000_000}
    master.answers["GET machines/attic"] = {**WHOLE_MACHINE, "overrides": [override]}
    shown = call("machine", "show", "attic").out
    assert shown.startswith(
        "# attic: up, runs 1 of 4 jobs, 3 slots free, time zone Europe/Berlin\n"
    )
    assert "# closed for thumbnail until 2027-01-15" in shown
    assert tomllib.loads(shown) == WHOLE_MACHINE["settings"]

    Path("attic.toml").write_text(shown)
    assert call("machine", "set", "attic", "attic.toml").code == 0
    assert master.requests[-1].json == {"settings": WHOLE_MACHINE["settings"]}


LOAD = {
    "cores": 4, "cpu": 3.4, "own_cpu": 2.0, "foreign_cpu": 1.0, "memory_bytes": 8 * 2**30,
    "available_bytes": 2**30, "disks": {"sdb": {"busy": 0.97, "foreign": 0.02}},
    "pressure": {"cpu": [12.4, 0.0], "io": [60.0, 40.0]},
}  # fmt: skip


def test_the_load_of_a_machine_is_shown_with_the_reason_for_its_jobs(
    call: Call, master: Master
) -> None:
    sentence = "runs 3 jobs and not 4: disk sdb is saturated by 2 heavy streams"
    scaling = {"sentence": sentence, "fits": {}, "reasons": {"copy": "…", "flag": "no memory"}}
    hidden = [{"path": "/mnt/nas", "until_ms": 1_800_000_000_000}]
    master.answers["GET machines/attic"] = {
        **WHOLE_MACHINE, "scaling": scaling, "load": LOAD, "gpus": ["GT 1030"],
        "hidden_paths": hidden,
    }  # fmt: skip
    shown = call("machine", "show", "attic").out
    for line in (
        sentence,
        "no further job of flag: no memory",
        "3.4 of 4 cores in use: 2.0 by jobs, 1.4 by other programs (0.4 at low priority)",
        "1.0 of 8.0 GiB of memory free",
        "disk sdb busy for 97%: 95% by jobs, 2% by other programs",
        "programs wait for (10 s): cpu 12 %, io 60 %",
        "labels: ffmpeg, ffmpeg:libx264",
        "GPU: GT 1030",
        "paths: / (ext4, sda)",
    ):
        assert f"\n# {line}\n" in shown
    assert "\n# cannot read /mnt/nas, tried again 2027-01-15" in shown
    assert tomllib.loads(shown) == WHOLE_MACHINE["settings"]


def test_invalid_settings_name_the_line_and_nothing_is_sent(call: Call, master: Master) -> None:
    Path("a.toml").write_text('jobs = 2\n\n[commands.x.windows]\nopen = ["22:00-22:00"]\n')
    done = call("machine", "set", "attic", "a.toml")
    assert (done.code, done.out) == (2, "")
    assert "a.toml line 4: commands.x.windows.open" in done.err
    assert master.requests == []


def test_a_policy_is_edited(
    call: Call, master: Master, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = 'sed -i "s/jobs = 4/jobs = 2/" "$2"'
    monkeypatch.setenv("VISUAL", write_editor(tmp_path / "ed", script))
    done = call("machine", "edit", "attic")
    assert done == (0, "attic runs at most 4 jobs; allowed: all but backup\n", "")
    assert master.requests[-1].json["settings"]["jobs"] == 2


@pytest.mark.parametrize("arguments", [[], ["a.toml", "--jobs", "1"]])
def test_set_needs_either_a_file_or_an_option(call: Call, arguments: list[str]) -> None:
    done = call("machine", "set", "attic", *arguments)
    assert (done.code, "give a file, or --jobs, --zone, --label or --no-label" in done.err) == (
        2,
        True,
    )


@pytest.mark.parametrize(
    "arguments, kind, of",
    [
        (["open", "attic", "--until", "2099-01-02 22:00"], "allow", None),
        (["close", "attic", "thumbnail", "--until", "2099-01-02 22:00"], "pause", "thumbnail"),
    ],
)
def test_an_override_opens_or_closes_a_machine(
    call: Call, master: Master, arguments: list[str], kind: str, of: str | None
) -> None:
    done = call("machine", *arguments)
    word = {"allow": "open", "pause": "closed"}[kind]
    assert done.out == (
        f"attic is {word} for {of or 'every command'} until 2099-01-02 22:00, regardless of "
        "run windows\n"
    )
    sent = master.requests[0].json
    assert (sent["kind"], sent["command"]) == (kind, of)
    assert sent["until_ms"] > 4_000_000_000_000


def test_an_override_needs_either_an_end_or_a_duration(call: Call, master: Master) -> None:
    assert call("machine", "open", "attic", "--for", "2h").code == 0
    for arguments in ([], ["--for", "2h", "--until", "23:00"]):
        done = call("machine", "open", "attic", *arguments)
        assert (done.code, "give either --until or --for" in done.err) == (2, True)


PAUSED = {"drained": True, "paused": True, "until_ms": 4_070_908_800_000, "enforced": False}


@pytest.mark.parametrize(
    "arguments",
    [
        ["--until", "2099-01-01 07:00"],
        ["until", "2099-01-01 07:00"],
        ["until", "2099-01-01", "07:00"],
    ],
)
def test_a_pause_has_an_end(call: Call, master: Master, arguments: list[str]) -> None:
    busy = {**WHOLE_MACHINE, "leased": 2, "control": PAUSED}
    master.answers["POST machines/attic/control"] = busy
    done = call("machine", "pause", "attic", *arguments)
    assert done.out == "attic is paused until 2099-01-01 07:00; freezing 2 jobs\n"
    assert "older version, which cannot pause: its jobs run on" in done.err
    sent = master.requests[0].json
    assert sent["action"] == "pause"
    assert sent["until_ms"] > 4_000_000_000_000


def test_a_pause_lasts_for_a_time_or_without_end(call: Call, master: Master) -> None:
    assert call("machine", "pause", "attic") == (0, "attic is paused\n", "")
    assert master.requests[-1].json == {"action": "pause", "until_ms": None}
    for arguments in (["for", "30m"], ["--for", "30m"]):
        assert call("machine", "pause", "attic", *arguments).code == 0
        left_ms = master.requests[-1].json["until_ms"] - master_now().wall_ms
        assert 1_700_000 < left_ms <= 1_800_000
    for arguments in (["for"], ["30m"], ["until", "never"], ["for", "1h", "--for", "1h"]):
        assert call("machine", "pause", "attic", *arguments).code == 2


def test_drain_waits_until_the_machine_is_empty(
    call: Call, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mythjobs.cli.commands.machine_control._POLL_S", 0.0)
    drained = {**WHOLE_MACHINE, "control": PAUSED | {"paused": False}}
    master.answers["POST machines/attic/control"] = {**drained, "leased": 1}
    master.answers["GET machines/attic"] = drained
    done = call("machine", "drain", "attic")
    assert done.out == "attic is drained: it starts no jobs, 1 job left to finish\n"
    assert call("machine", "drain", "attic", "--wait").out.endswith("attic has no job left\n")
    assert json.loads(call("machine", "drain", "attic", "--wait", "--json").out)["leased"] == 0
    # Somebody resumes the machine meanwhile.
    master.answers["GET machines/attic"] = {**WHOLE_MACHINE, "leased": 1}
    done = call("machine", "drain", "attic", "--wait")
    assert (done.code, "it is not drained any more" in done.err) == (1, True)


def test_a_machine_is_resumed(call: Call, master: Master) -> None:
    done = call("machine", "resume", "attic")
    assert done == (0, "attic is resumed: neither drained nor paused\n", "")
    assert master.requests[0].json == {"action": "resume"}


CELLAR = {**WHOLE_MACHINE, "name": "cellar", "leased": 3}


@pytest.mark.parametrize("end", [["--for", "2h"], ["for", "2h"]])
def test_all_machines_are_paused_and_resumed(call: Call, master: Master, end: list[str]) -> None:
    master.answers["GET machines"] = {"machines": [MACHINE, {**MACHINE, "name": "cellar"}]}
    master.answers["POST machines/cellar/control"] = CELLAR
    out = call("machine", "pause", "--all", *end).out
    assert re.fullmatch(r"(attic|cellar) is paused until .*\ncellar is paused .* 3 jobs\n", out)
    _, attic, cellar = master.requests
    assert attic.json["until_ms"] == cellar.json["until_ms"]
    assert call("machine", "resume", "--all") == (
        0,
        "attic is resumed: neither drained nor paused\n"
        "cellar is resumed: neither drained nor paused\n",
        "",
    )
    listed = json.loads(call("machine", "resume", "--all", "--json").out)
    assert [each["name"] for each in listed] == ["attic", "cellar"]


@pytest.mark.parametrize("act", ["drain", "pause", "resume"])
def test_an_error_about_one_machine_does_not_hide_what_was_done_before(
    call: Call, master: Master, act: str
) -> None:
    master.answers["GET machines"] = {"machines": [MACHINE, {**MACHINE, "name": "cellar"}]}
    master.answers["POST machines/cellar/control"] = error(
        404, "no_such_machine", "there is no machine cellar"
    )
    done = call("machine", act, "--all")
    assert (done.code, done.err) == (2, "mythjobs: there is no machine cellar\n")
    assert done.out.startswith("attic is ")


def test_a_drain_of_all_machines_waits_until_all_are_empty(
    call: Call, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mythjobs.cli.commands.machine_control._POLL_S", 0.0)
    control = {"control": PAUSED | {"paused": False}}
    master.answers |= {
        "GET machines": {"machines": [MACHINE, {**MACHINE, "name": "cellar"}]},
        "POST machines/attic/control": {**WHOLE_MACHINE, **control},
        "POST machines/cellar/control": {**CELLAR, **control},
        "GET machines/cellar": [{**CELLAR, **control}, {**CELLAR, **control, "leased": 0}],
    }
    assert call("machine", "drain", "--all", "--wait") == (
        0,
        "attic is drained: it starts no jobs, no job left\n"
        "cellar is drained: it starts no jobs, 3 jobs left to finish\n"
        "attic has no job left\n"
        "cellar has no job left\n",
        "",
    )
    master.answers["GET machines/cellar"] = CELLAR  # somebody resumes it meanwhile
    done = call("machine", "drain", "--all", "--wait")
    assert (done.code, done.err) == (
        1, "mythjobs: cellar was resumed meanwhile: it is not drained any more\n",
    )  # fmt: skip


@pytest.mark.parametrize("act", ["drain", "pause", "resume"])
def test_either_one_machine_or_all_are_named(call: Call, master: Master, act: str) -> None:
    for arguments in ([], ["attic", "--all"]):
        done = call("machine", act, *arguments)
        assert (done.code, "name a machine, or give --all" in done.err) == (2, True)
    assert master.requests == []
    master.answers["GET machines"] = {"machines": []}
    assert call("machine", act, "--all") == (2, "", "mythjobs: no machine has joined yet\n")


def test_a_drained_and_paused_machine_is_shown(call: Call, master: Master) -> None:
    paused = {**WHOLE_MACHINE, "control": PAUSED}
    master.answers["GET machines/attic"] = paused
    assert "attic: up, drained, paused until 2099-01-01" in call("machine", "show", "attic").out
    master.answers["GET machines"] = {"machines": [paused]}
    assert "up, drained, paused until 2099-01-01" in call("machines").out
    [listed] = STATUS["machines"]
    master.answers["GET status"] = {**STATUS, "machines": [listed | {"control": PAUSED}]}
    assert "attic    up, drained, paused until 2099-01-01 00:00" in call("status").out


@pytest.mark.parametrize(
    "arguments, sent",
    [
        (["--jobs", "auto"], {"jobs": "auto"}),
        (["--jobs", "2"], {"jobs": 2}),
        (["--command", "backup", "--jobs", "1"], {"jobs": 1, "command": "backup"}),
    ],
)
def test_a_ceiling_is_set_or_removed(
    call: Call, master: Master, arguments: list[str], sent: dict[str, Any]
) -> None:
    assert call("machine", "set", "attic", *arguments).code == 0
    assert master.requests[-1].json == sent
    assert call("machine", "set", "attic", "--zone", "UTC", "--command", "backup").code == 2


def test_hours_ends_an_override(call: Call, master: Master) -> None:
    done = call("machine", "hours", "attic", "thumbnail")
    assert done == (0, "attic uses its run windows for thumbnail\n", "")
    sent = {"kind": "hours", "command": "thumbnail", "until_ms": None}
    assert master.requests[0].json == sent


def test_declaring_a_machine_dead_requires_confirmation(
    call: Call, master: Master, monkeypatch: pytest.MonkeyPatch
) -> None:
    master.answers["GET machines/attic"] = {**WHOLE_MACHINE, "leased": 2}
    master.answers["POST machines/attic/dead"] = {"name": "attic", "jobs": [7, 8]}
    arguments = ("machine", "dead", "attic", "--reason", "it burned")
    with open("/dev/null") as empty:
        monkeypatch.setattr("sys.stdin", empty)
        refused = call(*arguments)
    assert refused.code == 2
    assert "attic has 2 jobs, which may run again on other machines; stdin is not" in (refused.err)
    assert len(master.requests) == 1
    done = call(*arguments, "--yes")
    assert done == (0, "attic is declared dead; lost jobs: 7, 8\n", "")
    assert master.requests[-1].json == {"reason": "it burned"}


def test_semaphores_are_listed_set_and_removed(call: Call, master: Master) -> None:
    found: dict[str, Any] = {"semaphores": [{"name": "nas", "size": 3, "used": 1}]}
    for request in ("GET semaphores", "POST semaphores/nas", "DELETE semaphores/nas"):
        master.answers[request] = found
    table = "semaphore  used  units\nnas           1      3\n"
    assert call("semaphore", "list") == (0, table, "")
    assert call("semaphore", "set", "nas", "3") == (0, table, "")
    assert master.requests[-1].json == {"size": 3}
    assert call("semaphore", "set", "nas", "3", "--free-when-frozen").code == 0
    assert master.requests[-1].json == {"size": 3, "free_when_frozen": True}
    assert call("semaphore", "remove", "nas").code == 0
    assert json.loads(call("semaphore", "list", "--json").out) == found["semaphores"]


def test_set_shows_the_labels_and_the_zone(call: Call, master: Master) -> None:
    # Seen: `machine set attic --label fast` printed the number of jobs, and nothing of the label.
    settings = {"labels": ["fast", "big"], "no_labels": ["gpu"], "zone": "Europe/Berlin"}
    master.answers["POST machines/attic"] = WHOLE_MACHINE | {"settings": settings}
    out = call("machine", "set", "attic", "--label", "fast").out
    assert out.endswith("; labels fast, big; without gpu; zone Europe/Berlin\n")
