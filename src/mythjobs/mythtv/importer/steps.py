"""Steps of an import: a plan compared with what the queue has, and their execution."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final, NamedTuple

from mythjobs.client.api_paths import command_path, machine_path, percent_encode
from mythjobs.client.client import Client, Json
from mythjobs.config.files import replace_file
from mythjobs.errors import BadRequest, NoSuchCommand
from mythjobs.model.definition import command_from_table
from mythjobs.mythtv.importer.machine_policies import describe_host_policy, merge_policy
from mythjobs.mythtv.importer.plan import ORIGIN, ImportPlan
from mythjobs.mythtv.rules import replace_rules
from mythjobs.mythtv.settings import BridgeDir, load_rules, load_settings, save_rules, save_settings

Table = dict[str, Any]

# What a step does: nothing for the last three.
ADD: Final = "add"
CHANGE: Final = "change"
UNCHANGED: Final = "unchanged"
KEEP: Final = "keep"
MISSING: Final = "missing"


class ImportStep(NamedTuple):
    """One thing to make. kind: command, machine, rules, schedule, bridge. action: add, change,
    unchanged, keep (a user has changed it), missing (a condition is not met). why: a sentence for
    the last two. perform: None if there is nothing to do."""

    kind: str
    name: str
    action: str
    why: str = ""
    perform: Callable[[], object] | None = None


def compare_plan(
    plan: ImportPlan,
    client: Client,
    directory: BridgeDir | None,
    machines: Mapping[str, str],
    *,
    is_replacing: bool,
) -> list[ImportStep]:
    """Return the steps of an import, in their order.

    directory: of the bridge; None if the master is on another machine. machines: machine of a
    MythTV host, where their names differ. is_replacing: replace what users have changed.
    """
    imported = _ImportRecord(directory)
    steps = [
        _compare_command(client, each.table, imported, is_replacing) for each in plan.definitions
    ]
    steps += _compare_machines(plan, client, machines, imported)
    steps += _compare_schedules(plan, client, imported, is_replacing)
    if directory is None:
        why = "the master is on another machine; run the import there for the bridge's rules"
        return [*steps, ImportStep("rules", "", MISSING, why)]
    steps.append(_compare_rules(plan, directory))
    steps.append(_compare_bridge(plan, directory))
    steps.append(imported.make_step())
    return steps


class _ImportRecord:
    """Definitions as the last import made them: what differs from them, a user has changed."""

    def __init__(self, directory: BridgeDir | None) -> None:
        self._path = None if directory is None else directory.root / "import.json"
        self._before: dict[str, Table] = {}
        self._now: dict[str, Table] = {}
        if self._path is not None and self._path.exists():
            try:
                self._before = json.loads(self._path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise BadRequest(
                    f"cannot read {self._path}: {error}; remove it, and import with --replace"
                ) from None

    def is_changed_by_user(self, key: str, present: object, parse: Callable[[Table], Any]) -> bool:
        before = self._before.get(key)
        return before is None or parse(before) != present

    def find(self, key: str) -> Table | None:
        return self._before.get(key)

    def note(self, key: str, table: Table) -> None:
        self._now[key] = table

    def keep(self, key: str) -> None:
        """Keep what the record has: the present definition is not the import's."""
        if key in self._before:
            self._now[key] = self._before[key]

    def make_step(self) -> ImportStep:
        path = self._path
        assert path is not None
        if self._now == self._before:
            return ImportStep("record", "", UNCHANGED)

        def write() -> None:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            replace_file(path, json.dumps(self._now, ensure_ascii=False, indent=1).encode())

        return ImportStep("record", "", UNCHANGED, perform=write)


def _compare_command(
    client: Client, table: Table, imported: _ImportRecord, is_replacing: bool
) -> ImportStep:
    name = str(table["name"])

    def store() -> Json:
        return client.post("commands", {"definition": table, "replace": True})

    try:
        found = client.get(command_path(name))["definition"]
    except NoSuchCommand:
        imported.note(f"command {name}", table)
        return ImportStep("command", name, ADD, perform=store)
    present = command_from_table(found)
    if present == command_from_table(table):
        imported.note(f"command {name}", table)
        return ImportStep("command", name, UNCHANGED)
    changed = imported.is_changed_by_user(f"command {name}", present, command_from_table)
    if changed and not is_replacing:
        imported.keep(f"command {name}")
        why = f"it was changed in mythjobs; see `mythjobs command show {name}`, or use --replace"
        return ImportStep("command", name, KEEP, why)
    imported.note(f"command {name}", table)
    return ImportStep("command", name, CHANGE, perform=store)


def _compare_machines(
    plan: ImportPlan, client: Client, machines: Mapping[str, str], imported: _ImportRecord
) -> list[ImportStep]:
    known = [str(each["name"]) for each in client.get("machines")["machines"]]
    steps = []
    for host, policy in plan.policies.items():
        name = machines.get(host) or next(
            (each for each in known if each.casefold() == host.casefold()), host
        )
        if name not in known:
            why = (
                f"no machine of the queue has this name (there is {', '.join(known) or 'none'}); "
                f"if one of them is {host}, import with --machine {host}=NAME; else let it join "
                "(`mythjobs machine invite`) and import again"
            )
            steps.append(ImportStep("machine", name, MISSING, why))
            imported.keep(f"machine {name}")
            continue
        path = machine_path(name)
        present = client.get(path)["settings"]
        before = imported.find(f"machine {name}")
        merged = merge_policy(present, policy, plan.commands.values(), before)
        imported.note(f"machine {name}", describe_host_policy(policy))

        def store(path: str = path, merged: Table = merged) -> Json:
            return client.post(f"{path}/settings", {"settings": merged})

        if merged == merge_policy(present, type(policy)(), ()):
            steps.append(ImportStep("machine", name, UNCHANGED))
        else:
            steps.append(ImportStep("machine", name, CHANGE, perform=store))
    return steps


def _compare_schedules(
    plan: ImportPlan, client: Client, imported: _ImportRecord, is_replacing: bool
) -> list[ImportStep]:
    steps = []
    for table in plan.schedules:
        name = str(table["name"])
        body = {
            "definition": table, "replace": True, "paused": True, "reason": plan.pause_reason,
        }  # fmt: skip

        def store(body: Json = body) -> Json:
            return client.post("schedules", body)

        key = f"schedule {name}"
        try:
            found = client.get(f"schedules/{percent_encode(name)}")["definition"]
        except BadRequest as error:
            if error.http != NoSuchCommand.http:
                raise
            imported.note(key, table)
            steps.append(ImportStep("schedule", name, ADD, perform=store))
            continue
        present = {each: found.get(each) for each in table}
        if present == table:
            imported.note(key, table)
            steps.append(ImportStep("schedule", name, UNCHANGED))
        elif imported.is_changed_by_user(key, present, dict) and not is_replacing:
            imported.keep(key)
            why = f"it was changed in mythjobs; see `mythjobs schedule show {name}`"
            steps.append(ImportStep("schedule", name, KEEP, why))
        else:
            imported.note(key, table)
            steps.append(ImportStep("schedule", name, CHANGE, perform=store))
    return steps


def _compare_rules(plan: ImportPlan, directory: BridgeDir) -> ImportStep:
    present = load_rules(directory)
    wanted = replace_rules(present, plan.rules, ORIGIN)
    name = str(directory.rules)
    if wanted == present:
        return ImportStep("rules", name, UNCHANGED)
    action = CHANGE if present else ADD
    return ImportStep("rules", name, action, perform=lambda: save_rules(directory, wanted))


def _compare_bridge(plan: ImportPlan, directory: BridgeDir) -> ImportStep:
    present = load_settings(directory)
    name = str(directory.settings)
    if present is None:
        why = (
            "no bridge is set up, so MythTV's jobs stay in its own queue; run "
            "`mythjobs mythtv setup`, then import again"
        )
        return ImportStep("bridge", name, MISSING, why)
    commands = {**present.commands, **plan.commands}
    if commands == dict(present.commands):
        return ImportStep("bridge", name, UNCHANGED)
    wanted = replace(present, commands=commands)
    return ImportStep("bridge", name, CHANGE, perform=lambda: save_settings(directory, wanted))
