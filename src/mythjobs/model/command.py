"""What a command is: a named command line with typed parameters, as its author defined it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from mythjobs.model.limits import Limits
from mythjobs.model.policy_tables import Retry, Windows

NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_.][a-z0-9]+)*")
PARAMETER_NAME: Final = re.compile(r"[a-z][a-z0-9_]*")

# The built-in command behind `mythjobs run`: its argv, environment and directory are the
# job's own data, so equal runs share a class.
RUN: Final = "run"

# What becomes of an attempt whose machine falls silent; "" is resolved at the grant.
SILENCES: Final = ("rerun", "hold", "keep", "idempotent")
# A machine needs half a minute to end a job before its lease does.
LEAST_LEASE_S: Final = 60.0


class ParameterType(StrEnum):
    TEXT = "text"
    INT = "int"
    FLOAT = "float"
    ENUM = "enum"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `default` is its text; None with `required` means it must be given."""

    name: str
    type: ParameterType = ParameterType.TEXT
    values: tuple[str, ...] = ()
    default: str | None = None
    required: bool = True
    dash: bool = False
    help: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """One revision of a command. Exactly one of `argv` and `shell` is set.

    `progress` is a preset's name, `status`, or a regular expression behind `regex:` whose
    first group is a percentage. `keep_bytes` is how much of the head and of the tail of the
    output is kept. `lease_s` None is the usual one, infinite is for ever. `on_breach` "" treats
    a broken limit like any other failure. `best_effort` takes limits that a machine can only
    keep by looking now and then. `at_most` is the most jobs of it at once, over all machines.
    """

    name: str
    summary: str = ""
    argv: tuple[str, ...] = ()
    shell: str = ""
    parameters: tuple[Parameter, ...] = ()
    subject: str = ""
    overlap: bool = False
    success: tuple[int, ...] = (0,)
    progress: str = ""
    scratch: bool = False
    contain: bool = True
    best_effort: bool = False
    leave_daemons: bool = False
    silence: str = ""
    lease_s: float | None = None
    cwd: str = ""
    env: dict[str, str] = field(default_factory=dict)
    separate_stderr: bool = False
    limits: Limits = Limits()
    nice: int = 0
    io: str = ""
    on_breach: str = ""
    keep_bytes: tuple[int, int] = (4 * 2**20, 12 * 2**20)
    retry: Retry = Retry()
    windows: Windows = Windows()
    semaphores: tuple[tuple[str, int], ...] = ()
    labels: tuple[str, ...] = ()
    at_most: int | None = None

    def parameter(self, name: str) -> Parameter | None:
        return next((each for each in self.parameters if each.name == name), None)
