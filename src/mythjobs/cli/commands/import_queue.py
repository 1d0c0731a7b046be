"""The queue as `mythjobs import` sees it: schedules that it holds, and the imported entries."""

from __future__ import annotations

import datetime as dt
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mythjobs import clock
from mythjobs.client.api_paths import schedule_path
from mythjobs.client.client import Client, Json
from mythjobs.errors import BadRequest

if TYPE_CHECKING:
    from mythjobs.takeover.entry import Place, PlanEntry
    from mythjobs.takeover.machine_root import MachineRoot
    from mythjobs.takeover.naming import ImportedNames
    from mythjobs.takeover.records import ImportRecord, ImportRecords
    from mythjobs.takeover.switching import EntryStatus, HoldState, Switcher

# Ends the reason of each pause by an import; other pauses are by a person.
_HELD: Final = "(mythjobs import)"
MAX_COUNTED: Final = 1000
_MAX_TICKS: Final = 100


class ImportedSchedules:
    """The schedules of the queue; their states are read once, and again after each change."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._found: dict[str, Json] | None = None

    def find(self, name: str) -> Json | None:
        """Return a schedule as the API lists it, or None."""
        if self._found is None:
            listed = self._client.get("schedules")["schedules"]
            self._found = {each["name"]: each for each in listed}
        return self._found.get(name)

    def list_names(self) -> frozenset[str]:
        self.find("")
        return frozenset(self._found or ())

    def find_state(self, name: str) -> HoldState | None:
        from mythjobs.takeover.switching import HoldState

        found = self.find(name)
        if found is None:
            return None
        if not found["paused"]:
            return HoldState.RUNNING
        is_held = found["pause_reason"].endswith(_HELD)
        return HoldState.HELD if is_held else HoldState.PAUSED

    def hold(self, name: str, place: Place) -> None:
        body = {"on": True, "reason": format_hold_reason(place)}
        self._client.post(f"{schedule_path(name)}/paused", body)
        self._found = None

    def resume(self, name: str) -> None:
        self._client.post(f"{schedule_path(name)}/paused", {"on": False})
        self._found = None

    def read_definition(self, name: str) -> Json:
        definition: Json = self._client.get(schedule_path(name))["definition"]
        return definition

    def find_last_run(self, name: str) -> dt.datetime | None:
        from mythjobs.model.zone import to_local

        found = self._client.get(schedule_path(name), {"ticks": _MAX_TICKS})
        runs = [each["at_ms"] for each in found["ticks"] if each["job"] is not None]
        return to_local(max(runs), found["zone"]) if runs else None

    def count_ticks(self, name: str, from_ms: int, to_ms: int) -> int:
        """Return how many runs a schedule has between two instants, at most `MAX_COUNTED`."""
        from mythjobs.model.schedule import schedule_from_table
        from mythjobs.scheduler.ticks import iterate_ticks

        found = self.find(name)
        zone = found["zone"] if found else ""
        when = schedule_from_table(self.read_definition(name), known_zone=False).when
        coming = takewhile(lambda tick: tick.at_ms <= to_ms, iterate_ticks(when, zone, from_ms))
        return sum(tick.runs for tick in islice(coming, MAX_COUNTED))


def format_hold_reason(place: Place) -> str:
    runner = "systemd" if place.kind.endswith("timer") else "cron"
    return f"{runner} runs it {_HELD}"


class ImportedEntries:
    """The imported entries of a state directory, with the switches of the machines' files that they
    are from."""

    def __init__(self, state_dir: str, client: Client) -> None:
        from mythjobs.takeover.records import ImportRecords

        self.records: ImportRecords = ImportRecords.load(Path(state_dir))
        self._client = client
        self.schedules = ImportedSchedules(client)
        self._switchers: dict[str, Switcher] = {}

    def switcher(self, record: ImportRecord) -> Switcher:
        found = self._switchers.get(record.root)
        if found is None:
            found = self._switchers[record.root] = self._make_switcher(record.root)
        return found

    def _make_switcher(self, directory: str) -> Switcher:
        from mythjobs.takeover import collect
        from mythjobs.takeover.cron.cron_files import CronFiles
        from mythjobs.takeover.machine_root import MachineRoot
        from mythjobs.takeover.switching import Switcher
        from mythjobs.takeover.systemd.timer_switch import TimerSwitch
        from mythjobs.takeover.systemd.unit_tree import TimerUnits

        root = MachineRoot(directory)
        accounts = root.read_accounts()
        timers = {}
        for is_user_manager in (False, True):
            account = collect.find_manager_account(accounts, is_user_manager=is_user_manager)
            units = TimerUnits(root, account, is_user_manager=is_user_manager)
            timers[units.kind] = TimerSwitch(root, units)
        return Switcher(self.records, CronFiles(root), timers, self.schedules)

    def find_status(self, record: ImportRecord) -> EntryStatus:
        """Return who runs an entry; an entry that cannot be read does not hide the others."""
        from mythjobs.takeover.switching import EntryStatus, Runner

        try:
            return self.switcher(record).find_status(record)
        except BadRequest as error:
            state = self.schedules.find_state(record.name)
            return EntryStatus(record, Runner.UNKNOWN, state, problem=error.sentence)

    def list_statuses(self) -> list[EntryStatus]:
        """Return the status of each entry, without those that nothing is left of in the queue."""
        from mythjobs.takeover.switching import Runner

        found = [self.find_status(each) for each in self.records.entries.values()]
        return [
            each
            for each in found
            if each.has_schedule or each.runner in (Runner.NEITHER, Runner.BOTH)
        ]

    def read_names(self, root: MachineRoot) -> ImportedNames:
        """Return the names in the queue, for a plan of the files below a root directory."""
        from mythjobs.takeover.naming import ImportedNames

        commands = self._client.get("commands")["commands"]
        own = [each for each in self.records.entries.values() if each.root == root.name]
        found = {each.place.id: each.name for each in own if self.schedules.find(each.name)}
        return ImportedNames(
            taken=frozenset(each["name"] for each in commands) | self.schedules.list_names(),
            imported=found,
            kept={each.place.id: each.name for each in own if each.place.id not in found},
        )

    def list_notified_commands(self) -> frozenset[str] | None:
        """Return the commands whose failures are sent to a channel; None: all commands."""
        found = self._client.get("channels")["channels"]
        telling = [each["commands"] for each in found if "failed" in each["kinds"]]
        if not all(telling):
            return None
        return frozenset(name for commands in telling for name in commands)

    def add(self, root: MachineRoot, plan: list[PlanEntry]) -> None:
        """Define a command and a held schedule for each entry. Repeat it after an interruption."""
        from mythjobs.takeover.records import ImportRecord

        with self.records.lock():
            left = [each.record for each in self.list_statuses()]
            self.records.entries = {each.key: each for each in left}
            for each in plan:
                record = ImportRecord(
                    each.place, each.name, each.written, each.text, each.user, root.name,
                    clock.master_now().wall_ms,
                )  # fmt: skip
                self.records.entries[record.key] = record
            # The names are on disk first: an interrupted import goes on under the same names.
            self.records.save()
            for each in plan:
                self._client.post("commands", {"definition": each.command, "replace": True})
                reason = format_hold_reason(each.place)
                self._client.post(
                    "schedules",
                    {"definition": each.schedule, "replace": True, "paused": True,
                     "reason": reason},
                )  # fmt: skip
