import json
from pathlib import Path
from typing import Any

import pytest

from tests.integration.cli.conftest import Call
from tests.integration.cli.scripted import Master
from tests.support.machine_tree import ME, MachineTree
from tests.support.timer_units import add_timers

NO_CHANNEL: dict[str, Any] = {"channels": []}
CRONTAB = "MAILTO=''\n0 4 * * * /opt/backup\n@reboot /opt/start\n"


@pytest.fixture
def tree(tmp_path: Path, master: Master) -> MachineTree:
    master.answers |= {
        "GET machines": {"machines": [{"name": "box"}]},
        "GET commands": {"commands": []},
        "GET schedules": {"schedules": []},
    }
    found = MachineTree(tmp_path / "root")
    found.write(f"/var/spool/cron/crontabs/{ME}", CRONTAB)
    return found


def test_the_plan_has_one_line_for_each_entry(call: Call, tree: MachineTree) -> None:
    done = call("import", "cron", "--root", str(tree.directory))
    assert done.code == 0
    header, backup, reboot = done.out.splitlines()
    assert header.split() == ["name", "when", "user", "runs", "from", "reason"]
    assert backup.split() == [
        "✓", "backup", "0", "4", "*", "*", "*", ME, "/opt/backup", "crontab", "of", f"{ME}:2",
    ]  # fmt: skip
    assert reboot.startswith("!  ")
    assert "leave it to cron" in reboot
    assert done.err == (
        "mythjobs: 2 entries: 1 ✓, 1 !; nothing was changed; --apply imports those with ✓ and ~\n"
    )


def test_the_plan_as_json(call: Call, tree: MachineTree, master: Master) -> None:
    backup, reboot = json.loads(call("import", "cron", "--root", str(tree.directory), "--json").out)
    assert (backup["mark"], backup["line"], backup["reasons"]) == ("exact", 2, [])
    assert backup["command"]["shell"] == backup["runs"] == "/opt/backup"
    assert backup["schedule"]["where"] == "box"
    assert (reboot["mark"], reboot["command"], reboot["schedule"]) == ("decide", None, None)
    assert {each.method for each in master.requests} == {"GET"}


def test_timers(call: Call, tree: MachineTree) -> None:
    add_timers(tree)
    done = call("import", "timers", "--root", str(tree.directory), "--json")
    assert len(json.loads(done.out)) == 10
    assert call("import", "timers", "--user", "--root", str(tree.directory), "--json").out == "[]\n"
    done = call("import", "timers", "--user", "--root", str(tree.directory))
    assert done == (0, "", "mythjobs: no entries were found\n")


def test_the_machine_must_be_known(call: Call, tree: MachineTree, master: Master) -> None:
    master.answers["GET machines"] = {"machines": [{"name": "one"}, {"name": "two"}]}
    done = call("import", "cron", "--root", str(tree.directory))
    assert done.code == 2
    assert "name this one with --machine (one, two)" in done.err
    done = call("import", "cron", "--root", str(tree.directory), "--machine", "two", "--json")
    assert json.loads(done.out)[0]["schedule"]["where"] == "two"


def test_without_a_master_the_plan_is_shown(
    call: Call, tree: MachineTree, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    done = call("--state-dir", str(tmp_path / "none"), "import", "cron",
                "--root", str(tree.directory))  # fmt: skip
    assert done.code == 0
    assert "backup" in done.out


def test_a_wrong_root_is_one_sentence(call: Call, master: Master) -> None:
    done = call("import", "cron", "--root", "/nowhere")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("mythjobs: /nowhere is not a directory")


def test_entries_are_imported_held(call: Call, tree: MachineTree, master: Master) -> None:
    master.answers |= {"POST commands": {}, "POST schedules": {}, "GET channels": NO_CHANNEL}
    done = call("import", "cron", "--root", str(tree.directory), "--apply")
    assert done.code == 0
    assert done.err == (
        "mythjobs: 1 of 2 entries were imported; their schedules are held until `mythjobs import "
        "takeover`\n"
    )
    command, schedule = (each.json for each in master.requests if each.method == "POST")
    assert command["definition"]["shell"] == "/opt/backup"
    assert schedule == {
        "definition": {
            "name": "backup",
            "command": "backup",
            "cron": "0 4 * * *",
            "where": "box",
            "overlap": "allow",
            "catch_up": "skip",
        },
        "replace": True,
        "paused": True,
        "reason": "cron runs it (mythjobs import)",
    }


@pytest.mark.parametrize(
    "channels, is_advised",
    [
        ([], True),
        ([{"kinds": ["failed"], "commands": []}], False),
        ([{"kinds": ["held"], "commands": []}], True),
        ([{"kinds": ["failed"], "commands": ["other"]}], True),
        ([{"kinds": ["failed"], "commands": ["backup"]}], False),
    ],
)
def test_an_import_tells_how_to_get_mail(
    call: Call,
    tree: MachineTree,
    master: Master,
    channels: list[dict[str, list[str]]],
    is_advised: bool,
) -> None:
    tree.write("/usr/sbin/sendmail", "")
    tree.write(f"/var/spool/cron/crontabs/{ME}", "MAILTO=a@example.org\n0 4 * * * /opt/backup\n")
    master.answers |= {"POST commands": {}, "POST schedules": {}}
    master.answers["GET channels"] = {"channels": channels}
    done = call("import", "cron", "--root", str(tree.directory), "--apply")
    assert done.code == 0
    advice = (
        "mythjobs: cron mailed the output of 1 of them to a@example.org; for mail if one fails: "
        "mythjobs notify add NAME mailto://USER:PASSWORD@SERVER?to=a@example.org --command backup\n"
    )
    assert done.err.endswith(advice) == is_advised


def test_only_named_entries_are_imported(call: Call, tree: MachineTree, master: Master) -> None:
    done = call("import", "cron", "other", "--root", str(tree.directory), "--apply")
    assert (done.code, done.out) == (2, "")
    assert 'no entry of the plan has the name "other"; omit names to list' in done.err
    done = call("import", "cron", "backup", "--root", str(tree.directory))
    assert len(done.out.splitlines()) == 2


def test_an_import_needs_a_master(call: Call, tree: MachineTree, tmp_path: Path) -> None:
    done = call("--state-dir", str(tmp_path / "none"), "import", "cron", "--apply",
                "--root", str(tree.directory))  # fmt: skip
    assert done.code == 69


@pytest.mark.parametrize("action", ["takeover", "undo"])
def test_entries_must_be_named(call: Call, action: str) -> None:
    done = call("import", action)
    assert done.code == 2
    assert "name entries (`mythjobs import status` lists them), or give --all" in done.err
    done = call("import", action, "backup")
    assert done.code == 2
    assert 'no imported entry has the name "backup"' in done.err


def test_without_imported_entries_there_is_nothing_to_do(call: Call, tree: MachineTree) -> None:
    assert call("import", "takeover", "--all").err == "mythjobs: no entry has to be changed\n"
    assert call("import", "status").out.split() == ["name", "run", "by", "when", "user", "from",
                                                    "note"]  # fmt: skip
    assert call("import", "status", "--json").out == "[]\n"
