"""Catalog: in-memory cache of the commands and job classes in the store."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NamedTuple

from mythjobs.errors import DefinitionError, command_not_found
from mythjobs.model.bounds import Bounds
from mythjobs.model.command import RUN, Command
from mythjobs.model.definition import command_from_table
from mythjobs.model.policy_tables import read_bounds
from mythjobs.model.silence import LEASED_POLICIES
from mythjobs.scheduler.eligibility import Requirements
from mythjobs.store.transaction import Transaction
from mythjobs.store.writes import commands
from mythjobs.store.writes.commands import BEST_EFFORT, JobClassRow


class JobRequirements(NamedTuple):
    """Requirements that a submit gives for its job, in addition to those of the command.

    limits: items of a validated [limits] table, as in a command's definition. best_effort: of an
    ad-hoc run; other jobs have that of their command.
    """

    pin: str = ""
    preferred: str = ""
    labels: tuple[str, ...] = ()
    semaphores: tuple[tuple[str, int], ...] = ()
    limits: tuple[tuple[str, str | int], ...] = ()
    best_effort: bool = False

    def columns(self) -> dict[str, str]:
        """Return the columns of the job class row; equal requirements give equal texts."""
        limits: dict[str, object] = dict(sorted(self.limits))
        if self.best_effort:
            limits[BEST_EFFORT] = True
        return {
            "pin": self.pin,
            "preferred": self.preferred,
            "labels": json.dumps(sorted(self.labels)) if self.labels else "",
            "semaphores": json.dumps(sorted(self.semaphores)) if self.semaphores else "",
            "limits": json.dumps(limits) if limits else "",
        }


NO_REQUIREMENTS = JobRequirements()
# Maximum number of cached job classes, above which the cache is cleared. Each submit may have
# requirements of its own, and so a new class.
_MAX_CLASSES: Final = 10_000


@dataclass(slots=True)
class JobClass:
    """Job class: all jobs with the same command revision, submitter and requirements.

    command: the revision as its author defined it. limits: limits given at submission.
    error: why the stored rows of the class cannot be decoded, or None. With an error no job of
    the class starts, and `command` has only a name.
    """

    class_id: int
    command_id: int
    revision_id: int
    command: Command
    requirements: Requirements
    limits: Bounds
    error: Exception | None = None


class Catalog:
    """Caches job classes and commands, so that each is read from the store and decoded once.

    Cleared when a turn is rolled back, because rows that the turn inserted may be cached.
    """

    def __init__(self) -> None:
        self._unreadable: list[JobClass] = []
        self._classes: dict[int, JobClass] = {}
        self._names: dict[str, commands.CommandRevision] = {}
        self._commands: dict[int, Command] = {}
        self._class_ids: dict[tuple[int, str, JobRequirements], int] = {}
        # Ids of classes used for new jobs since a sweep for unused classes began; None: no sweep
        # has begun.
        self._used: set[int] | None = None

    def begin_sweep(self) -> None:
        self._used = set()

    def find_unused(self, class_ids: Sequence[int]) -> list[int]:
        """Return the given classes that were not used for new jobs since begin_sweep()."""
        used = self._used
        return [] if used is None else [each for each in class_ids if each not in used]

    def clear(self) -> None:
        for each in (self._classes, self._names, self._commands, self._class_ids):
            each.clear()
        self._unreadable.clear()

    def find_command(self, tx: Transaction, name: str) -> commands.CommandRevision:
        """Return the current revision of a command. Raises NoSuchCommand."""
        found = self._names.get(name) or commands.find_by_name(tx, name)
        if found is None:
            raise command_not_found(name, commands.read_names(tx).values())
        self._names[name] = found
        return found

    def forget_command(self, name: str) -> None:
        self._names.pop(name, None)

    def decoded_command(self, revision: commands.CommandRevision) -> Command:
        found = self._commands.get(revision.revision_id)
        if found is None:
            found = self._commands[revision.revision_id] = decode_command(revision.definition)
        return found

    def class_id(
        self,
        tx: Transaction,
        revision: commands.CommandRevision,
        submitter: str,
        requirements: JobRequirements = NO_REQUIREMENTS,
    ) -> int:
        """Return the id of the job class with these properties; insert the class if it is new."""
        key = (revision.revision_id, submitter, requirements)
        found = self._class_ids.get(key)
        if found is None:
            found = commands.ensure_class(tx, revision, submitter, **requirements.columns())
            if len(self._class_ids) >= _MAX_CLASSES:
                self._class_ids.clear()
            self._class_ids[key] = found
        if self._used is not None:
            self._used.add(found)
        return found

    def class_id_for(self, tx: Transaction, class_id: int, submitter: str) -> int | None:
        """Return the id of the class that differs from `class_id` only in its submitter.

        Return None if the command was removed.
        """
        found = commands.ensure_class_for(tx, class_id, submitter)
        if self._used is not None and found is not None:
            self._used.add(found)
        return found

    def job_class(self, tx: Transaction, class_id: int) -> JobClass:
        found = self._classes.get(class_id)
        if found is None:
            if len(self._classes) >= _MAX_CLASSES:
                self._classes.clear()
                self._commands.clear()
            found = self._classes[class_id] = read_class(tx, class_id, self.decoded_command)
            if found.error is not None:
                self._unreadable.append(found)
        return found

    def forget_classes(self, command_id: int) -> None:
        """Drop the cached job classes of a command; they are read again at their next use."""
        for each in [each for each in self._classes.values() if each.command_id == command_id]:
            del self._classes[each.class_id]
            self._commands.pop(each.revision_id, None)

    def take_unreadable(self) -> list[JobClass]:
        """Return the job classes read with an `error` since the last call, and forget them."""
        found, self._unreadable = self._unreadable, []
        return found


def read_class(
    tx: Transaction,
    class_id: int,
    decode: Callable[[commands.CommandRevision], Command] | None = None,
) -> JobClass:
    """Read a job class; `error` is set if its rows have values that this version cannot decode."""
    row = commands.read_class(tx, class_id)
    revision = commands.find_by_revision(tx, row.revision_id)
    try:
        command = _class_command(revision, decode)
        requirements, limits = class_requirements(row, command), class_limits(row)
        error: Exception | None = None
    except (ValueError, TypeError, KeyError, AttributeError, DefinitionError) as unreadable:
        command = Command(commands.read_names(tx).get(row.command_id, ""))
        requirements = Requirements(command.name, row.command_id, class_id, row.submitter)
        limits, error = Bounds(), unreadable
    return JobClass(class_id, row.command_id, row.revision_id, command, requirements, limits, error)


def _class_command(
    revision: commands.CommandRevision | None,
    decode: Callable[[commands.CommandRevision], Command] | None,
) -> Command:
    if revision is None:
        # The command was removed, after all jobs of the class had ended. Return a command without a
        # name instead of an error, so that queries can still show these jobs.
        return Command("")
    return decode(revision) if decode else decode_command(revision.definition)


@lru_cache(64)  # the same command is decoded for each of its batches, which takes 500 µs
def decode_command(definition: str) -> Command:
    """Decode a stored command definition.

    The built-in command "run" is not a valid definition, as its jobs bring their own argv.
    """
    table = json.loads(definition)
    if table.get("name") == RUN:
        return Command(RUN, summary=table.get("summary", ""), separate_stderr=True)
    return command_from_table(table)


def class_requirements(row: JobClassRow, command: Command) -> Requirements:
    """Combine a command's requirements on a machine with the requirements given at submission."""
    labels = {*command.labels, *(json.loads(row.labels) if row.labels else ())}
    units = dict(command.semaphores)
    if row.semaphores:
        units |= dict(json.loads(row.semaphores))
    return Requirements(
        command.name,
        row.command_id,
        row.class_id,
        row.submitter,
        pin=row.pin,
        preferred=(row.preferred,) if row.preferred else (),
        labels=tuple(sorted(labels)),
        semaphores=tuple(sorted(units.items())),
        best_effort=command.best_effort or BEST_EFFORT in _limits_table(row),
        at_most=command.at_most,
        # Under LEASED_POLICIES a machine must end a job by itself when the job's lease expires.
        capabilities=("leases",) if command.silence in LEASED_POLICIES else (),
    )


def class_limits(row: JobClassRow) -> Bounds:
    """Return the resource limits that the submitter set for the jobs of a class, without the
    limits of their command."""
    return read_bounds(_limits_table(row), extra=(BEST_EFFORT,)) if row.limits else Bounds()


def _limits_table(row: JobClassRow) -> dict[str, object]:
    found: dict[str, object] = json.loads(row.limits) if row.limits else {}
    return found
