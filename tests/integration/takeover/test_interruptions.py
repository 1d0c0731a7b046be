"""Import, takeover and undo that are killed before any of their writes and requests."""

import json
import re
from collections.abc import Callable
from itertools import count
from typing import Any

import pytest

from mythjobs.client.client import Client
from mythjobs.takeover import machine_root
from mythjobs.takeover.machine_root import MachineRoot
from mythjobs.takeover.records import ImportRecords
from mythjobs.takeover.systemd.timer_switch import TimerSwitch
from tests.support.import_queue import ImportQueue, take_snapshot
from tests.support.machine_tree import CRONTAB, ME, MachineTree


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
        tree.write(CRONTAB, "MAILTO=''\n0 4 * * * /opt/a\n", 0o600)
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
    tree.write(CRONTAB, "MAILTO=''\n* * * * * /opt/minutely\n", 0o600)
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
    tree.add_two_entries()
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
