"""What a class asks of machines: its row, and the command that all its jobs run."""

from __future__ import annotations

import json
from typing import NamedTuple

from mythjobs.model.bounds import Bounds
from mythjobs.model.command import Command
from mythjobs.model.policy_tables import read_bounds
from mythjobs.scheduler.eligibility import Ask
from mythjobs.store.writes.commands import ClassRow


class OwnWords(NamedTuple):
    """What a job itself says that placement needs; jobs that say the same share a class.

    limits: a [limits] table as a definition writes it, checked.
    """

    pin: str = ""
    preferred: str = ""
    labels: tuple[str, ...] = ()
    semaphores: tuple[tuple[str, int], ...] = ()
    limits: tuple[tuple[str, str | int], ...] = ()

    def columns(self) -> dict[str, str]:
        """As the class's row has them: equal words are equal texts."""
        return {
            "pin": self.pin,
            "preferred": self.preferred,
            "labels": json.dumps(sorted(self.labels)) if self.labels else "",
            "semaphores": json.dumps(sorted(self.semaphores)) if self.semaphores else "",
            "limits": json.dumps(dict(sorted(self.limits))) if self.limits else "",
        }


NO_WORDS = OwnWords()


def ask_of(row: ClassRow, command: Command) -> Ask:
    """Labels and semaphores of the job come to those of its command."""
    labels = {*command.labels, *(json.loads(row.labels) if row.labels else ())}
    units = dict(command.semaphores)
    if row.semaphores:
        units |= dict(json.loads(row.semaphores))
    return Ask(
        command.name,
        row.command_id,
        row.class_id,
        row.submitter,
        pin=row.pin,
        preferred=(row.preferred,) if row.preferred else (),
        labels=tuple(sorted(labels)),
        semaphores=tuple(sorted(units.items())),
        best_effort=command.best_effort,
        at_most=command.at_most,
        # An author who wants his lease kept needs a machine that ends a job by itself.
        needs=("leases",) if command.silence in ("rerun", "hold") else (),
    )


def limits_of(row: ClassRow) -> Bounds:
    """The limits that the job itself was submitted with."""
    return read_bounds(json.loads(row.limits)) if row.limits else Bounds()
