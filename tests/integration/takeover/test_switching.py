"""Takeover and undo of crontabs and timers by a real queue, also with interruptions."""

import json
import re
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mythjobs.client.client import Client
from mythjobs.takeover import machine_root
from mythjobs.takeover.machine_root import MachineRoot
from mythjobs.takeover.records import ImportRecords
from mythjobs.takeover.systemd.timer_switch import TimerSwitch
from tests.support.import_queue import ImportQueue, run_queue, take_snapshot
from tests.support.machine_tree import ME, MachineTree
from tests.support.timer_units import add_timers

CRONTAB = f"/var/spool/cron/crontabs/{ME}"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImportQueue]:
    with run_queue(tmp_path_factory.mktemp("queue")) as found:
        yield found


@pytest.fixture
def queue(running: ImportQueue) -> Iterator[ImportQueue]:
    """The queue, without commands, schedules and imported entries of other tests."""
    yield running
    running.remove_all()


@pytest.fixture
def tree(tmp_path: Path) -> MachineTree:
    return MachineTree(tmp_path)


def add_two(tree: MachineTree) -> bytes:
    """Write a crontab with two entries that differ only in their names; return its content."""
    text = "# mine\nMAILTO=\n0 4 * * * /opt/a\n\n0 4 * * * /opt/b\n"
    tree.write(CRONTAB, text, 0o600)
    return text.encode()


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
    content = add_two(tree)
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
    content = add_two(tree)
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
    add_two(tree)
    queue.apply("cron", tree)
    queue.call("import", "takeover", "a")
    path = tree.path(CRONTAB)
    path.write_bytes(path.read_bytes().replace(b"# mine", b"# ours"))
    assert queue.call("import", "takeover", "b").code == 0
    assert queue.call("import", "undo", "--all").code == 0
    assert path.read_bytes() == b"# ours\nMAILTO=\n0 4 * * * /opt/a\n\n0 4 * * * /opt/b\n"


def test_equal_lines_are_different_entries(queue: ImportQueue, tree: MachineTree) -> None:
    tree.write(CRONTAB, "MAILTO=\n0 4 * * * /opt/a\n0 4 * * * /opt/a\n")
    queue.apply("cron", tree)
    queue.call("import", "takeover", "a-2")
    assert tree.path(CRONTAB).read_text().splitlines()[1:] == [
        "0 4 * * * /opt/a", "#mythjobs a-2# 0 4 * * * /opt/a",
    ]  # fmt: skip
    assert queue.find_runners() == {"a": "cron", "a-2": "queue"}


def test_status_tells_what_others_have_changed(queue: ImportQueue, tree: MachineTree) -> None:
    def find_notes() -> dict[str, str]:
        return {each["name"]: each["note"] for each in queue.read("import", "status")}

    content = add_two(tree)
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
    add_two(tree)
    queue.apply("cron", tree)
    queue.call("schedule", "pause", "a", "--reason", "holiday")
    assert queue.find_runners()["a"] == "cron"
    queue.call("import", "takeover", "a")
    assert queue.find_runners()["a"] == "queue"


def test_a_directory_that_is_gone_does_not_hide_other_entries(
    queue: ImportQueue, tree: MachineTree, tmp_path: Path
) -> None:
    add_two(tree)
    queue.apply("cron", tree)
    moved = tree.directory.rename(tmp_path.with_name("moved"))
    status = queue.read("import", "status")
    assert [each["run_by"] for each in status] == ["unknown", "unknown"]
    assert "is not a directory" in status[0]["note"]
    assert queue.call("import", "takeover", "--all").code == 0
    assert "is not a directory" in queue.call("import", "takeover", "a").err
    moved.rename(tree.directory)
    assert queue.find_runners() == {"a": "cron", "b": "cron"}


class Killed(BaseException):
    """The process was killed."""


class Killer:
    """Ends the program before one of the effects that it has on files and the queue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        for owner, name in (
            (MachineRoot, "replace"),
            (machine_root, "_copy_attributes"),
            (machine_root, "sync_directory"),
            (ImportRecords, "save"),
            (ImportRecords, "keep_copy"),
            (Client, "post"),
            (TimerSwitch, "_link"),
            (TimerSwitch, "_unlink"),
        ):
            monkeypatch.setattr(owner, name, self._wrap(getattr(owner, name)))

    def _wrap(self, effect: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Killed
            return effect(*arguments, **named)

        return wrapped

    def kill(self, number: int, call: Callable[[], object]) -> bool:
        """Call, and end it at the effect with this number; return whether it came that far."""
        self.left = number
        try:
            call()
        except Killed:
            return True
        finally:
            self.left = 0
        return False


@pytest.fixture
def killer(monkeypatch: pytest.MonkeyPatch) -> Killer:
    return Killer(monkeypatch)


def add_one_entry(kind: str, tree: MachineTree) -> tuple[str, str]:
    """Write one entry; return its source for `import`, and who runs it."""
    if kind == "cron":
        tree.write(CRONTAB, "MAILTO=\n0 4 * * * /opt/a\n", 0o600)
        return "cron", "cron"
    tree.write("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    directory = "/etc/systemd/system"
    tree.write(f"{directory}/a.timer", "[Timer]\nOnCalendar=daily\n")
    tree.write(f"{directory}/a.service", "[Service]\nExecStart=/opt/a\n")
    for wants in ("timers.target.wants", "multi-user.target.wants"):
        tree.link(f"{directory}/{wants}/a.timer", "../a.timer")
    return "timers", "systemd"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cron", "timers"])
def test_a_takeover_that_is_killed_anywhere_can_be_ended_or_reversed(
    queue: ImportQueue, tree: MachineTree, killer: Killer, kind: str
) -> None:
    if kind == "timers" and ME != "root":
        pytest.skip("timers of the system are imported by root")
    source, original = add_one_entry(kind, tree)
    before = take_snapshot(tree)
    queue.apply(source, tree)
    for number in count(1):
        for finish in ("takeover", "undo"):
            was_killed = killer.kill(number, lambda: queue.call("import", "takeover", "a"))
            assert queue.find_runners()["a"] in (original, "queue", "neither")
            done = queue.call("import", finish, "a")
            assert done.code == 0, (number, finish, done)
            runner = "queue" if finish == "takeover" else original
            assert queue.find_runners() == {"a": runner}, (number, finish)
            assert queue.call("import", "undo", "a").code == 0
            assert take_snapshot(tree) == before, (number, finish)
        if not was_killed:
            break
    assert number > 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cron", "timers"])
def test_an_undo_that_is_killed_anywhere_can_be_ended_or_reversed(
    queue: ImportQueue, tree: MachineTree, killer: Killer, kind: str
) -> None:
    if kind == "timers" and ME != "root":
        pytest.skip("timers of the system are imported by root")
    source, original = add_one_entry(kind, tree)
    before = take_snapshot(tree)
    queue.apply(source, tree)
    for number in count(1):
        for finish in ("undo", "takeover"):
            assert queue.call("import", "takeover", "a").code == 0
            was_killed = killer.kill(number, lambda: queue.call("import", "undo", "a"))
            status = queue.read("import", "status")[0]
            assert status["run_by"] in (original, "queue", "neither")
            if status["run_by"] == "neither":
                assert status["interrupted"]
                assert "its undo was interrupted" in status["note"]
            assert queue.call("import", finish, "a").code == 0, (number, finish)
            runner = "queue" if finish == "takeover" else original
            assert queue.find_runners() == {"a": runner}, (number, finish)
            assert queue.call("import", "undo", "a").code == 0
            assert take_snapshot(tree) == before, (number, finish)
        if not was_killed:
            break
    assert number > 4


@pytest.mark.parametrize("action, other", [("takeover", "undo"), ("undo", "takeover")])
def test_runs_that_fell_into_an_interruption_are_counted(
    queue: ImportQueue, tree: MachineTree, killer: Killer, action: str, other: str
) -> None:
    tree.write(CRONTAB, "MAILTO=\n* * * * * /opt/minutely\n", 0o600)
    queue.apply("cron", tree)
    if action == "undo":
        assert queue.call("import", "takeover", "minutely").code == 0
    number = 1
    while queue.find_runners()["minutely"] != "neither":
        assert killer.kill(number, lambda: queue.call("import", action, "minutely"))
        number += 1
    records = queue.state_dir / "import" / "entries.json"
    stored = json.loads(records.read_text())
    stored["entries"][0]["switched_ms"] -= 600_000
    records.write_text(json.dumps(stored))
    done = queue.call("import", other, "minutely")
    assert done.code == 0
    missed = re.search(r"; (\d+) of its runs fell into the interruption", done.out)
    assert missed, done
    assert int(missed[1]) in (10, 11)
    assert '`mythjobs schedule backfill minutely "20' in done.out


@pytest.mark.slow
def test_an_import_that_is_killed_anywhere_can_be_repeated(
    queue: ImportQueue, tree: MachineTree, killer: Killer
) -> None:
    add_two(tree)
    for number in count(1):
        was_killed = killer.kill(number, lambda: queue.apply("cron", tree))
        queue.apply("cron", tree)
        assert queue.find_runners() == {"a": "cron", "b": "cron"}, number
        names = {each["name"] for each in queue.read("command", "list")} - {"run"}
        assert names == {"a", "b"}, number
        queue.remove_all()
        if not was_killed:
            break
    assert number > 4
