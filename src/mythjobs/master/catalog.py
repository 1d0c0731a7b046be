"""Commands and the classes of jobs, as the core reads them from the store."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

from mythjobs.errors import no_such_command
from mythjobs.master.asks import NO_WORDS, OwnWords, ask_of, limits_of
from mythjobs.master.placement.sites import Sites
from mythjobs.model.bounds import Bounds
from mythjobs.model.command import RUN, Command
from mythjobs.model.definition import command_from
from mythjobs.scheduler.eligibility import Ask
from mythjobs.store.statement import Transaction
from mythjobs.store.writes import commands


@dataclass(slots=True)
class JobClass:
    """What a class id stands for. `command` is the revision as its author defined it."""

    class_id: int
    command_id: int
    revision_id: int
    command: Command
    ask: Ask
    limits: Bounds


class Book:
    """What was read, by id or by name: once from the store. Cleared when a turn is rolled back."""

    def __init__(self) -> None:
        self._classes: dict[int, JobClass] = {}
        self._names: dict[str, commands.Defined] = {}
        self._commands: dict[int, Command] = {}
        self._class_ids: dict[tuple[int, str, OwnWords], int] = {}
        self.sites = Sites()

    def clear(self) -> None:
        for each in (self._classes, self._names, self._commands, self._class_ids, self.sites):
            each.clear()

    def named(self, tx: Transaction, name: str) -> commands.Defined:
        """Raises NoSuchCommand."""
        found = self._names.get(name) or commands.by_name(tx, name)
        if found is None:
            raise no_such_command(name)
        self._names[name] = found
        return found

    def forget(self, name: str) -> None:
        self._names.pop(name, None)

    def command(self, defined: commands.Defined) -> Command:
        found = self._commands.get(defined.revision_id)
        if found is None:
            found = self._commands[defined.revision_id] = read_command(defined.definition)
        return found

    def class_id(
        self,
        tx: Transaction,
        defined: commands.Defined,
        submitter: str,
        words: OwnWords = NO_WORDS,
    ) -> int:
        key = (defined.revision_id, submitter, words)
        found = self._class_ids.get(key)
        if found is None:
            found = commands.class_of(tx, defined, submitter, **words.columns())
            self._class_ids[key] = found
        return found

    def job_class(self, tx: Transaction, class_id: int) -> JobClass:
        found = self._classes.get(class_id)
        if found is None:
            found = self._classes[class_id] = read_class(tx, class_id, self.command)
        return found


def read_class(
    tx: Transaction, class_id: int, command_of: Callable[[commands.Defined], Command] | None = None
) -> JobClass:
    row = commands.class_row(tx, class_id)
    defined = commands.by_revision(tx, row.revision_id)
    if defined is None:
        # Its command was removed; its jobs are all over, but can still be asked about.
        command = Command("")
    else:
        command = command_of(defined) if command_of else read_command(defined.definition)
    return JobClass(
        class_id, row.command_id, row.revision_id, command, ask_of(row, command), limits_of(row)
    )


def read_command(definition: str) -> Command:
    """A stored definition as a command; the built-in one has no program of its own."""
    table = json.loads(definition)
    if table.get("name") == RUN:
        return Command(RUN, summary=table.get("summary", ""), separate_stderr=True)
    return command_from(table)
