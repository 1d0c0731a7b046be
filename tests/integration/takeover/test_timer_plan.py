"""Plans of ten real timers."""

import os
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mythjobs.takeover import collect
from mythjobs.takeover.entry import ImportMark, PlanEntry
from mythjobs.takeover.machine_root import MachineRoot
from mythjobs.takeover.naming import ImportedNames
from tests.support.machine_tree import ME, MachineTree
from tests.support.timer_units import add_timers

SKIPPED, DECIDE = ImportMark.SKIPPED, ImportMark.DECIDE
EXACT, DIFFERENT = ImportMark.EXACT, ImportMark.DIFFERENT
ROOT_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LANG": "C.UTF-8",
    "HOME": "/root",
    "USER": "root",
    "LOGNAME": "root",
}


# Variables of a unit take effect after the change of user only.
DUMP_ENV = {"CLUSTER": "main/1", "OPTIONS": "-F c", "KEEP": "3"}
LATER = (
    "".join(f'export {name}="$IMPORTED_{name}"; unset IMPORTED_{name}\n' for name in DUMP_ENV)
    + 'exec "$@"\n'
)


def plan(
    tree: MachineTree, runner: str = "root", *, is_user_manager: bool = False
) -> dict[str, PlanEntry]:
    root = MachineRoot(str(tree.directory))
    facts = collect.collect_facts(root, machine="box", runner=runner, this_year=2026)
    found = collect.plan_timers(root, facts, ImportedNames(), is_user_manager=is_user_manager)
    return {each.place.name: each for each in found}


@pytest.fixture
def tree(tmp_path: Path) -> MachineTree:
    found = MachineTree(tmp_path)
    found.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\nother:x:2:2::/home/other:/bin/sh\n")
    add_timers(found)
    return found


def schedule_of(entry: PlanEntry) -> dict[str, Any]:
    """Return what is special in an entry's schedule."""
    table = dict(entry.schedule or {})
    assert table.pop("where") == "box"
    assert table.pop("overlap") == "skip"
    assert table.pop("name") == table.pop("command") == entry.name
    return table


def test_marks(tree: MachineTree) -> None:
    found = plan(tree)
    assert {name: each.mark for name, each in found.items()} == {
        "apt-daily.timer": DIFFERENT,
        "backup.timer": EXACT,
        "dpkg-db-backup.timer": EXACT,
        "friday.timer": DECIDE,
        "fstrim.timer": DIFFERENT,
        "once.timer": DECIDE,
        "orphan.timer": DECIDE,
        "pg_dump@main-1.timer": DIFFERENT,
        "poll.timer": DIFFERENT,
        "systemd-tmpfiles-clean.timer": DIFFERENT,
    }
    assert "orphan.service does not exist" in found["orphan.timer"].reasons[0]
    assert "only if they are Fri" in found["friday.timer"].reasons[0]
    assert "OnBootSec= runs it once" in found["once.timer"].reasons[0]


def test_schedules(tree: MachineTree) -> None:
    found = plan(tree)
    assert schedule_of(found["fstrim.timer"]) == {
        "cron": "0 0 * * 1", "catch_up": "last", "spread": "1h40m",
    }  # fmt: skip
    assert schedule_of(found["apt-daily.timer"]) == {
        "cron": "0 6,18 * * *", "catch_up": "last", "spread": "12h",
    }  # fmt: skip
    assert schedule_of(found["backup.timer"]) == {
        "cron": ["30 12,18 * * 1-5", "0 3 * * 0#1"], "catch_up": "skip", "zone": "Europe/Berlin",
    }  # fmt: skip
    assert schedule_of(found["poll.timer"]) == {"every": "1m30s", "catch_up": "last"}
    assert schedule_of(found["systemd-tmpfiles-clean.timer"]) == {
        "every": "1d", "catch_up": "last",
    }  # fmt: skip


def test_services_become_commands(tree: MachineTree) -> None:
    found = plan(tree)
    assert found["dpkg-db-backup.timer"].command == {
        "name": "dpkg-db-backup",
        "summary": "Daily dpkg database backup service",
        "argv": ["/usr/libexec/dpkg/dpkg-db-backup"],
        "cwd": "/",
        "env": ROOT_ENV,
        "limits": {"io": "best-effort:4"},
    }
    assert found["pg_dump@main-1.timer"].command == {
        "name": "pg-dump-main-1",
        "summary": "Dump of PostgreSQL Cluster main-1",
        "argv": [
            "/usr/bin/setpriv", "--reuid", "other", "--regid", "others", "--init-groups", "--",
            "/bin/sh", "-c", LATER, "sh", "/usr/bin/dump", "--cluster", "main/1", "-F", "c",
            f"--host={socket.gethostname()}", "two words", "--percent=100%",
        ],
        "cwd": "/home/other",
        "env": {**ROOT_ENV, "HOME": "/home/other", "USER": "other", "LOGNAME": "other",
                **{f"IMPORTED_{name}": value for name, value in DUMP_ENV.items()}},
        "limits": {"io": "best-effort:7", "wall": "2h30m", "grace": "20s", "nice": 10,
                   "memory": "2GiB", "processes": 50},
    }  # fmt: skip
    poll = found["poll.timer"].command or {}
    assert (poll["argv"], poll["leave_daemons"]) == (["/opt/poll"], True)
    assert poll["limits"]["wall"] == "10m"
    clean = found["systemd-tmpfiles-clean.timer"].command or {}
    assert (clean["success"], clean["limits"]) == ([0, 65], {"io": "idle"})


def test_several_steps_become_one_shell_text(tree: MachineTree) -> None:
    command = plan(tree)["backup.timer"].command or {}
    assert command["limits"] == {"io": "best-effort:4", "nice": 5}
    assert command["shell"] == (
        "/bin/mount /mnt/backup && \\\n"
        "{ /bin/rm -f '/mnt/backup/old file' || :; } && \\\n"
        "/opt/backup --all --verbose && \\\n"
        "/bin/umount /mnt/backup\n"
    )
    checked = subprocess.run(["sh", "-n", "-c", command["shell"]], check=False)
    assert checked.returncode == 0


def test_systemd_starts_a_service_with_a_setting_that_no_job_has(tree: MachineTree) -> None:
    entry = plan(tree)["fstrim.timer"]
    assert entry.reasons == (
        "systemd starts it, because of PrivateDevices=; its output stays in the journal",
    )
    assert "\nsystemctl start fstrim.service &\n" in (entry.command or {})["shell"]
    tree.write("/usr/lib/systemd/system/fstrim.service.d/x.conf", "[Service]\nType=notify\n")
    notify = plan(tree)["fstrim.timer"]
    assert "\nsystemctl start --wait fstrim.service &\n" in (notify.command or {})["shell"]
    assert (
        plan(tree)["apt-daily.timer"]
        .reasons[0]
        .startswith("systemd starts it, because of ConditionACPower=")
    )


def test_only_root_imports_timers_of_the_system(tree: MachineTree) -> None:
    found = plan(tree, "other")
    # pg_dump runs as the user of this queue.
    assert found.pop("pg_dump@main-1.timer").mark is DIFFERENT
    assert {each.mark for each in found.values()} == {DECIDE}


def test_a_drop_in_resets_a_list_and_a_mask_hides_a_timer(tree: MachineTree) -> None:
    tree.write(
        "/etc/systemd/system/apt-daily.timer.d/x.conf",
        "[Timer]\nOnCalendar=\nOnCalendar=*-*-* 05:00:30\nRandomizedDelaySec=0\n",
    )
    tree.link("/etc/systemd/system/fstrim.timer", "/dev/null")
    found = plan(tree)
    assert found["apt-daily.timer"].written == "*-*-* 05:00:30"
    assert schedule_of(found["apt-daily.timer"]) == {"cron": "0 5 * * *", "catch_up": "last"}
    assert "starts at second 0 of its minute, not at 30" in found["apt-daily.timer"].reasons
    assert found["fstrim.timer"].mark is SKIPPED
    assert "masked" in found["fstrim.timer"].reasons[0]


def test_a_delay_that_no_schedule_can_have_needs_a_decision(tree: MachineTree) -> None:
    drop_in = "/etc/systemd/system/apt-daily.timer.d/x.conf"
    for delay in ("infinity", "2y"):
        tree.write(drop_in, f"[Timer]\nRandomizedDelaySec={delay}\n")
        found = plan(tree)["apt-daily.timer"]
        assert found.mark is DECIDE
        assert found.reasons[0].startswith(f"RandomizedDelaySec={delay} is longer than 366d")


def test_timers_of_a_users_manager(tree: MachineTree) -> None:
    tree.write("/etc/passwd", f"{ME}:x:1:1::/home/me:/bin/sh\n")
    units = "/home/me/.config/systemd/user"
    tree.write(f"{units}/sync.timer", "[Timer]\nOnCalendar=hourly\n")
    tree.write(f"{units}/sync.service", "[Service]\nExecStart=%h/bin/sync --to=%t\n")
    tree.write(f"{units}/box.timer", "[Timer]\nOnCalendar=daily\n")
    tree.write(f"{units}/box.service", "[Service]\nExecStart=/opt/box\nPrivateTmp=yes\n")
    for name in ("sync", "box"):
        tree.link(f"{units}/timers.target.wants/{name}.timer", f"../{name}.timer")
    found = plan(tree, ME, is_user_manager=True)
    runtime = f"/run/user/{os.geteuid()}"
    sync = found["sync.timer"].command or {}
    assert found["sync.timer"].mark is EXACT
    assert sync["argv"] == ["/home/me/bin/sync", f"--to={runtime}"]
    assert sync["cwd"] == sync["env"]["HOME"] == "/home/me"
    box = found["box.timer"].command or {}
    assert "\nsystemctl --user start --wait box.service &\n" in box["shell"]
    assert box["env"] == {"XDG_RUNTIME_DIR": runtime}


def test_a_unit_that_cannot_be_read_leaves_the_others(tree: MachineTree) -> None:
    before = plan(tree)
    wants = "/etc/systemd/system/timers.target.wants"
    for name in ("pipe", "large"):
        tree.link(f"{wants}/{name}.timer", f"../{name}.timer")
    os.mkfifo(tree.path("/etc/systemd/system/pipe.timer"))
    with tree.write("/etc/systemd/system/large.timer", "").open("wb") as file:
        file.truncate(2**34)
    tree.link(f"{wants}/loop.timer", "loop.timer")
    found = plan(tree)
    assert {name: found[name] for name in before} == before
    assert "is not a regular file" in found["pipe.timer"].reasons[0]
    assert "has more than 16MiB" in found["large.timer"].reasons[0]
    assert "is missing or masked" in found["loop.timer"].reasons[0]
