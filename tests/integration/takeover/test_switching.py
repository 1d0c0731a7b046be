"""Takeover and undo of crontabs and timers by a real queue."""

import os
import time
from pathlib import Path

import pytest

from mythjobs.errors import BadRequest
from mythjobs.takeover.machine_root import MachineRoot
from tests.support.import_queue import ImportQueue, take_snapshot
from tests.support.machine_tree import CRONTAB, ME, MachineTree
from tests.support.timer_units import add_timers


@pytest.mark.slow
def test_a_crontab_with_every_construct_is_restored_byte_for_byte(
    queue: ImportQueue, tree: MachineTree
) -> None:
    tree.add_cron()
    tree.add_anacron()
    before = take_snapshot(tree)
    queue.apply("cron", tree)
    runners = queue.find_runners()
    assert len(runners) > 20
    assert set(runners.values()) == {"cron"}
    schedules = {each["name"]: each for each in queue.read("schedules")}
    assert {each["paused"] for each in schedules.values()} == {True}
    assert schedules["early"]["pause_reason"] == "cron runs it (mythjobs import)"
    assert take_snapshot(tree) == before

    assert queue.call("import", "takeover", "--all").code == 0
    assert set(queue.find_runners().values()) == {"queue"}
    assert {each["paused"] for each in queue.read("schedules")} == {False}
    disabled = tree.path(CRONTAB).read_text().splitlines()
    assert "#mythjobs early# 0 1 * * * /opt/early.sh" in disabled
    assert "@reboot /opt/start" in disabled
    taken = take_snapshot(tree)
    assert taken.keys() == before.keys()
    assert {name: each[:2] for name, each in taken.items()} == {
        name: each[:2] for name, each in before.items()
    }
    # A plan of the disabled lines shows that they are imported.
    plan = queue.read("import", "cron", "--root", str(tree.directory))
    assert {each["mark"] for each in plan} == {"skipped", "decide"}

    assert queue.call("import", "undo", "--all").code == 0
    assert set(queue.find_runners().values()) == {"cron"}
    assert {each["paused"] for each in queue.read("schedules")} == {True}
    assert take_snapshot(tree) == before


def test_ten_timers_are_restored(queue: ImportQueue, tree: MachineTree) -> None:
    tree.write("/etc/passwd", f"root:x:0:0::/root:/bin/sh\nother:x:2:2::/home/other:/bin/sh\n{ME}:"
               "x:1:1::/home/me:/bin/sh\n")  # fmt: skip
    add_timers(tree)
    if ME != "root":
        pytest.skip("timers of the system are imported by root")
    before = take_snapshot(tree)
    queue.apply("timers", tree)
    runners = queue.find_runners()
    assert len(runners) == 7
    assert set(runners.values()) == {"systemd"}
    assert queue.call("import", "takeover", "--all").code == 0
    assert set(queue.find_runners().values()) == {"queue"}
    taken = take_snapshot(tree)
    removed = {name.rpartition("/")[2] for name in before.keys() - taken.keys()}
    assert removed == {
        "apt-daily.timer", "backup.timer", "dpkg-db-backup.timer", "fstrim.timer",
        "pg_dump@main-1.timer", "poll.timer",
    }  # fmt: skip
    # The link in /usr belongs to the distribution, so a mask hides the timer.
    mask = "etc/systemd/system/systemd-tmpfiles-clean.timer"
    assert taken.keys() - before.keys() == {mask}
    assert taken[mask] == (0, 0, "/dev/null")
    assert queue.call("import", "undo", "--all").code == 0
    assert take_snapshot(tree) == before
    assert set(queue.find_runners().values()) == {"systemd"}


def test_entries_are_switched_one_by_one(queue: ImportQueue, tree: MachineTree) -> None:
    content = tree.add_two_entries()
    queue.apply("cron", tree)
    done = queue.call("import", "takeover", "b")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("b: the queue runs it now, next ")
    assert queue.find_runners() == {"a": "cron", "b": "queue"}
    assert tree.path(CRONTAB).read_bytes() == content.replace(b"0 4 * * * /opt/b",
        b"#mythjobs b# 0 4 * * * /opt/b")  # fmt: skip
    assert queue.call("import", "takeover", "b").out == "b: was taken over already\n"
    queue.call("import", "takeover", "a")
    queue.call("import", "undo", "b")
    assert queue.find_runners() == {"a": "queue", "b": "cron"}
    queue.call("import", "undo", "a")
    assert tree.path(CRONTAB).read_bytes() == content


def test_a_file_that_was_changed_since_is_restored_only_on_request(
    queue: ImportQueue, tree: MachineTree
) -> None:
    content = tree.add_two_entries()
    queue.apply("cron", tree)
    queue.call("import", "takeover", "--all")
    with tree.path(CRONTAB).open("ab") as file:
        file.write(b"# edited\n")
    changed = tree.path(CRONTAB).read_bytes()
    done = queue.call("import", "undo", "a")
    assert (done.code, done.out) == (2, "")
    assert f"crontab of {ME} was changed since the takeover" in done.err
    assert "`mythjobs import undo a --diff`" in done.err
    assert tree.path(CRONTAB).read_bytes() == changed
    assert queue.find_runners() == {"a": "queue", "b": "queue"}
    diff = queue.call("import", "undo", "a", "--diff").out.splitlines()
    assert [each for each in diff if each.startswith(("+", "-"))][2:] == ["+# edited"]
    assert queue.call("import", "undo", "a", "--keep-changes").code == 0
    assert queue.call("import", "undo", "b").code == 0
    assert tree.path(CRONTAB).read_bytes() == content + b"# edited\n"


def test_a_takeover_after_a_change_restores_the_change(
    queue: ImportQueue, tree: MachineTree
) -> None:
    tree.add_two_entries()
    queue.apply("cron", tree)
    queue.call("import", "takeover", "a")
    path = tree.path(CRONTAB)
    path.write_bytes(path.read_bytes().replace(b"# mine", b"# ours"))
    assert queue.call("import", "takeover", "b").code == 0
    assert queue.call("import", "undo", "--all").code == 0
    assert path.read_bytes() == b"# ours\nMAILTO=''\n0 4 * * * /opt/a\n\n0 4 * * * /opt/b\n"


def test_runs_of_the_queue_are_not_made_up_for(queue: ImportQueue, tree: MachineTree) -> None:
    if ME != "root":
        pytest.skip("anacron and timers of the system are root's")
    tree.write("/usr/sbin/anacron", "")
    tree.write("/etc/anacrontab", "1 5 one /opt/one\n1 5 two /opt/two\n")
    for name in ("one", "two"):
        tree.write(f"/var/spool/anacron/{name}", "20260101\n", 0o600)
    directory = "/etc/systemd/system"
    tree.write(f"{directory}/three.timer", "[Timer]\nOnCalendar=daily\nPersistent=yes\n")
    tree.write(f"{directory}/three.service", "[Service]\nExecStart=/opt/three\n")
    tree.link(f"{directory}/timers.target.wants/three.timer", "../three.timer")
    stamp = tree.write("/var/lib/systemd/timers/stamp-three.timer", "")
    os.utime(stamp, (1e9, 1e9))
    queue.apply("cron", tree)
    queue.apply("timers", tree)
    assert queue.call("import", "takeover", "--all").code == 0
    before = time.time()
    for name in ("one", "three"):
        assert queue.call("schedule", "run", name).code == 0
    assert queue.call("import", "undo", "--all").code == 0
    ran = tree.path("/var/spool/anacron/one")
    assert ran.read_text().startswith("20")
    assert ran.read_text() > "20260101\n"
    assert ran.stat().st_mode & 0o777 == 0o600
    # The queue has not run `two`, so anacron may.
    assert tree.path("/var/spool/anacron/two").read_text() == "20260101\n"
    assert before - 1 <= stamp.stat().st_mtime <= time.time()


@pytest.mark.parametrize("action, runner", [("takeover", "cron"), ("undo", "queue")])
def test_who_runs_an_entry_stays_if_its_file_cannot_be_changed(
    queue: ImportQueue,
    tree: MachineTree,
    monkeypatch: pytest.MonkeyPatch,
    action: str,
    runner: str,
) -> None:
    tree.add_two_entries()
    queue.apply("cron", tree)
    if action == "undo":
        queue.call("import", "takeover", "--all")
    before = take_snapshot(tree)

    def refuse(_: MachineRoot, absolute: str, __: bytes) -> None:
        raise BadRequest(f"cannot change {absolute}: Permission denied; nothing was changed")

    monkeypatch.setattr(MachineRoot, "replace", refuse)
    done = queue.call("import", action, "--all")
    assert (done.code, done.out) == (2, "")
    assert done.err.count("Permission denied") == 2
    assert take_snapshot(tree) == before
    status = queue.read("import", "status")
    assert [(each["run_by"], each["interrupted"]) for each in status] == [(runner, False)] * 2


def test_equal_lines_are_different_entries(queue: ImportQueue, tree: MachineTree) -> None:
    tree.write(CRONTAB, "MAILTO=''\n0 4 * * * /opt/a\n0 4 * * * /opt/a\n")
    queue.apply("cron", tree)
    queue.call("import", "takeover", "a-2")
    assert tree.path(CRONTAB).read_text().splitlines()[1:] == [
        "0 4 * * * /opt/a", "#mythjobs a-2# 0 4 * * * /opt/a",
    ]  # fmt: skip
    assert queue.find_runners() == {"a": "cron", "a-2": "queue"}


def test_status_tells_what_others_have_changed(queue: ImportQueue, tree: MachineTree) -> None:
    def find_notes() -> dict[str, str]:
        return {each["name"]: each["note"] for each in queue.read("import", "status")}

    content = tree.add_two_entries()
    queue.apply("cron", tree)
    assert find_notes()["a"] == "its schedule is held"
    queue.call("schedule", "resume", "a")
    assert queue.find_runners()["a"] == "both"
    assert "`mythjobs import takeover a` or `mythjobs import undo a` ends that" in find_notes()["a"]
    queue.call("import", "undo", "a")
    assert queue.find_runners()["a"] == "cron"
    queue.call("import", "takeover", "--all")
    # An upgrade of a package restores the file.
    tree.path(CRONTAB).write_bytes(content)
    assert queue.find_runners() == {"a": "both", "b": "both"}
    queue.call("import", "takeover", "--all")
    assert queue.find_runners() == {"a": "queue", "b": "queue"}
    tree.path(CRONTAB).write_bytes(b"0 5 * * * /opt/b\n")
    assert queue.find_runners() == {"a": "queue", "b": "queue"}
    done = queue.call("import", "undo", "b")
    assert done.code == 2
    assert "the line of b is not in" in done.err
    queue.call("schedule", "pause", "a")
    assert queue.find_runners()["a"] == "queue"
    assert find_notes()["a"] == "its schedule is paused"
    queue.remove("schedules", "b")
    assert queue.call("import", "takeover", "b").code == 2
    # Nothing is left of b, neither in cron nor in the queue.
    assert "b" not in find_notes()


def test_a_schedule_that_is_held_and_paused_stays_held(
    queue: ImportQueue, tree: MachineTree
) -> None:
    tree.add_two_entries()
    queue.apply("cron", tree)
    queue.call("schedule", "pause", "a", "--reason", "holiday")
    assert queue.find_runners()["a"] == "cron"
    queue.call("import", "takeover", "a")
    assert queue.find_runners()["a"] == "queue"


def test_a_directory_that_is_gone_does_not_hide_other_entries(
    queue: ImportQueue, tree: MachineTree, tmp_path: Path
) -> None:
    tree.add_two_entries()
    queue.apply("cron", tree)
    moved = tree.directory.rename(tmp_path.with_name("moved"))
    status = queue.read("import", "status")
    assert [each["run_by"] for each in status] == ["unknown", "unknown"]
    assert "is not a directory" in status[0]["note"]
    assert queue.call("import", "takeover", "--all").code == 0
    assert "is not a directory" in queue.call("import", "takeover", "a").err
    moved.rename(tree.directory)
    assert queue.find_runners() == {"a": "cron", "b": "cron"}
