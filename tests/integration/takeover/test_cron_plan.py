"""Plans of crontabs with every construct of crontab(5), and of an anacrontab."""

import datetime as dt
import os
from pathlib import Path

import pytest

from mythjobs.takeover import collect
from mythjobs.takeover.cron.cron_files import CronFiles
from mythjobs.takeover.entry import ImportMark, PlanEntry
from mythjobs.takeover.machine_root import MachineRoot
from mythjobs.takeover.naming import ImportedNames
from tests.support.machine_tree import ME, MachineTree

SKIPPED, DECIDE = ImportMark.SKIPPED, ImportMark.DECIDE
NO_NAMES = ImportedNames()
EXACT, DIFFERENT = ImportMark.EXACT, ImportMark.DIFFERENT


@pytest.fixture
def tree(tmp_path: Path) -> MachineTree:
    return MachineTree(tmp_path)


def plan(
    tree: MachineTree, *, runner: str = ME, names: ImportedNames = NO_NAMES
) -> list[PlanEntry]:
    root = MachineRoot(str(tree.directory))
    facts = collect.collect_facts(root, machine="box", runner=runner, this_year=2026)
    return collect.plan_cron(root, facts, names)


def find(entries: list[PlanEntry], name: str) -> PlanEntry:
    (found,) = (each for each in entries if each.name == name)
    return found


def test_a_users_crontab(tree: MachineTree) -> None:
    tree.write("/usr/sbin/sendmail", "")
    tree.add_cron()
    entries = [each for each in plan(tree) if each.place.kind == "crontab"]
    assert [(each.mark, each.name, each.written) for each in entries] == [
        (DIFFERENT, "early", "0 1 * * *"),
        (EXACT, "ping", "*/10 8-18 * * 1-5"),
        (EXACT, "tee", "0,30 0-23/2 1,15 jan,jul *"),
        (EXACT, "tidy", "15 4 * * sun"),
        (EXACT, "leap", "30 2 29 2 5"),
        (EXACT, "beat", "@hourly"),
        (EXACT, "beat-2", "@daily"),
        (EXACT, "night", "@midnight"),
        (EXACT, "week", "@weekly"),
        (EXACT, "month", "@monthly"),
        (EXACT, "year", "@yearly"),
        (EXACT, "year-2", "@annually"),
        (DECIDE, "", "@reboot"),
        (EXACT, "mail", "0 6 * * *"),
        (EXACT, "date", "5 5 * * *"),
        (EXACT, "indented", "7 7 * * *"),
        (DIFFERENT, "mailed", "0 3 * * *"),
    ]
    assert find(entries, "early").mail_to == ME
    assert find(entries, "early").reasons[0].startswith(f"cron mails its output to {ME}; here it")
    assert find(entries, "mailed").mail_to == "me@example.org"
    assert find(entries, "tidy").mail_to == ""


def test_definitions_keep_what_cron_does(tree: MachineTree) -> None:
    tree.write("/etc/default/locale", 'LANG="de_DE.UTF-8"\n# LC_ALL=x\n')
    tree.link("/etc/localtime", "/usr/share/zoneinfo/Europe/Berlin")
    tree.add_cron()
    entries = plan(tree)
    early = find(entries, "early")
    assert early.command == {
        "name": "early",
        "summary": f"crontab of {ME} line 3",
        "shell": "/opt/early.sh",
        "cwd": "/home/me",
        "leave_daemons": True,
        "env": {
            "LANG": "de_DE.UTF-8",
            "PATH": "/usr/bin:/bin",
            "SHELL": "/bin/sh",
            "HOME": "/home/me",
            "LOGNAME": ME,
            "USER": ME,
        },
        "limits": {"io": "best-effort:4"},
    }
    assert early.schedule == {
        "name": "early",
        "command": "early",
        "cron": "0 1 * * *",
        "zone": "Europe/Berlin",
        "where": "box",
        "overlap": "allow",
        "catch_up": "skip",
    }
    indented = find(entries, "indented").command or {}
    assert indented["argv"] == ["/bin/bash", "-c", "{{indented}} a{{b}}c"]
    assert indented["env"]["PATH"] == "/opt/my bin:/usr/bin:/bin"
    assert indented["env"]["GREETING"] == "hello"
    assert "MAILTO" not in indented["env"]


def test_files_of_the_system(tree: MachineTree) -> None:
    tree.add_cron()
    entries = [each for each in plan(tree) if each.place.kind in ("file", "part")]
    told = [(each.mark, each.name, each.place.name, each.reasons[:1]) for each in entries]
    assert told == [
        (EXACT, "cron-hourly", "/etc/crontab", ()),
        (SKIPPED, "", "/etc/cron.hourly/off",
         ("run-parts ignores it, because it is not executable",)),
        (SKIPPED, "", "/etc/cron.hourly/sync", ("runs as part of line 3",)),
        (SKIPPED, "", "/etc/cron.hourly/sync.old",
         ("run-parts ignores names with other characters than a-z 0-9 _ -",)),
        (EXACT, "cron-daily", "/etc/crontab", ()),
        (DECIDE, "", "/etc/crontab", ("there is no user nobody-here on this machine, so cron does "
                                      "not run it either",)),
        (DECIDE, "", "/etc/crontab", (f"runs as other, and jobs of this queue run as {ME}; import "
                                      "it into a queue that other or root has started",))
        if ME != "root"
        else (EXACT, "other", "/etc/crontab", ()),
        (SKIPPED, "", "/etc/cron.d/no-break",
         ("cron ignores this file: its last line does not end with a line break",)),
        (SKIPPED, "", "/etc/cron.d/open",
         ("cron ignores this file: others than its owner may write it",)),
        (EXACT, "tool", "/etc/cron.d/tool", ()),
        (SKIPPED, "", "/etc/cron.d/tool.dpkg-old",
         ("cron ignores this file: its name has other characters than A-Z a-z 0-9 _ -",)),
    ]  # fmt: skip


def test_root_runs_entries_of_other_users_with_setpriv(tree: MachineTree) -> None:
    tree.write("/etc/crontab", "LD_PRELOAD=/home/other/x.so\n10 5 * * * other echo {x}\n")
    (entry,) = plan(tree, runner="root")
    command = entry.command or {}
    assert command["argv"][:7] == [
        "/usr/bin/setpriv", "--reuid", "other", "--regid", "others", "--init-groups", "--",
    ]  # fmt: skip
    assert command["argv"][7:9] == ["/bin/sh", "-c"]
    assert command["argv"][10:] == ["sh", "/bin/sh", "-c", "echo {{x}}"]
    # No variable of the user has an effect before setpriv has changed the user.
    assert {each.startswith("IMPORTED_") for each in command["env"]} == {True}
    assert command["env"]["IMPORTED_LD_PRELOAD"] == "/home/other/x.so"
    assert command["cwd"] == "/"


def test_entries_of_other_users_need_a_decision_elsewhere(tree: MachineTree) -> None:
    tree.write("/etc/crontab", "10 5 * * * other echo\n")
    (entry,) = plan(tree, runner="anna")
    assert (entry.mark, entry.command) == (DECIDE, None)
    assert "runs as other, and jobs of this queue run as anna" in entry.reasons[0]


def test_anacron_replaces_the_lines_that_test_for_it(tree: MachineTree) -> None:
    tree.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    tree.write("/etc/crontab", "25 6 * * * root test -x /usr/sbin/anacron || run-parts /x\n")
    tree.add_anacron()
    entries = plan(tree, runner="root")
    assert [(each.mark, each.reasons[:1]) for each in entries[:2]] == [
        (SKIPPED, ("does nothing here, because /usr/sbin/anacron exists",)),
        (SKIPPED, ("starts anacron, whose jobs are entries of their own",)),
    ]
    assert [each.schedule for each in entries[2:]] == [
        {"name": "cron-daily", "command": "cron-daily", "between": "07:35-22:00", "where": "box",
         "spread": "45m"},
        # 2026-11-25, the day of its last run, is a Wednesday.
        {"name": "cron-weekly", "command": "cron-weekly", "cron": "40 7 * * 3", "where": "box",
         "catch_up": "last", "spread": "45m"},
        {"name": "cron-monthly", "command": "cron-monthly", "cron": "45 7 1 * *", "where": "box",
         "catch_up": "last", "spread": "45m"},
        {"name": "third", "command": "third", "every": "3d", "start": "2026-11-27 07:50",
         "where": "box", "catch_up": "last", "spread": "45m"},
    ]  # fmt: skip


def test_cronie_has_a_zone_and_a_random_delay(tree: MachineTree) -> None:
    text = "CRON_TZ=Asia/Tokyo\nRANDOM_DELAY=10\n0 4 * * * /opt/x\n"
    tree.write(f"/var/spool/cron/{ME}", text, 0o600)
    (debian,) = plan(tree)
    assert (debian.mark, (debian.schedule or {}).get("zone")) == (DIFFERENT, None)
    assert "CRON_TZ is kept out" in debian.reasons[0]
    tree.path("/usr/sbin/cron").rename(tree.path("/usr/sbin/crond"))
    (cronie,) = plan(tree)
    assert (cronie.schedule or {})["zone"] == "Asia/Tokyo"
    assert (cronie.schedule or {})["spread"] == "10m"


def test_what_no_definition_can_contain_needs_a_decision(tree: MachineTree) -> None:
    text = b"0 4 * * * echo \xe4\nMYTHJOBS_X=1\n0 5 * * * echo\n0 5-3 * * * x\n"
    tree.write(f"/var/spool/cron/crontabs/{ME}", text)
    entries = plan(tree)
    assert [each.mark for each in entries] == [DECIDE] * 3
    assert [each.reasons[0].split(";")[0] for each in entries] == [
        "is not UTF-8",
        "sets MYTHJOBS_X",
        'hour "5-3": the range 5-3 ends before it begins',
    ]


def test_cron_of_debian_ignores_a_file_with_an_invalid_line(tree: MachineTree) -> None:
    tree.write("/etc/cron.d/site", "0 4 * * * root /opt/x\n0 25 * * * root /opt/y\n")
    tree.add_cron()
    entries = [each for each in plan(tree, runner="root") if each.place.name == "/etc/cron.d/site"]
    assert [each.mark for each in entries] == [SKIPPED, DECIDE]
    assert [each.reasons[0] for each in entries] == [
        "cron ignores this file: its line 2 is invalid",
        'hour "25": 25 is not one of 0 to 23',
    ]
    # Cronie ignores the line.
    tree.path("/usr/sbin/cron").rename(tree.path("/usr/sbin/crond"))
    entries = [each for each in plan(tree, runner="root") if each.place.name == "/etc/cron.d/site"]
    assert [each.mark for each in entries] == [EXACT, DECIDE]


def test_days_of_anacron_that_cannot_be_read_are_unknown(tree: MachineTree) -> None:
    # Only root may read them: the import of another user's own crontab failed.
    tree.write("/etc/anacrontab", "3 20 one /opt/one\n3 20 two /opt/two\n3 20 three /opt/three\n")
    tree.write("/usr/sbin/anacron", "")
    tree.write("/var/spool/anacron/one/in", "")
    tree.write("/var/spool/anacron/two", "20261399\n")
    tree.write("/var/spool/anacron/three", "20261127\n")
    anacron = CronFiles(MachineRoot(str(tree.directory))).read_anacron()
    assert anacron is not None
    assert anacron.last_runs == {"three": dt.date(2026, 11, 27)}


def test_names_of_existing_commands_are_not_used(tree: MachineTree) -> None:
    tree.write(f"/var/spool/cron/crontabs/{ME}", "0 4 * * * /opt/x\n")
    (entry,) = plan(tree, names=ImportedNames(frozenset({"x", "x-2"})))
    assert entry.name == (entry.command or {})["name"] == "x-3"
    assert (entry.schedule or {})["command"] == "x-3"


def test_imported_entries_keep_their_names(tree: MachineTree) -> None:
    tree.write(f"/var/spool/cron/crontabs/{ME}", "0 4 * * * /opt/x\n0 5 * * * /opt/x\n")
    first, second = plan(tree)
    taken = frozenset({"x", "y"})
    names = ImportedNames(taken, {first.place.id: "x"}, {second.place.id: "y"})
    first, second = plan(tree, names=names)
    assert (first.mark, first.reasons) == (SKIPPED, ("imported as x",))
    # The import of the second was interrupted after its command was defined.
    assert (second.mark, second.name) == (EXACT, "y")


def test_a_file_that_cannot_be_read_is_an_entry_of_its_own(tree: MachineTree) -> None:
    # Seen: one such file ended the whole import, and a line of 1 MB took 44 s.
    tree.write("/etc/crontab", "0 4 * * * root /opt/a\n0 5 * * * root echo " + "x" * 10**7 + "\n")
    with tree.write("/etc/cron.d/large", "").open("wb") as file:
        file.truncate(2**34)
    os.mkfifo(tree.path("/etc/cron.d/pipe"))
    tree.link("/etc/cron.d/loop", "loop")
    tree.write(f"/var/spool/cron/crontabs/{ME}", "").unlink()
    os.mkfifo(tree.path(f"/var/spool/cron/crontabs/{ME}"))
    entries = plan(tree, runner="root")
    assert [(each.mark, each.reasons[:1]) for each in entries[1:]] == [
        (DECIDE, ("is longer than 128 KiB, the longest argument that the system gives a shell",)),
        (DECIDE, (f"cannot read {tree.path('/etc/cron.d/large')}: has more than 16MiB, the largest "
                  "size read",)),
        (DECIDE, (f"cannot read {tree.path(f'/var/spool/cron/crontabs/{ME}')}: is not a regular "
                  "file",)),
    ]  # fmt: skip
    assert entries[0].mark is EXACT
